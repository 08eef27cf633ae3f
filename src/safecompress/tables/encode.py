"""Cells as features: each distinct cell of a column is read once, and what cannot be read is named by its row."""

# N rows, F features, W features of one column

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safecompress.tables.cells import Cell, as_cell, as_text, is_missing
from safecompress.tables.dates import UNIX, read_instant
from safecompress.tables.numerals import read_number, whole_number
from safecompress.tables.schema import WORDS, Column, TableSchema

Features = NDArray[np.float32]
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """``values`` (N, W) of one column. ``faults`` maps reasons to the rows, from 0, that could not be read for them."""

    values: Features = field(repr=False)
    faults: Mapping[str, Sequence[int]]
    missing: NDArray[np.bool_] = field(repr=False)


def encode(schema: TableSchema, cells: Mapping[str, Sequence[Any]]) -> tuple[Features, dict[str, EncodedColumn]]:
    """The features (N, F) of rows whose ``cells`` are listed by name, and what was found in each column.

    Rows with faults have zeros there; whoever calls this looks at the faults.
    """
    encoded = {column.name: encode_column(column, cells[column.name], schema) for column in schema.columns}
    return np.concatenate([encoded[column.name].values for column in schema.columns], axis=1), encoded


def encode_column(column: Column, cells: Sequence[Any], schema: TableSchema) -> EncodedColumn:
    """The features (N, W) of one column, of which missing cells have what stands in, or zeros before it is fitted."""
    reader = reader_of(column)
    codes: dict[tuple[type, Cell], int] = {}
    code_N = np.empty(len(cells), np.int64)
    for row, cell in enumerate(map(as_cell, cells)):
        code_N[row] = codes.setdefault((type(cell), cell), len(codes))
    rows_KW = np.zeros((len(codes), column.width), np.float32)
    missing_K = np.zeros(len(codes), np.bool_)
    reasons: dict[int, str] = {}
    for (_, cell), code in codes.items():
        known = column.kind == "categorical" and cell in column.categories
        if not known and isinstance(cell, str) and is_missing(cell, schema.missing_words):
            missing_K[code] = True
            if column.missing == "refuse":
                reasons[code] = "is missing, as no cell of this column was in training"
            else:
                rows_KW[code] = stand_in(column)
            continue
        values = reader(cell)
        if isinstance(values, str):
            reasons[code] = values
        else:
            with np.errstate(over="ignore"):  # what does not fit is infinite, and is named by whoever checks
                rows_KW[code, : column.num_values] = values
    faults: dict[str, list[int]] = {}
    for code, reason in reasons.items():
        faults.setdefault(reason, []).extend(np.flatnonzero(code_N == code).tolist())
    return EncodedColumn(rows_KW[code_N], {why: sorted(rows) for why, rows in faults.items()}, missing_K[code_N])


def stand_in(column: Column) -> Features:
    """(W,) the features of a missing cell: what stands in, zeros before the column is fitted, and the mark."""
    values = np.zeros(column.width, np.float32)
    values[-1] = 1
    if column.fill and column.kind == "categorical":
        values[int(column.fill[0])] = 1
    elif column.fill and column.kind != "text":
        values[: column.num_values] = column.fill
    return values


Reader = Callable[[Cell], Features | Sequence[float] | str]
"""A cell's features, or in words why it has none."""


def reader_of(column: Column) -> Reader:
    """What reads one filled-in cell of ``column``."""
    readers: dict[str, Callable[[Column], Reader]] = {
        "numeric": _numeric_reader,
        "categorical": _category_reader,
        "date": _date_reader,
        "text": lambda _: lambda cell: words_of(as_text(cell)),
    }
    return readers[column.kind](column)


def _numeric_reader(column: Column) -> Reader:
    def read(cell: Cell) -> Sequence[float] | str:
        if not isinstance(cell, str):
            return (float(cell),) if abs(cell) < np.inf else "is infinite"
        found = read_number(cell, column.decimal)
        if found is None:
            return "is no number"
        value, unit = found
        if unit and unit != column.unit:
            return f"is in {unit}, and the column in {column.unit or 'plain numbers'}"
        return (value,) if abs(value) < np.inf else "is infinite"

    return read


def _category_reader(column: Column) -> Reader:
    places = {category: place for place, category in enumerate(column.categories)}
    wholes: dict[int, int | None] = {}
    for category, place in places.items():
        number = whole_number(category)
        if number is not None:
            wholes[number] = None if number in wholes else place
    truths = {category.lower(): place for category, place in places.items() if category.lower() in ("true", "false")}
    units = np.eye(len(places), dtype=np.float32)

    def read(cell: Cell) -> Features | str:
        text = as_text(cell)
        place = places.get(text)
        if place is None:
            number = whole_number(text)
            place = wholes.get(number) if number is not None else truths.get(text.lower())
        return units[place] if place is not None else "is of no known category"

    return read


def _date_reader(column: Column) -> Reader:
    def read(cell: Cell) -> Sequence[float] | str:
        if not isinstance(cell, str) and column.date_style not in UNIX:
            return "is a number, and the column holds dates"
        instant = read_instant(cell if isinstance(cell, str) else repr(cell), column.date_style)
        if instant is None:
            return "is no such date"
        parts = dict(zip(("day", "second", "fraction"), instant, strict=True))
        return [parts[part] for part in column.parts]

    return read


def words_of(text: str) -> Features:
    """(WORDS,) 1 for each group of words of which ``text`` has one; a word's group is its CRC-32, in lower case."""
    on = np.zeros(WORDS, np.float32)
    on[[zlib.crc32(word.lower().encode()) % WORDS for word in _WORD.findall(text)]] = 1
    return on
