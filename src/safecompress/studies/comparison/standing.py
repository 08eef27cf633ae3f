"""Win/loss tables: for each density, which method is significantly better than which."""

from __future__ import annotations

from collections.abc import Sequence

from safecompress.report.markdown import markdown_table
from safecompress.studies.comparison.difference import NOTHING, Difference
from safecompress.studies.comparison.plan import DENSE_DENSITY, MethodEntry

FIGURES = ("TM-score", "worst AUC", "accuracy")
"""What a cell compares, in the order of its marks."""

BETTER, WORSE, NEITHER = "+", "−", "·"
MARKS = {1: BETTER, -1: WORSE, 0: NEITHER}


def standings(entries: Sequence[MethodEntry], differences: Sequence[Difference]) -> str:
    """The meaning of the marks, and a table for each density: all ``entries`` beside ours and the dense model."""
    shown = [name for name in FIGURES if any(name in pair.figures for pair in differences)]
    firsts = {pair.first.entry.label for pair in differences}
    columns = [entry for entry in entries if entry.is_ours and entry.label in firsts]
    columns += [
        entry for entry in entries if any(pair.second.entry is entry for pair in differences if not pair.is_of_ours)
    ]
    densities = sorted({pair.density for pair in differences} - {DENSE_DENSITY}, reverse=True) or [DENSE_DENSITY]
    parts = [
        f"Each cell sets the method of its row beside that of its column, by {', '.join(shown)} in this order: "
        f"**{BETTER}** better, **{WORSE}** worse, **{NEITHER}** {NOTHING}."
    ]
    for density in densities:
        at_density = [pair for pair in differences if pair.density in (density, DENSE_DENSITY)]
        rows = [[row.label, *(_marks(row, column, at_density, shown) for column in columns)] for row in entries]
        header = [f"density {density:g}", *(f"beside {column.label}" for column in columns)]
        parts.append(markdown_table(header, [row for row in rows if any(row[1:])]))
    return "\n\n".join(parts)


def _marks(
    row: MethodEntry, column: MethodEntry, differences: Sequence[Difference], figure_names: Sequence[str]
) -> str:
    """One mark for each figure; nothing where the two are not compared."""
    for pair in differences:
        if {pair.first.entry.label, pair.second.entry.label} == {row.label, column.label}:
            sign = 1 if pair.first.entry.label == row.label else -1
            return " ".join(MARKS[sign * pair.advantage(name)] for name in figure_names)
    return ""
