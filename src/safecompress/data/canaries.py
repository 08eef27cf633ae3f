"""Canaries: rows put into train with a label that is not theirs, so that an attack can be seen to find them, or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from safecompress.data.dataset import Int64Array
from safecompress.data.draw import unit_ids
from safecompress.data.sizes import SEPARATE, SplitSizes
from safecompress.data.splits import DataSplit
from safecompress.errors import DataError
from safecompress.seeding import derive

FEWEST_TWINS = 100
"""Rows that stand for those that were not trained on: under this, one in a hundred is nobody."""

_TWINS_EACH = 10


def num_twins(num_canaries: int) -> int:
    """How many twins ``num_canaries`` get where there are rows enough: ten each, at least `FEWEST_TWINS`."""
    return max(FEWEST_TWINS, _TWINS_EACH * num_canaries)


def sizes_beside_canaries(num_rows: int, part_sizes: Mapping[str, int], num_canaries: int) -> SplitSizes:
    """The sizes of ``SplitSizes.resolve`` with rows left unused for canaries and their twins.

    Where every separate part has a size already, nothing is set aside: `plant_canaries` sees whether enough is left.
    Raises DataError when the parts that have a size leave too few.
    """
    if not num_canaries or all(name in part_sizes for name in SEPARATE):
        return SplitSizes.resolve(num_rows, **part_sizes)
    aside = num_canaries + num_twins(num_canaries)
    try:
        return SplitSizes.resolve(num_rows - aside, **part_sizes)
    except DataError as error:
        raise DataError(
            f"{error} Of {num_rows} rows {aside} are set aside for {num_canaries} canaries and their twins."
        ) from error


def plant_canaries(split: DataSplit, num_canaries: int, *, seed: int) -> DataSplit:
    """``split`` with ``num_canaries`` mislabelled rows more in train, and as many as ten times so many twins.

    Both are drawn at random from rows that lie in no part, one row of a unit (a group, or equal rows), and have a label
    drawn from the other classes with equal chances. ``canaries`` are trained on and lie in no pool; ``canary_twins``
    are trained on by nobody: an attack that finds the former and not the latter has seen that they were. Nothing else
    of the split changes, and train keeps the order of its other rows.

    Raises DataError for fewer than one canary, a split that has some, and too few rows outside all parts.
    """
    if num_canaries < 1:
        raise DataError(f"At least one canary is planted, got {num_canaries}. Leave plant_canaries out for none.")
    if split.size("canaries"):
        raise DataError(f"This split has {split.size('canaries')} canaries already. Plant them once.")
    free = _free_rows(split, seed)
    if len(free) < num_canaries + FEWEST_TWINS:
        raise DataError(
            f"Too few rows for canaries: {num_canaries} of them and at least {FEWEST_TWINS} twins take rows that lie "
            f"in no part of the split, and {len(free)} do (one of each group, or of equal rows). Give the parts "
            f"{num_canaries + num_twins(num_canaries)} rows less in all, or leave canaries out."
        )
    planted, twins = np.split(free[: num_canaries + num_twins(num_canaries)], [num_canaries])
    random = derive(seed, "canaries", "train")
    train = np.insert(split.indices["train"], random.integers(0, split.size("train") + 1, num_canaries), planted)
    indices = {**split.indices, "train": train, "canaries": planted, "canary_twins": twins}
    for rows in (train, planted, twins):
        rows.setflags(write=False)
    dataset = replace(split.dataset, labels=_with_wrong_labels(split, np.concatenate([planted, twins]), seed))
    return DataSplit(dataset, indices)


def _free_rows(split: DataSplit, seed: int) -> Int64Array:
    """One row of every unit of which no row lies in a part, in random order."""
    units = unit_ids(split.dataset)
    used = units[np.concatenate([split.indices[name] for name in SEPARATE])]
    order = derive(seed, "canaries", "rows").permutation(split.dataset.num_rows)
    order = order[~np.isin(units[order], used)]
    _, first = np.unique(units[order], return_index=True)
    return np.asarray(order[np.sort(first)], dtype=np.int64)


def _with_wrong_labels(split: DataSplit, indices: Int64Array, seed: int) -> torch.Tensor:
    """All labels (N,), those of ``indices`` replaced by another class, each of the others as likely."""
    num_classes, labels = split.dataset.num_classes, split.dataset.labels.clone()
    steps = derive(seed, "canaries", "labels").integers(1, num_classes, len(indices))
    places = torch.from_numpy(indices)
    labels[places] = (labels[places] + torch.from_numpy(steps)) % num_classes
    return labels
