"""Compare: methods side by side, on equal rows, under the same attacks. Exploratory: never a release verdict."""

from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.plan import Cell, Comparison, ComparisonInputs, MethodEntry
from safecompress.studies.comparison.result import ComparisonResult
from safecompress.studies.comparison.run import compare
from safecompress.studies.comparison.spec import ComparisonSpec, load_comparison, parse_comparison
from safecompress.studies.comparison.table import to_markdown

__all__ = [
    "Cell",
    "CellResult",
    "Comparison",
    "ComparisonInputs",
    "ComparisonResult",
    "ComparisonSpec",
    "MethodEntry",
    "compare",
    "load_comparison",
    "parse_comparison",
    "to_markdown",
]
