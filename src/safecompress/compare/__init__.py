"""Compare: methods side by side, on equal rows, under the same attacks. Exploratory: never a release verdict."""

from safecompress.compare.cell import Result
from safecompress.compare.compared import Compared
from safecompress.compare.plan import Cell, Comparison, Entry, Study
from safecompress.compare.run import compare
from safecompress.compare.spec import StudySpec, load_comparison, parse_comparison
from safecompress.compare.table import to_markdown

__all__ = [
    "Cell",
    "Compared",
    "Comparison",
    "Entry",
    "Result",
    "Study",
    "StudySpec",
    "compare",
    "load_comparison",
    "parse_comparison",
    "to_markdown",
]
