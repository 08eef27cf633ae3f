"""A table of text, checked, and its columns as numbers or as one 0/1 feature per category."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from safecompress.errors import DataError, listing, suggest
from safecompress.storage.packed import BROKEN_PACKING, open_data

MISSING = frozenset({"", "?", "nan"})  # compared in lower case
MAX_CATEGORIES = 1000
MAX_LINE, MAX_CHARACTERS = 2**24, 2**32

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A rectangular table of text. ``lines`` are the line numbers of the rows in the file, for messages."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def __post_init__(self) -> None:
        """Raise DataError unless column names differ and every row is as long as the header."""
        repeated = repeated_names(self.header)
        if repeated or "" in self.header:
            raise DataError(
                f"The columns of {self.path} need names that differ, but "
                f"{listing('name', repeated or [repr('')])} are repeated or empty. Give every column one "
                "name in the first line."
            )
        ragged = [line for row, line in zip(self.rows, self.lines, strict=True) if len(row) != len(self.header)]
        if ragged:
            raise DataError(
                f"Every row of {self.path} needs {len(self.header)} cells, as the header has, but "
                f"{listing('line', ragged)} have more or fewer. Put cells that hold a comma in double quotes."
            )

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table in a comma-separated UTF-8 file with a header, plain, ``.gz`` or ``.xz``. Raises DataError."""
        numbered = read_rows(path)
        if len(numbered) < 2:
            raise DataError(f"{path} needs a header and at least one row, but has {len(numbered)} filled lines.")
        return cls(path, numbered[0][0], [row for row, _ in numbered[1:]], [line for _, line in numbered[1:]])

    def require(self, names: Iterable[str]) -> None:
        """Raise DataError for the first of ``names`` that is no column."""
        for name in names:
            if name not in self._places:
                raise DataError(f"{self.path} has no column {name!r}. {suggest(name, self.header)}")

    def cells(self, name: str) -> list[str]:
        """The text of one column."""
        place = self._places[name]
        return [row[place] for row in self.rows]

    @cached_property
    def _places(self) -> dict[str, int]:
        """The place of each column: a table of genes has tens of thousands."""
        return {name: place for place, name in enumerate(self.header)}

    def required(self, name: str) -> list[str]:
        """The text of one column that must be filled in everywhere."""
        cells = self.cells(name)
        empty = self._where(["missing" if cell.lower() in MISSING else "text" for cell in cells], "missing")
        if empty:
            raise DataError(self._missing(name, empty))
        return cells

    def encode(self, name: str) -> FloatArray:
        """(N, 1) when the column holds numbers, (N, categories) of 0/1 when it holds text."""
        cells = self.cells(name)
        values = [_number(cell) for cell in cells]
        kinds = [_kind(cell, value) for cell, value in zip(cells, values, strict=True)]
        text, missing = self._where(kinds, "text"), self._where(kinds, "missing")
        if len(text) > kinds.count("number"):
            return self.one_hot(name)
        if text:
            raise DataError(
                f"The column {name!r} of {self.path} mixes numbers and text: {listing('line', text)} hold "
                "text. Correct these cells, or say that the column is one of categories: "
                f"categorical=[{name!r}]."
            )
        if missing:
            raise DataError(self._missing(name, missing))
        return np.array(values, dtype=np.float64)[:, None]

    def one_hot(self, name: str) -> FloatArray:
        """(N, categories) of 0/1, categories sorted."""
        categories, codes = np.unique(self.cells(name), return_inverse=True)
        if len(categories) > MAX_CATEGORIES:
            raise DataError(
                f"The column {name!r} of {self.path} has {len(categories)} different texts; at most "
                f"{MAX_CATEGORIES} can be categories. If it is a name or a number of a row, leave it out: "
                f"ignore=[{name!r}]."
            )
        return np.eye(len(categories))[codes]

    def _where(self, kinds: list[str], kind: str) -> list[int]:
        return [line for found, line in zip(kinds, self.lines, strict=True) if found == kind]

    def _missing(self, name: str, lines: list[int]) -> str:
        return (
            f"The column {name!r} of {self.path} has no value in {listing('line', lines)}; empty, '?', NaN "
            "and infinite count as missing. Fill these cells in, drop the rows, or leave the column out: "
            f"ignore=[{name!r}]."
        )


def repeated_names(header: Iterable[str]) -> list[str]:
    """The names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(header).items() if count > 1)


def read_rows(path: Path) -> list[tuple[list[str], int]]:
    """The filled rows of a comma-separated UTF-8 file, blanks around cells cut, each with its line number.

    The file is plain, ``.gz`` or ``.xz``. Raises DataError when it cannot be read or is not whole.
    """
    try:
        with open_data(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(_lines(text), strict=True, skipinitialspace=True)
            return [([cell.strip() for cell in row], reader.line_num) for row in reader if row]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except (csv.Error, UnicodeDecodeError, *BROKEN_PACKING) as error:
        raise DataError(
            f"{path} is not a whole comma-separated UTF-8 table ({error}). "
            "Check for an unclosed quote, a cut download, or another encoding, and write it anew."
        ) from error


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of ``file``, as long as they can be those of a table: a small file can unpack without end."""
    taken = 0
    while line := file.readline(MAX_LINE):
        taken += len(line)
        if len(line) == MAX_LINE or taken > MAX_CHARACTERS:
            raise csv.Error(f"a line has {MAX_LINE:,} characters or more, or all lines over {MAX_CHARACTERS:,}")
        yield line


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _kind(cell: str, number: float | None) -> str:
    if cell.lower() in MISSING or (number is not None and not math.isfinite(number)):
        return "missing"
    return "text" if number is None else "number"


def in_order(texts: Iterable[str]) -> list[str]:
    """The distinct labels, by value when all are numbers, else as text."""
    distinct = sorted(set(texts))
    values = {text: _number(text) for text in distinct}
    return sorted(distinct, key=lambda text: values[text] or 0.0) if None not in values.values() else distinct
