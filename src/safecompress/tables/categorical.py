"""Columns of categories, and those that are names, identifiers or free text instead."""

from __future__ import annotations

import numpy as np

from safecompress.tables.dated import refuse_odd_dates
from safecompress.tables.dates import has_short_year
from safecompress.tables.findings import ColumnFinding, ColumnText, constant, found, ignoring, refused, rule_for
from safecompress.tables.numerals import merged
from safecompress.tables.schema import MAX_CATEGORIES, Column

FEW = 20
"""So many categories raise no question, whatever the number of rows."""


def find_categories(cells: ColumnText, *, is_said: bool) -> ColumnFinding:
    """A column of text: categories, unless there are nearly as many of them as rows and it is not said to be one."""
    categories = sorted({*merged(cells.present).values()})
    count, rows = len(categories), cells.num_present
    if 2 * cells.num_rows([one for one in cells.present if has_short_year(one)]) > rows and not is_said:
        return refuse_odd_dates(cells)
    if count > MAX_CATEGORIES or (count > FEW and 2 * count > rows and not is_said):
        return _too_many(cells, count)
    column = Column(cells.name, "categorical", tuple(categories), missing=rule_for(cells))
    if count == 1 and not cells.num_missing:
        return constant(cells, column)
    notes = []
    if count > FEW and 10 * count > rows:
        notes.append(
            f"{cells.name!r} has {count:,} categories in {rows:,} rows, few rows of each. Leave it out, or join some."
        )
    folded = len({one.casefold() for one in categories})
    if folded < count:
        notes.append(f"{cells.name!r} has categories that differ in capitals alone: {count - folded} more than needed.")
    return found(cells, column, "", *notes)


def _too_many(cells: ColumnText, count: int) -> ColumnFinding:
    """A column with nearly as many texts as rows."""
    blanks = float(np.mean([one.count(" ") for one in cells.present]))
    what = "free text" if blanks >= 3 else "names or identifiers"
    limit = f"; at most {MAX_CATEGORIES} can be categories" if count > MAX_CATEGORIES else ""
    words = f', text = ["{cells.name}"] (its words)' if blanks >= 1 else ""
    as_category = "" if count > MAX_CATEGORIES else f', categorical = ["{cells.name}"]'
    fault = (
        f"has {count} different texts in {cells.num_present} rows{limit}. Names, numbers of a row and free text are "
        f"left out: {ignoring(cells)}. Else say what it is: group (whose row it is){words}{as_category}."
    )
    return refused(cells, "text", f"{what}?", fault, could_be_left_out=True)
