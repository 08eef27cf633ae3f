"""Columns of numbers: how they are written, and whether they are amounts, identifiers or times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import listing
from safecompress.tables.dated import date_column, parts_of, say_parts
from safecompress.tables.dates import looks_like_a_date, unix_style
from safecompress.tables.findings import (
    MANY_ROWS,
    ColumnFinding,
    ColumnText,
    constant,
    found,
    ignoring,
    mixed,
    refused,
    rule_for,
)
from safecompress.tables.numerals import PERCENT, Decimal, is_ambiguous, read_number
from safecompress.tables.schema import Column

LARGEST = float(np.finfo(np.float32).max)

EXACT = 2**24
"""Whole numbers above it are rounded in float32."""

_ID_NAME = re.compile(
    r"(^|[\W_])(id|ids|uid|uuid|guid|key|nr|no|number|index|idx|row|rownames?|unnamed.*|column \d+)$", re.IGNORECASE
)
_ID_ENDING = re.compile(r"[a-z](Id|ID)$")
_TIME_NAME = re.compile(r"time|date|stamp|epoch|_at$|_ts$|^ts$|created|updated|modified", re.IGNORECASE)


def read_numbers(cells: ColumnText, mark: Decimal | None) -> tuple[Decimal, Mapping[str, tuple[float, str]]]:
    """The decimal mark that reads most rows, and the texts that are numbers by it; of two equal ones the file's."""
    first: Decimal = mark if mark in cells.marks else "." if "." in cells.marks else ","
    other: Decimal = "," if first == "." else "."
    readings = {first: _read(cells, first)}
    if len(readings[first]) == len(cells.present):
        return first, readings[first]
    readings[other] = _read(cells, other)
    best = max(readings, key=lambda each: cells.num_rows(readings[each]))
    return best, readings[best]


def _read(cells: ColumnText, mark: Decimal) -> Mapping[str, tuple[float, str]]:
    return {one: found for one in cells.present if (found := read_number(one, mark)) is not None}


def find_numbers(
    cells: ColumnText, decimal: Decimal, read: Mapping[str, tuple[float, str]], *, is_said: bool, is_told: bool
) -> ColumnFinding:
    """A column of numbers. ``is_told`` says whether something settles which mark is the decimal one."""
    strange = [one for one in cells.present if one not in read]
    infinite = [one for one, (value, _) in read.items() if not abs(value) <= LARGEST]
    if strange or infinite:
        return mixed(cells, strange) if strange else mixed(cells, infinite, "infinity, or numbers above 3.4e38")
    open_ended = len(cells.marks) > 1 and any("," in one and is_ambiguous(one) for one in cells.present)
    if open_ended and not is_told:
        fault = 'holds numbers such as 1,234, a thousand or a fraction? Say decimal = "," or decimal = ".".'
        return refused(cells, "numeric", "a comma parts thousands, or a fraction?", fault)
    units = {unit for _, unit in read.values()}
    currencies = sorted(units - {""})
    if len(currencies) > 1 or (PERCENT in units and len(units) > 1):
        by_unit = {unit: [one for one in read if read[one][1] == unit] for unit in sorted(units)}
        rare = min(by_unit, key=lambda unit: cells.num_rows(by_unit[unit]))
        lines = cells.lines_of(by_unit[rare])
        fault = (
            f"mixes units ({', '.join(unit or 'none' for unit in by_unit)}): {listing('line', lines)} have "
            f"{rare or 'none'}. Write all cells in one."
        )
        return refused(cells, "numeric", "several units", fault, lines)
    column = Column(cells.name, "numeric", decimal=decimal, unit="".join(currencies), missing=rule_for(cells))
    return _doubtful_numbers(cells, column, [value for value, _ in read.values()], is_said)


def _doubtful_numbers(cells: ColumnText, column: Column, amounts: Sequence[float], is_said: bool) -> ColumnFinding:
    """A column of numbers: identifiers, and numbers that float32 rounds alike, are asked about unless it is said."""
    array = np.array(amounts)
    is_whole = bool((array == np.floor(array)).all())
    with np.errstate(over="ignore"):
        are_merged = len(np.unique(array.astype(np.float32))) < len(np.unique(array))
    is_lossy = is_whole and are_merged and float(np.abs(array).max()) > EXACT
    style = unix_style(cells.present) if is_lossy else None
    if style and not is_said and _TIME_NAME.search(cells.name):
        words = f"{style}, as {say_parts(parts_of(cells, style))}"
        return found(
            cells, date_column(cells, style), words, f"{cells.name!r} is read as {style}; if it is not, say numeric."
        )
    is_id = is_whole and not column.unit and cells.num_present >= MANY_ROWS and _is_identifier(cells, array)
    if (is_lossy or is_id) and not is_said:
        return _asked(cells, "an identifier" if is_id else "too large for float32", style)
    if len(array) == 1 and not cells.num_missing:
        return constant(cells, column)
    notes = [f"{cells.name!r} loses digits: its whole numbers need more than float32 holds."] if is_lossy else []
    if is_whole and not column.unit and cells.num_distinct == cells.num_present >= MANY_ROWS and not is_said:
        notes.append(f"{cells.name!r} has another whole number in every row: leave it out if it is an identifier.")
    if any(re.match(r"0\d", one) for one in cells.present) and not is_said:
        notes.append(f"{cells.name!r} has numbers with leading zeros: if they are codes, say categorical.")
    remark, note = _how_written(cells, column)
    return found(cells, column, remark, *notes, *note)


def _asked(cells: ColumnText, what: str, style: str | None) -> ColumnFinding:
    """The question what a column of whole numbers is."""
    many = f"{cells.num_distinct:,} values in {cells.num_present:,} rows"
    is_date = style or ("dates" if all(map(looks_like_a_date, cells.present)) else None)
    date = f', date = ["{cells.name}"] (they may be {is_date})' if is_date else ""
    fault = (
        f"has {many}: {what}? Say what it is: {ignoring(cells)}, group (whose row it is){date}, "
        f'categorical = ["{cells.name}"] or numeric = ["{cells.name}"].'
    )
    return refused(cells, "numeric", f"{what}?", fault, could_be_left_out=True)


def _is_identifier(cells: ColumnText, array: NDArray[np.float64]) -> bool:
    """Whether whole numbers count the rows, or are called an identifier and hardly repeat."""
    if cells.num_distinct == cells.num_present and array.max() - array.min() + 1 == len(array):
        return True
    is_called_so = _ID_NAME.search(cells.name) or _ID_ENDING.search(cells.name)
    return bool(is_called_so) and cells.num_distinct * 2 > cells.num_present


def _how_written(cells: ColumnText, column: Column) -> tuple[str, list[str]]:
    """How the numbers of a column are written, as a remark; and a note where that could be read otherwise."""
    words, notes = [], []
    commas = [one for one in cells.present if "," in one]
    if column.decimal == "," and commas:
        words.append("decimal commas")
    elif commas and column.decimal == ".":
        words.append("commas part thousands")
        if all(map(is_ambiguous, commas)):
            notes.append(f'{cells.name!r}: its commas are read as parting thousands; else say decimal = ",".')
    if column.unit:
        words.append("percent, as shares of 1" if column.unit == PERCENT else f"in {column.unit}")
    return "; ".join(words), notes
