"""One column looked at: numbers, dates, categories or text."""

from __future__ import annotations

from safecompress.tables.categorical import find_categories
from safecompress.tables.dated import find_dates
from safecompress.tables.dates import looks_like_a_date
from safecompress.tables.findings import ColumnFinding, ColumnText, found, ignoring, mixed, refused, rule_for
from safecompress.tables.numerals import Decimal
from safecompress.tables.numeric import find_numbers, read_numbers
from safecompress.tables.schema import Column


def look_at(cells: ColumnText, said: str | None, mark: Decimal | None, day_first: bool | None) -> ColumnFinding:
    """What a column is: the kind that it is ``said`` to be, or what its cells look like.

    ``mark`` is the decimal mark of the file, None where nothing tells.
    """
    if not cells.present:
        fault = f"has no value in any row. Leave it out: {ignoring(cells)}."
        return refused(cells, "empty", "no value in any row", fault, could_be_left_out=True)
    if said == "categorical":
        return find_categories(cells, is_said=True)
    if said == "text":
        return found(cells, Column(cells.name, "text", missing=rule_for(cells)), "words in 64 groups")
    if said == "date":
        return find_dates(cells, day_first)
    decimal, numbers = read_numbers(cells, mark)
    num_numbers = cells.num_rows(numbers)
    if said == "numeric" or num_numbers == cells.num_present:
        return find_numbers(cells, decimal, numbers, is_said=said == "numeric", is_told=mark is not None)
    if 2 * cells.num_rows([one for one in cells.present if looks_like_a_date(one)]) > cells.num_present:
        return find_dates(cells, day_first)
    if 2 * num_numbers < cells.num_present:
        return find_categories(cells, is_said=False)
    return mixed(cells, [one for one in cells.present if one not in numbers])
