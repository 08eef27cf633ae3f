"""Compare: methods side by side, on equal rows, under the same attacks. Exploratory: never a release verdict."""

from safecompress.studies.comparison.cell import Result
from safecompress.studies.comparison.compared import Compared
from safecompress.studies.comparison.plan import Cell, Comparison, Entry, Study
from safecompress.studies.comparison.run import compare
from safecompress.studies.comparison.spec import StudySpec, load_comparison, parse_comparison
from safecompress.studies.comparison.table import to_markdown

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
