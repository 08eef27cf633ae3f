"""New rows of a table, in whatever holds them, as the samples that a model reads; what cannot be scored is named."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import DataError, listing
from safecompress.tables import Table, TableSchema
from safecompress.tables.encode import EncodedColumn, encode

FAR = 1.0
"""How many widths between a column's limits a value may lie beyond them before it is named."""


@dataclass(frozen=True, eq=False)
class TableRows:
    """N rows as raw samples: ``features`` (N, F), where each was read, and what is odd, but can be scored."""

    features: NDArray[np.float32] = field(repr=False)
    places: tuple[int, ...] = field(repr=False)
    noun: str
    warnings: tuple[str, ...]


def is_table(samples: Any) -> bool:
    """Whether ``samples`` name their columns: a path, a dict, dicts, a DataFrame or an Arrow table."""
    if isinstance(samples, str | os.PathLike | Mapping) or _has_columns(samples):
        return True
    return isinstance(samples, Sequence) and len(samples) > 0 and all(isinstance(row, Mapping) for row in samples)


def read_rows(schema: TableSchema, samples: Any) -> TableRows:
    """The features of the rows in ``samples``, columns found by name; columns that the schema lacks are passed over.

    Raises DataError that lists, by column and row: a column that is missing (with the one that may be meant), a
    category that training did not have, a cell that is no number or date, a missing cell where training had none. A
    value `FAR` times as far outside the limits of the train rows as these are apart is a warning. No cell is shown.
    """
    columns, places, noun = _columns(samples)
    faults = [_absent(column.name, columns) for column in schema.columns if column.name not in columns]
    if faults:
        raise DataError.from_faults("These rows cannot be scored", faults)
    lengths = {len(columns[column.name]) for column in schema.columns}
    if len(lengths) > 1:
        raise DataError("These rows cannot be scored: their columns are not equally long.")
    count = lengths.pop()
    places = tuple(range(count)) if places is None else places
    features, encoded = encode(schema, columns)
    for name, column in encoded.items():
        for why, rows in column.faults.items():
            faults.append(f"{name!r} {why}: {listing(noun, [places[row] for row in rows])}{_known(schema, name, why)}")
        rows = np.flatnonzero(~np.isfinite(column.values).all(1)).tolist()
        if rows:
            faults.append(f"{name!r} is too large for float32: {listing(noun, [places[row] for row in rows])}")
    if faults:
        raise DataError.from_faults("These rows cannot be scored", faults)
    return TableRows(features, places, noun, tuple(_far_outside(schema, encoded, places, noun)))


def _columns(samples: Any) -> tuple[Mapping[str, Sequence[Any]], tuple[int, ...] | None, str]:
    """Cells by column, the rows' numbers where they have some, and what these count. Raises DataError."""
    if isinstance(samples, str | os.PathLike):
        table = Table.read(Path(samples)).require_sound()
        return {name: table.cells(name) for name in table.header}, tuple(table.lines), "line"
    if isinstance(samples, Mapping):
        return {str(name): _cells(values) for name, values in samples.items()}, None, "row"
    if _has_columns(samples):
        names = samples.column_names if hasattr(samples, "column_names") else samples.columns
        return {str(name): _cells(samples[name]) for name in names}, None, "row"
    first = {str(name) for row in samples for name in row}
    return {name: [row.get(name) for row in samples] for name in first}, None, "row"


def _has_columns(samples: Any) -> bool:
    return (hasattr(samples, "columns") or hasattr(samples, "column_names")) and hasattr(samples, "__getitem__")


def _cells(held: Any) -> Sequence[Any]:
    """The cells of one column of a DataFrame or a dict; a single value is a column of one row."""
    for name in ("to_pylist", "to_list", "tolist"):  # Arrow; Polars and pandas; NumPy
        if hasattr(held, name):
            held = getattr(held, name)()
            break
    return held if isinstance(held, list | tuple) else [held]


def _absent(name: str, columns: Mapping[str, Sequence[Any]]) -> str:
    by_fold = {other.casefold().strip(): other for other in columns}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    hint = f" Did you mean {by_fold[close[0]]!r}? Call it {name!r}." if close else ""
    return f"there is no column {name!r}.{hint}"


def _known(schema: TableSchema, name: str, why: str) -> str:
    """The known categories, where there are few."""
    categories = next(column.categories for column in schema.columns if column.name == name)
    if "category" not in why or len(categories) > 12:
        return ""
    return f". Known: {', '.join(map(repr, categories))}"


def _far_outside(
    schema: TableSchema, encoded: Mapping[str, EncodedColumn], row_numbers: Sequence[int], noun: str
) -> Iterator[str]:
    for column in schema.columns:
        if column.low is None or column.high is None:
            continue
        value_N = encoded[column.name].values[:, 0]
        reach = FAR * ((column.high - column.low) or max(1.0, abs(column.low)))
        is_far_N = (value_N < column.low - reach) | (value_N > column.high + reach)
        rows = np.flatnonzero(is_far_N & ~encoded[column.name].missing).tolist()
        if rows:
            limits = f"{column.low:g} to {column.high:g}" + (" (days since 1970)" if column.kind == "date" else "")
            yield (
                f"{column.name!r} is far outside of what training saw, {limits}: "
                f"{listing(noun, [row_numbers[row] for row in rows])}. What the model says of such rows is a guess."
            )
