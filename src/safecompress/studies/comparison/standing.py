"""Who is shown to be better than whom: a table of signs for each density."""

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
    """What the marks say, and a table for each density: all ``entries`` beside ours and the dense model."""
    told = [name for name in FIGURES if any(name in one.figures for one in differences)]
    firsts = {one.first.entry.label for one in differences}
    columns = [entry for entry in entries if entry.is_ours and entry.label in firsts]
    columns += [
        entry for entry in entries if any(one.second.entry is entry for one in differences if not one.is_of_ours)
    ]
    densities = sorted({one.density for one in differences} - {DENSE_DENSITY}, reverse=True) or [DENSE_DENSITY]
    parts = [
        f"Each cell sets the method of its row beside that of its column, by {', '.join(told)} in this order: "
        f"**{BETTER}** better, **{WORSE}** worse, **{NEITHER}** {NOTHING}."
    ]
    for density in densities:
        at = [one for one in differences if one.density in (density, DENSE_DENSITY)]
        rows = [[row.label, *(_marks(row, column, at, told) for column in columns)] for row in entries]
        header = [f"density {density:g}", *(f"beside {column.label}" for column in columns)]
        parts.append(markdown_table(header, [row for row in rows if any(row[1:])]))
    return "\n\n".join(parts)


def _marks(row: MethodEntry, column: MethodEntry, differences: Sequence[Difference], columns: Sequence[str]) -> str:
    """One mark for each figure; nothing where the two are not compared."""
    for one in differences:
        if {one.first.entry.label, one.second.entry.label} == {row.label, column.label}:
            turned = 1 if one.first.entry.label == row.label else -1
            return " ".join(MARKS[turned * one.advantage(name)] for name in columns)
    return ""
