"""A SafetySpec: which attacks are simulated and what they, and the task, must measure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from safecompress.attacks import ATTACKS, METRICS, Attack
from safecompress.errors import SpecError, suggest
from safecompress.measure import Direction, Levels, Measurement
from safecompress.spec.requirement import (
    HIGHER_IS_BETTER,
    HIGHER_SUFFIX,
    LOWER_SUFFIX,
    Finding,
    Requirement,
    Verdict,
    change_suffix,
)

CHANGES = (HIGHER_SUFFIX, LOWER_SUFFIX)
"""How the metrics end that are changes from the dense model."""

TASK_METRICS = ("accuracy", "density", "artifact.size_bytes")
"""Metrics that need no attack."""


@dataclass(frozen=True)
class Findings:
    """One finding per requirement, and errors of attacks that no requirement names."""

    findings: tuple[Finding, ...]
    errors: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """FAIL if any requirement fails; else ERROR or INCONCLUSIVE if any is; PASS only when every one passes."""
        verdicts = {finding.verdict for finding in self.findings}
        if self.errors:
            verdicts.add(Verdict.ERROR)
        for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return Verdict.PASS

    @property
    def exit_code(self) -> int:
        """0 every requirement PASS; 1 any FAIL; otherwise 3."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1}.get(self.verdict, 3)


@dataclass(frozen=True)
class SafetySpec:
    """Attacks to simulate, requirements to meet, and the error rate ``alpha`` of all verdicts on a data set together.

    Attacks are given as objects or names. An attack without a requirement is reported, and must still not break. Raises
    SpecError, with every fault at once, for no attack or requirement, unknown metrics, a direction against the metric's
    own, or a name used twice.
    """

    attacks: tuple[Attack, ...]
    requirements: tuple[Requirement, ...]
    alpha: float = 0.05

    def __init__(
        self,
        attacks: Iterable[Attack | str | Mapping[str, object]],
        requirements: Iterable[Requirement],
        alpha: float = 0.05,
    ) -> None:
        object.__setattr__(self, "attacks", tuple(ATTACKS.make(attack) for attack in attacks))
        object.__setattr__(self, "requirements", tuple(requirements))
        object.__setattr__(self, "alpha", float(alpha))
        faults = list(self._faults())
        if faults:
            raise SpecError.from_faults("The safety spec", faults)

    @property
    def metrics(self) -> list[str]:
        """Every metric that a requirement of this spec can name."""
        plain = [*TASK_METRICS, *(f"{attack.name}.{metric}" for attack in self.attacks for metric in METRICS)]
        return plain + [metric + change_suffix(metric) for metric in plain]

    def digest(self) -> str:
        """SHA-256 over attacks, requirements and alpha: what a verdict is asked."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def levels(self, opening: int = 1) -> Levels:
        """Error rates of the ``opening``-th verdict on the same rows: alpha / 2^opening, shared out for FAIL."""
        return Levels(self.alpha / 2**opening, len(self.requirements))

    def judge(
        self,
        measurements: Mapping[str, Measurement],
        errors: Mapping[str, str] | None = None,
        *,
        partly: bool = False,
    ) -> Findings:
        """A finding for every requirement; ``errors`` are attacks that gave no numbers, by name, with the reason.

        With ``partly``, as on candidates of a search, requirements on what was not measured are left out.
        """
        broken = dict(errors or {})

        def why_missing(requirement: Requirement) -> str | None:
            reason = broken.get(requirement.metric.partition(".")[0])
            if reason is None and requirement.metric not in measurements and requirement.is_change():
                return f"{requirement.metric} was not measured: it takes the dense model, which was not given or broke"
            return reason

        findings = tuple(
            requirement.judge(measurements.get(requirement.metric), error=why_missing(requirement))
            for requirement in self.requirements
            if not partly or requirement.metric in measurements
        )
        return Findings(findings, tuple(f"{name}: {reason}" for name, reason in broken.items()))

    def _faults(self) -> Iterable[str]:
        names = [attack.name for attack in self.attacks]
        if not names:
            yield "no attack is named; a verdict needs at least one"
        if not self.requirements:
            yield "no requirement is set; say what must hold, e.g. at_most('neural.auc', 0.55)"
        if not 0 < self.alpha < 0.5:
            yield f"alpha must lie in (0, 0.5), got {self.alpha}"
        yield from (f"the attack {name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1}))
        for requirement in self.requirements:
            if requirement.metric not in self.metrics:
                yield f"unknown metric {requirement.metric!r}. {suggest(requirement.metric, self.metrics)}"
            elif requirement.direction is not direction_of(requirement.metric):
                word = "at_least" if direction_of(requirement.metric) is Direction.HIGHER else "at_most"
                yield f"{requirement.metric}: {direction_of(requirement.metric)}, so it takes {word}"


def direction_of(metric: str) -> Direction:
    """Which way ``metric`` is better; a change from the dense model (``.drop``, ``.rise``) is better when lower."""
    is_change = metric.endswith(CHANGES)
    return Direction.HIGHER if metric in HIGHER_IS_BETTER and not is_change else Direction.LOWER
