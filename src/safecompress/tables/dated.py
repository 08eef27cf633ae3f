"""Columns of dates: in which style, in how many parts, and what keeps them from being read."""

from __future__ import annotations

from collections.abc import Sequence

from safecompress.errors import listing
from safecompress.tables.dates import PARTS, has_short_year, looks_like_a_date, read_instant, styles_of, unix_style
from safecompress.tables.findings import MANY_ROWS, ColumnFinding, ColumnText, found, ignoring, refused, rule_for
from safecompress.tables.schema import Column


def find_dates(cells: ColumnText, day_first: bool | None) -> ColumnFinding:
    """A column of dates, of one style. ``day_first`` settles it where no date does."""
    style = unix_style(cells.present)
    if style:
        words = f"{style}, as {say_parts(parts_of(cells, style))}"
        return found(cells, date_column(cells, style), words, *_nearly_one_each(cells))
    styles = styles_of(cells.present)
    if day_first is not None and len(styles) > 1:
        styles = ["day first" if day_first else "month first"]
    if len(styles) > 1:
        fault = "has dates that do not tell days from months. Say day_first = true or day_first = false."
        return refused(cells, "date", "day or month first?", fault)
    if not styles:
        return refuse_odd_dates(cells)
    column = date_column(cells, styles[0])
    words = f"{'ISO' if styles[0] == 'iso' else styles[0]}, as {say_parts(column.parts)}"
    return found(cells, column, words, *_nearly_one_each(cells))


def _nearly_one_each(cells: ColumnText) -> list[str]:
    """A note on dates that nearly tell one row from another, as those of birth do."""
    if cells.num_present < MANY_ROWS or 2 * cells.num_distinct <= cells.num_present:
        return []
    return [
        f"{cells.name!r} has {cells.num_distinct:,} dates in {cells.num_present:,} rows: it nearly names a row, as a "
        f"date of birth does. Leave it out, or keep the year alone, unless the model needs it: {ignoring(cells)}."
    ]


def refuse_odd_dates(cells: ColumnText) -> ColumnFinding:
    """Dates of which some cannot be read."""
    strange = [one for one in cells.present if not looks_like_a_date(one)] or _minority(cells)
    lines = cells.lines_of(strange)
    if any(map(has_short_year, strange)):
        return refused(
            cells, "date", "years of two digits",
            f"has dates whose year has two digits (1947 or 2047?), in {listing('line', lines)}. Write four, or leave "
            f"the column out: {ignoring(cells)}.", lines, could_be_left_out=True,
        )  # fmt: skip
    fault = (
        f"holds dates, but {listing('line', lines)} are none, or not like the rest. Correct these cells, leave them "
        f'empty, or say what the column is: {ignoring(cells)} or categorical = ["{cells.name}"].'
    )
    return refused(cells, "date", "not all are dates", fault, lines)


def _minority(cells: ColumnText) -> list[str]:
    """The texts that keep the rest from being dates of one style: those that the better of two styles cannot read."""
    styles = ("day first", "month first")
    left = [[one for one in cells.present if read_instant(one, style) is None] for style in styles]
    return min(left, key=cells.num_rows)


def date_column(cells: ColumnText, style: str) -> Column:
    """The column of dates in ``style``."""
    return Column(cells.name, "date", date_style=style, parts=parts_of(cells, style), missing=rule_for(cells))


def parts_of(cells: ColumnText, style: str) -> tuple[str, ...]:
    """The parts that differ from nothing: dates without a time have a day alone."""
    instants = [instant for one in cells.present if (instant := read_instant(one, style)) is not None]
    return tuple(part for place, part in enumerate(PARTS) if not place or any(instant[place] for instant in instants))


def say_parts(parts: Sequence[str]) -> str:
    """The parts of a date in words."""
    words = {"day": "day since 1970", "second": "second of the day", "fraction": "fraction of a second"}
    return " and ".join(words[part] for part in parts)
