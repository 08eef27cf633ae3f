"""Datasets from the user's own files: .npz arrays and .csv tables, read strictly and never unpickled."""

from __future__ import annotations

import csv
import gzip
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from safecompress.data.dataset import Dataset, listing
from safecompress.errors import DataError, suggest

MISSING = frozenset({"", "?", "nan"})  # compared in lower case
MAX_CATEGORIES = 1000

FloatArray = npt.NDArray[np.float64]


def read_npz(
    path: str | Path,
    *,
    label: str = "y",
    features: str = "x",
    group: str | None = None,
    class_names: Iterable[str] | None = None,
) -> Dataset:
    """A dataset from the arrays called ``features``, ``label`` and perhaps ``group`` of an .npz file.

    Shapes, dtypes and ``class_names`` as in ``Dataset.from_arrays``. Raises DataError when the file cannot be
    read, lacks an array, or holds pickled objects.
    """
    names = [features, label] if group is None else [features, label, group]
    arrays = read_arrays(Path(path), names)
    groups = None if group is None else arrays[group]
    return Dataset.from_arrays(
        arrays[features], arrays[label], name=_stem(Path(path)), class_names=class_names, groups=groups
    )


def read_arrays(path: Path, names: Iterable[str], *, optional: Iterable[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """The arrays called ``names`` of the .npz file ``path``, and those of ``optional`` that it has.

    Raises DataError; objects (pickles) are refused unread.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} holds one bare array, not named ones. Write it with np.savez(path, x=..., y=...)."
                )
            absent = [name for name in names if name not in archive]
            if absent:
                raise DataError(f"{path} has no array {absent[0]!r}. {suggest(absent[0], archive.files)}")
            return {name: archive[name] for name in (*names, *(name for name in optional if name in archive))}
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a whole .npz file of plain arrays ({error}). Write numbers or strings with "
            "np.savez; pickled objects (dtype object) are never opened."
        ) from error


def read_csv(
    path: str | Path,
    *,
    label: str,
    group: str | None = None,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    class_names: Iterable[str] | None = None,
) -> Dataset:
    """A dataset from a comma-separated UTF-8 table with a header, plain or compressed (.csv.gz, .csv.xz).

    Every column but ``label``, ``group`` and those in ``ignore`` is a feature. A column of numbers is one
    feature; any other column, and those in ``categorical``, becomes one 0/1 feature per category, in sorted
    order of the categories found in the whole file (``?`` or an empty cell is a category of its own there).
    Columns keep the file's order. Labels are text: class names are the distinct values, sorted (by value when
    all are numbers), or ``class_names``. Blanks around a cell do not count. Raises DataError for a table that
    is ragged, has missing numbers, mixes numbers and text in a column, repeats or lacks a column.
    """
    table = _Table.read(Path(path))
    skipped, forced = _names(ignore), _names(categorical)
    chosen = [label] if group is None else [label, group]
    table.require([*chosen, *skipped, *forced])
    columns = [name for name in table.header if name not in (*chosen, *skipped)]
    clash = sorted({*chosen} & {*skipped, *forced} | {*skipped} & {*forced} | ({label} if label == group else set()))
    if clash:
        raise DataError(
            f"A column has one role, but {listing('column', clash)} of {path} have two. Keep one role for each."
        )
    if not columns:
        raise DataError(
            f"{path} has no feature column left beside {', '.join(chosen)}. Ignore fewer columns, or add some."
        )
    blocks = [table.one_hot(name) if name in forced else table.encode(name) for name in columns]
    labels = table.required(label)
    return Dataset.from_arrays(
        np.concatenate(blocks, axis=1),
        labels,
        name=_stem(table.path),
        class_names=_ordered(labels) if class_names is None else class_names,
        groups=None if group is None else table.required(group),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """A rectangular table of text. ``lines`` are the line numbers of the rows in the file, for messages."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    @classmethod
    def read(cls, path: Path) -> _Table:
        try:
            with _open(path) as file:
                reader = csv.reader(file, strict=True, skipinitialspace=True)
                numbered = [([cell.strip() for cell in row], reader.line_num) for row in reader if row]
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
        except (csv.Error, UnicodeDecodeError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise DataError(
                f"{path} is not a whole comma-separated UTF-8 table ({error}). "
                "Check for an unclosed quote, a cut download, or another encoding, and write it anew."
            ) from error
        if len(numbered) < 2:
            raise DataError(f"{path} needs a header and at least one row, but has {len(numbered)} filled lines.")
        header, rows, lines = numbered[0][0], [row for row, _ in numbered[1:]], [line for _, line in numbered[1:]]
        table = cls(path, header, rows, lines)
        table._check()
        return table

    def _check(self) -> None:
        repeated = sorted({name for name in self.header if self.header.count(name) > 1})
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

    def require(self, names: Iterable[str]) -> None:
        """Raise DataError for the first of ``names`` that is no column."""
        for name in names:
            if name not in self.header:
                raise DataError(f"{self.path} has no column {name!r}. {suggest(name, self.header)}")

    def cells(self, name: str) -> list[str]:
        """The text of one column."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]

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


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _kind(cell: str, value: float | None) -> str:
    if cell.lower() in MISSING or (value is not None and not math.isfinite(value)):
        return "missing"
    return "text" if value is None else "number"


def _ordered(labels: Iterable[str]) -> list[str]:
    """The distinct labels, by value when all are numbers, else as text."""
    distinct = sorted(set(labels))
    values = {text: _number(text) for text in distinct}
    return sorted(distinct, key=lambda text: values[text] or 0.0) if None not in values.values() else distinct


def _names(given: Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name
