"""A ComparisonResult: what a comparison leaves, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.plan import ComparisonInputs
from safecompress.studies.engine import StudyRecord


@dataclass(frozen=True)
class ComparisonResult(StudyRecord):
    """What a comparison leaves: all results in the order of the comparison. ``split`` is that of the first seed."""

    inputs: ComparisonInputs = field(repr=False)
    results: tuple[CellResult, ...] = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 when every cell has numbers, else 3."""
        return 0 if all(result.has_numbers for result in self.results) else 3

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as a JSON object."""
        return self.document(
            self.exit_code, cells=[{**result.to_json(), "digest": result.digest()} for result in self.results]
        )
