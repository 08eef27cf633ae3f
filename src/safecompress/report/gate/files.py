"""The files of a gate: they say "not finished" before the work begins, so that no older verdict is ever read."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from safecompress.errors import StorageError, UsageError
from safecompress.report.gate.junit import to_junit
from safecompress.report.gate.outcome import UNFINISHED, GateOutcome
from safecompress.report.gate.sarif import to_sarif
from safecompress.storage import PUBLISHED, write_bytes

ENDINGS = {"--junit": (".xml",), "--sarif": (".sarif", ".sarif.json")}
"""How the files' names end, so that a slip of the keyboard does not write over a model or a spec."""


@dataclass(frozen=True, slots=True)
class GateFiles:
    """Where JUnit XML and SARIF are written. Raises UsageError for a name that ends otherwise, or one name for both."""

    junit: Path | None = None
    sarif: Path | None = None

    def __post_init__(self) -> None:
        for option, path in (("--junit", self.junit), ("--sarif", self.sarif)):
            fault = None if path is None else why_not(option, path)
            if fault is not None:
                raise UsageError(fault)

    def begin(self, artifact_name: str) -> None:
        """Write that nothing is known yet. Raises StorageError, before any work, where a file cannot be written."""
        self.write(GateOutcome.of_failure(UNFINISHED, artifact_name))

    def write(self, outcome: GateOutcome) -> None:
        """Write every file, whole or not at all. Raises StorageError: a gate that cannot speak does not pass.

        Where one cannot be written the other says so, and what an earlier run left of the one is removed.
        """
        try:
            for path, content in self._contents(outcome).items():
                write_bytes(path, content, mode=PUBLISHED)
        except StorageError as error:
            for path, content in self._contents(GateOutcome.of_failure(error, outcome.artifact)).items():
                _replace(path, content)
            raise

    def _contents(self, outcome: GateOutcome) -> dict[Path, bytes]:
        contents = {}
        if self.junit is not None:
            contents[self.junit] = to_junit(outcome)
        if self.sarif is not None:
            contents[self.sarif] = (json.dumps(to_sarif(outcome), indent=2, allow_nan=False) + "\n").encode()
        return contents


def _replace(path: Path, content: bytes) -> None:
    """Write ``content``, or at least leave nothing that an earlier run wrote, as far as the system lets."""
    try:
        write_bytes(path, content, mode=PUBLISHED)
    except StorageError:
        with contextlib.suppress(OSError):
            if path.is_file():  # a device or a pipe holds no verdict, and is not ours to remove
                path.unlink()


def why_not(option: str, path: Path) -> str | None:
    """Why ``path`` is no name for the file of ``option``, or None."""
    endings = ENDINGS[option]
    if path.name.lower().endswith(endings):
        return None
    wanted = " or ".join(endings)
    return f"{option} takes a file whose name ends in {wanted}, got {str(path)!r}: other files are never written over."
