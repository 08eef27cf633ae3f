"""What a table learns from its train rows, and from no others: what stands in for missing cells, and usual limits."""

# N rows, W features of one column

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safecompress.data.dataset import Dataset, Int64Array
from safecompress.errors import DataError
from safecompress.tables.encode import stand_in
from safecompress.tables.schema import Column, TableSchema

Features = npt.NDArray[np.float32]

ASIDE = 10
"""Train rows beyond each limit of a column: a limit that a single row sets would tell that this row was trained on."""


def fit_table(dataset: Dataset, train: Int64Array) -> Dataset:
    """``dataset`` with its table fitted on the rows ``train``, and missing cells filled; others than tables unchanged.

    Rows without missing cells stay as they are. Raises DataError when a column has no value in train.
    """
    if dataset.table is None or not len(train):
        return dataset
    rows_NF = dataset.stored[torch.tensor(train)].numpy()
    stored, columns = dataset.stored, []
    for column, place in dataset.table.each():
        fitted = fit_column(column, rows_NF[:, place])
        columns.append(fitted)
        if column.missing == "fill":
            stored = stored.clone() if stored is dataset.stored else stored
            stored[stored[:, place.stop - 1] == 1, place] = torch.from_numpy(stand_in(fitted))
    return replace(dataset, stored=stored, table=dataset.table.with_columns(tuple(columns)))


def fit_column(column: Column, values_NW: Features) -> Column:
    """``column`` with what its train rows ``values_NW`` say of it."""
    known_NW = values_NW[values_NW[:, -1] == 0] if column.missing == "fill" else values_NW
    known_NW = known_NW[:, : column.num_values]
    if not len(known_NW):
        raise DataError(
            f"The column {column.name!r} has no value in any train row, so that nothing can stand in for its missing "
            f'cells. Leave it out: ignore = ["{column.name}"].'
        )
    low, high = limits_of(known_NW[:, 0]) if column.kind in ("numeric", "date") else (None, None)
    fill = () if column.missing == "refuse" else _fill(column, known_NW)
    return replace(column, fill=fill, low=low, high=high)


def _fill(column: Column, known_NW: Features) -> tuple[float, ...]:
    if column.kind == "text":
        return (0.0,)
    if column.kind == "categorical":
        return (float(known_NW.sum(0).argmax()),)
    return tuple(float(np.float32(value)) for value in np.median(known_NW, axis=0))


def limits_of(value_N: Features) -> tuple[float | None, float | None]:
    """Limits between which all but `ASIDE` values on each side lie, rounded outward; None under 4 x `ASIDE` values.

    They are rounded to two digits of the width between them, so that they are no row's own value.
    """
    if len(value_N) < 4 * ASIDE:
        return None, None
    ordered = np.sort(value_N).astype(np.float64)
    low, high = float(ordered[ASIDE]), float(ordered[-1 - ASIDE])
    width = high - low
    if width <= 0:
        return low, high
    step = 10.0 ** (math.floor(math.log10(width)) - 1)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def unfilled(features: Tensor, schema: TableSchema | None) -> torch.Tensor:
    """``features`` (N, F) with zeros for what stands in for missing cells: what a row is, whatever train rows said."""
    if schema is None or all(column.missing == "refuse" for column in schema.columns):
        return features
    bare = features.clone()
    for column, place in schema.each():
        if column.missing == "fill":
            bare[bare[:, place.stop - 1] == 1, place.start : place.stop - 1] = 0
    return bare
