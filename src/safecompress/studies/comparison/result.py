"""A ComparisonResult: what a comparison leaves, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.plan import ComparisonInputs
from safecompress.studies.engine import study_document


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison leaves: all results in the order of the comparison, and facts about how they came about.

    ``spec`` is what was asked for, as written; ``split`` counts the rows of each part for the first seed.
    """

    name: str
    study: ComparisonInputs = field(repr=False)
    results: tuple[CellResult, ...] = field(repr=False)
    environment: Mapping[str, Any]
    split: Mapping[str, Any] = field(repr=False)
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def exit_code(self) -> int:
        """0 when every cell has numbers, else 3."""
        return 0 if all(result.has_numbers for result in self.results) else 3

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as a JSON object."""
        return study_document(self, cells=[{**result.to_json(), "digest": result.digest()} for result in self.results])
