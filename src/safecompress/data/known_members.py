"""A split around rows that a model was trained on already: all of them are train, and all else comes from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Subset

from safecompress.data.dataset import Dataset, Int64Array
from safecompress.data.joined import joined
from safecompress.data.sizes import PARTS, SEPARATE, SplitSizes
from safecompress.errors import DataError, listing

OUTSIDE = tuple(part for part in SEPARATE if part != "train")
"""Parts that are drawn from non-members."""

_FEWEST = 70
"""Non-members under which the parts outside train would be too small to say anything."""


def known_rows(dataset: Dataset | None, members: Any, nonmembers: Any) -> tuple[Dataset, Int64Array, Int64Array]:
    """The rows as one dataset, and the numbers of members and of non-members in it.

    With a ``dataset`` the two are row numbers in it: a sequence, or a ``torch.utils.data.Subset`` (of which the
    indices count); without ``nonmembers`` all other rows are. Without a dataset they are datasets of their own: a
    `Dataset`, or anything that `Dataset.from_map_style` reads. Raises DataError.
    """
    if members is None:
        raise DataError(
            "Say which rows are members: make_split(dataset, members=row_numbers, seed=0), or two datasets."
        )
    if dataset is None:
        if nonmembers is None:
            raise DataError(
                "Give the rows that the model never saw, too: make_split(members=..., nonmembers=..., seed=0)."
            )
        inner, outer = _as_dataset("members", members), _as_dataset("nonmembers", nonmembers)
        whole = joined(inner, outer)
        return whole, np.arange(inner.num_rows), np.arange(inner.num_rows, whole.num_rows)
    inside = _as_numbers("members", members, dataset.num_rows)
    if nonmembers is None:
        return dataset, inside, np.setdiff1d(np.arange(dataset.num_rows), inside)
    outside = _as_numbers("nonmembers", nonmembers, dataset.num_rows)
    both = np.intersect1d(inside, outside)
    if len(both):
        raise DataError(
            f"{listing('row', both)} are members and non-members at once. A row that was trained on is a member."
        )
    return dataset, inside, outside


def sizes_around(num_members: int, num_others: int, sizes: SplitSizes | None, reserve: int) -> SplitSizes:
    """The ``sizes`` given, or the default around fixed members, with ``reserve`` non-members left unused.

    By default each pool has a third of the members, or a seventh of the others where that is less; validation and test
    take 11 and 17 % of the others, and the population the rest. Raises DataError where there are too few, or where
    given sizes have another train part.
    """
    if sizes is not None:
        if sizes.train != num_members:
            raise DataError(
                f"All {num_members} members are train rows, and sizes.train is {sizes.train}. Give SplitSizes with "
                f"train={num_members}, or leave sizes out."
            )
        return sizes
    usable = num_others - reserve
    if usable < _FEWEST or num_members < 3:
        raise DataError(
            f"There are {num_members} members and {num_others} non-members; parts of a useful size take at least "
            f"{_FEWEST + reserve} non-members. Name more rows that the model never saw."
        )
    pool, validation, test = min(num_members // 3, usable // 7), usable * 8 // 70, usable * 12 // 70
    rest = usable - 3 * pool - validation - test
    return SplitSizes(num_members, pool, pool, pool, validation, test, pool, pool, pool, rest)


def leaves_of(sizes: SplitSizes, parts: Sequence[str]) -> Mapping[str, int]:
    """The sizes of some parts."""
    counts = sizes.as_dict()
    return {part: counts[part] for part in parts}


def as_indices(member_rows: Int64Array, placed: Mapping[str, Int64Array]) -> dict[str, Int64Array]:
    """Row numbers of every part: all ``member_rows`` are train."""
    rows = {**placed, "train": member_rows}
    return {part: rows[part] for part in PARTS if part in rows}


def _as_dataset(what: str, given: Any) -> Dataset:
    if isinstance(given, Dataset):
        return given
    if isinstance(given, np.ndarray) or (isinstance(given, Sequence) and given and isinstance(given[0], int)):
        raise DataError(
            f"{what} are row numbers, and nothing says of which dataset: make_split(dataset, {what}=..., seed=0)."
        )
    return Dataset.from_map_style(given, name=what)


def _as_numbers(what: str, given: Any, num_rows: int) -> Int64Array:
    array = np.asarray(given.indices if isinstance(given, Subset) else given)
    if array.dtype == np.bool_ and array.shape == (num_rows,):
        array = np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise DataError(
            f"{what} are numbers of rows in the dataset, or a mask of them, and got shape {array.shape} and dtype "
            f"{array.dtype}. Two datasets go without a third: make_split(members=..., nonmembers=..., seed=0)."
        )
    outside = array[(array < 0) | (array >= num_rows)]
    if len(outside):
        raise DataError(f"Row numbers lie in 0 .. {num_rows - 1}, but {what} has {listing('number', outside)} outside.")
    unique = np.unique(array.astype(np.int64))
    if len(unique) < len(array):
        raise DataError(f"{what} names {len(array) - len(unique)} rows twice. Name each once.")
    return unique
