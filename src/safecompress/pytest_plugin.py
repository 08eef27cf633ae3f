"""pytest plug-in: every requirement of a spec is a test, and only PASS passes.

    # test_privacy.py
    from safecompress.pytest_plugin import safety_spec

    test_model = safety_spec("limits.toml", artifact="model.onnx", members="in.npz", non_members="out.npz")

Importing it loads pytest and nothing heavy: PyTorch comes when a module with a `safety_spec` in it is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from safecompress.report.gate import Case, GateOutcome
    from safecompress.workflows.audit_file import AuditRequest

EVIDENCE = "evidence"
"""The test beside the requirements: the attacks ran, the health checks hold, the reference set is bounded."""


@dataclass(frozen=True, kw_only=True)
class SafetyTests:
    """What is audited: the arguments of `safety_spec`. Paths count from the folder of the test module."""

    spec: Path
    artifact: Path | Callable[[], str | Path]
    members: Path | None
    non_members: Path | None
    model: str | None
    dense: Path | None
    ledger: Path | None
    cache: Path | None
    released: Path | None
    workers: int

    def located(self, folder: Path) -> SafetyTests:
        """The same tests, with relative paths counted from ``folder``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        paths: dict[str, Any] = {name: folder / value for name, value in values.items() if isinstance(value, Path)}
        return replace(self, **paths)

    def request(self, artifact_path: Path) -> AuditRequest:
        """The audit that all of the tests share."""
        from safecompress.workflows.audit_file import AuditRequest

        return AuditRequest(
            artifact_path=artifact_path,
            spec_path=self.spec,
            members_path=self.members,
            non_members_path=self.non_members,
            model_factory=self.model,
            dense_path=self.dense,
            ledger_path=self.ledger,
            cache_path=self.cache,
            released_path=self.released,
            workers=self.workers,
        )


def safety_spec(
    spec: str | Path,
    *,
    artifact: str | Path | Callable[[], str | Path],
    members: str | Path | None = None,
    non_members: str | Path | None = None,
    model: str | None = None,
    dense: str | Path | None = None,
    ledger: str | Path | None = None,
    cache: str | Path | None = None,
    released: str | Path | None = None,
    workers: int = 1,
) -> SafetyTests:
    """Tests of a saved model, to be given a name in a test module: one for each requirement of ``spec``, and one more.

    The one more, ``evidence``, fails where the attacks cannot be believed. All share one audit, made when the first of
    them runs, by the options that ``safecompress audit`` has; relative paths count from the test module's folder.
    ``artifact`` may be a function that makes the model and returns its path; it is called once, before the audit.
    FAIL, INCONCLUSIVE and ERROR fail a test, and the message holds the interval. A spec with a fault is an error of
    collection.
    """

    def path(argument: str | Path | None) -> Path | None:
        return None if argument is None else Path(argument)

    return SafetyTests(
        spec=Path(spec),
        artifact=artifact if callable(artifact) else Path(artifact),
        members=path(members),
        non_members=path(non_members),
        model=model,
        dense=path(dense),
        ledger=path(ledger),
        cache=path(cache),
        released=path(released),
        workers=workers,
    )


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> pytest.Collector | None:
    """Make a collector of what `safety_spec` returned, whatever it is called in its module."""
    return SafetyCollector.from_parent(collector, name=name, tests=obj) if isinstance(obj, SafetyTests) else None


class SafetyCollector(pytest.Collector):
    """The tests of one `safety_spec`, and the audit that they share."""

    def __init__(self, *, tests: SafetyTests, **rest: Any) -> None:
        super().__init__(**rest)
        self._tests = tests.located(self.path.parent)
        self._outcome: GateOutcome | Exception | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """An item for each requirement in the spec's order, and the evidence. Raises CollectError for a faulty spec."""
        from safecompress.config import load_limits
        from safecompress.errors import SafeCompressError

        try:
            limits = load_limits(self._tests.spec)
        except SafeCompressError as error:
            raise self.CollectError(str(error)) from error
        for requirement in limits.spec.requirements:
            yield SafetyItem.from_parent(self, name=str(requirement))
        yield SafetyItem.from_parent(self, name=EVIDENCE)

    def outcome(self) -> GateOutcome:
        """The outcome of the audit, also of a refused one; made once. An unexpected error is raised each time."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        if self._outcome is None:
            try:
                self._outcome = self._audit()
            except Exception as error:
                self._outcome = error  # the model is not made anew for every requirement
                raise
        return self._outcome

    def _audit(self) -> GateOutcome:
        from safecompress.errors import SafeCompressError
        from safecompress.report.gate import GateOutcome
        from safecompress.workflows.audit_file import audit_file

        artifact = self._tests.artifact
        path = self.path.parent / artifact() if callable(artifact) else artifact
        try:
            return GateOutcome.of_report(audit_file(self._tests.request(path)), str(path))
        except SafeCompressError as error:
            return GateOutcome.of_failure(error, str(path))


class NotPassedError(Exception):
    """A requirement, or the evidence, is not PASS; the message says what came out."""


class SafetyItem(pytest.Item):
    """One requirement, or the evidence, as a test."""

    def runtest(self) -> None:
        """Raise NotPassedError unless there is a verdict on it, and that is PASS."""
        assert isinstance(self.parent, SafetyCollector)
        outcome = self.parent.outcome()
        cases = [case for case in outcome.cases if self._covers(case)]
        self.user_properties += [("artifact", outcome.artifact), ("verdict", outcome.verdict)]
        unmet = [case for case in cases if not case.is_pass]
        if not cases and self.name != EVIDENCE:
            unmet = [*outcome.unmet]
            if not unmet:
                raise NotPassedError(f"{self.name}: the verdict does not speak of it. Was the spec changed meanwhile?")
        if unmet:
            raise NotPassedError("\n".join(case.message for case in unmet))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The words alone: the lines of this file would say nothing more."""
        return str(excinfo.value) if isinstance(excinfo.value, NotPassedError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands, for pytest."""
        assert self.parent is not None
        return self.path, None, f"{self.parent.name}: {self.name}"

    def _covers(self, case: Case) -> bool:
        return (case.kind != "requirement") if self.name == EVIDENCE else case.rule == self.name
