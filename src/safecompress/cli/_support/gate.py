"""``--junit``, ``--sarif``, ``--github``: the verdict for pipelines, which fails closed whatever happens to a command.

`main` opens the gate before anything else is read. The verb reports its verdict to the gate; where it cannot, `main`
reports why.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from safecompress.cli._support.output import options_given, say_json

if TYPE_CHECKING:
    from safecompress.report import Report
    from safecompress.report.gate import GateFiles, GateOutcome


@dataclass
class Gate:
    """Where the verdict of this command is reported. ``artifact`` is what is judged, once that is known."""

    junit: Path | None = None
    sarif: Path | None = None
    github: bool = False
    as_json: bool = False
    artifact: str = ""
    is_reported: bool = False
    _token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    _is_muted: bool = False

    @classmethod
    def of_arguments(cls, arguments: Sequence[str]) -> Gate:
        """The gate that ``arguments`` name, even if they make no sense otherwise. Names of other kinds are left."""
        options = options_given(arguments, "--junit", "--sarif", "--github", "--json")
        if "--junit" not in options and "--sarif" not in options:
            return cls(github="--github" in options, as_json="--json" in options)
        from safecompress.report.gate.files import why_not

        paths = {name: Path(text) for name in ("--junit", "--sarif") if (text := options.get(name))}
        sound = {name: path for name, path in paths.items() if why_not(name, path) is None}
        return cls(sound.get("--junit"), sound.get("--sarif"), "--github" in options, "--json" in options)

    @classmethod
    def here(
        cls,
        context: typer.Context,
        junit: Path | None,
        sarif: Path | None,
        github: bool,
        as_json: bool,
        artifact_name: str,
    ) -> Gate:
        """The gate that `main` opened, now that the command line is understood. Raises UsageError for a wrong name."""
        cls(junit, sarif)._files()  # refuses, before what main opened is forgotten
        gate = context.obj if isinstance(context.obj, cls) else cls()
        was_open = (gate.junit, gate.sarif)
        gate.junit, gate.sarif, gate.github, gate.as_json, gate.artifact = junit, sarif, github, as_json, artifact_name
        if was_open != (junit, sarif):
            gate.begin()
        return gate

    def begin(self) -> None:
        """Say "not finished" in every file. Raises StorageError where one cannot be written, before any work."""
        if self.junit is not None or self.sarif is not None:
            self._files().begin(self.artifact)
        if self.github and not self._is_muted:
            from safecompress.report.gate.github import hush

            self._is_muted = True
            typer.echo(hush(self._token), err=self.as_json)

    def finish(self, report: Report, show: Callable[[], None]) -> NoReturn:
        """Show the report, pass the verdict on, and exit with its code. Raises StorageError where that fails.

        The command line's ``--json`` prints the report, as report.json holds it, in place of what ``show`` does.
        """
        from safecompress.report.gate import GateOutcome

        outcome = GateOutcome.of_report(report, self.artifact)
        if not self.as_json:
            show()
        self._report(outcome)
        if self.as_json:
            say_json(report.to_json())
        self.is_reported = True  # a failure before this line is reported instead
        raise typer.Exit(outcome.exit_code)

    def fail(self, error: BaseException | str) -> None:
        """Report why there is no verdict, as far as that can be done."""
        if self.is_reported or not (self.github or self.junit is not None or self.sarif is not None):
            return
        from safecompress.report.gate import GateOutcome

        with contextlib.suppress(Exception):  # the command ends as it would; the files said "not finished" before
            self._report(GateOutcome.of_failure(error, self.artifact))

    def _report(self, outcome: GateOutcome) -> None:
        if self.github:
            from safecompress.report.gate.github import annotation_lines, speak

            for line in ([speak(self._token)] if self._is_muted else []) + annotation_lines(outcome):
                typer.echo(line, err=self.as_json)
            self._is_muted = False
        self._files().write(outcome)

    def _files(self) -> GateFiles:
        from safecompress.report.gate import GateFiles

        return GateFiles(self.junit, self.sarif)
