"""make_split: draws every part at random, keeping equal rows and rows of one group together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from safecompress.data.dataset import Dataset, Int64Array
from safecompress.data.known_members import OUTSIDE, as_indices, known_rows, leaves_of, sizes_around
from safecompress.data.sizes import MEMBER_POOLS, PARTS, SEPARATE, SplitSizes
from safecompress.data.splits import DataSplit, content_ids, require_every_class
from safecompress.data.tabular.fitting import fit_table
from safecompress.errors import DataError
from safecompress.seeding import derive

TRAIN_REST = "train outside the pools"
UNUSED = "unused"


def make_split(
    dataset: Dataset | None = None,
    sizes: SplitSizes | None = None,
    *,
    seed: int,
    members: Any = None,
    nonmembers: Any = None,
) -> DataSplit:
    """A random split of ``dataset`` with exactly ``sizes`` rows (``SplitSizes.default`` when None), each part shuffled.

    Rows with equal features and rows of one group form units. Units of two rows or more come first, in random
    order, each into a part that has room for it, drawn in proportion to that room (rows left unused count as
    a part); single rows then fill every part. A unit that fits nowhere whole fills the part with the most
    room, and its other rows are left unused: nothing straddles two parts. Members and non-members are thus
    draws from one distribution; with large groups, give a member pool and its non-member pool one size, since
    a small part has no room for a large group. Missing cells of a table are filled by its train rows.

    ``members`` are rows that a model was trained on: row numbers of ``dataset`` (or a ``torch.utils.data.Subset`` of
    it), with ``nonmembers`` or all other rows for the parts outside; or, without a dataset, two datasets of their own
    (`Dataset`, or any map-style one of pairs). All members are train. Rows outside that equal a member, or belong to
    its group, are left unused: the model knows them.

    Raises DataError when there are too few rows, when a unit fits nowhere, and when a class does not occur in
    train.
    """
    if members is not None or nonmembers is not None:
        return _split_around(*known_rows(dataset, members, nonmembers), sizes, seed)
    if dataset is None:
        raise DataError("A split needs rows: make_split(dataset, seed=0), or make_split(members=..., nonmembers=...).")
    sizes = SplitSizes.default(dataset.num_rows) if sizes is None else sizes
    _check_room(sizes, dataset.num_rows)
    placed = _fill(_units(dataset), _leaves(sizes), dataset.num_rows - sizes.total, seed, "split")
    indices = {name: _gather(placed, name, seed) for name in PARTS}
    split = DataSplit(fit_table(dataset, indices["train"]), indices)
    require_every_class(split)
    return split


def _fill(
    units: list[Int64Array], leaves: Mapping[str, int], num_unused: int, seed: int, name: str
) -> dict[str, Int64Array]:
    """The rows of each leaf: units of several rows first, then single ones."""
    multiples = [unit for unit in units if len(unit) > 1]
    singles = np.array([unit[0] for unit in units if len(unit) == 1], dtype=np.int64)
    placed = _place(multiples, leaves, num_unused, derive(seed, name, "units"))
    queue = derive(seed, name, "rows").permutation(singles)
    for leaf, size in leaves.items():
        count = size - len(placed[leaf])
        placed[leaf], queue = np.concatenate([placed[leaf], queue[:count]]), queue[count:]
    return placed


def _split_around(
    dataset: Dataset, member_rows: Int64Array, others: Int64Array, sizes: SplitSizes | None, seed: int
) -> DataSplit:
    """The split in which all ``member_rows`` are train and all else is drawn from ``others``."""
    unit_N = unit_ids(dataset)
    strangers = others[~np.isin(unit_N[others], unit_N[member_rows])]
    inside, outside = (_units(dataset, rows) for rows in (member_rows, strangers))
    needed = sum(sorted((len(unit) - 1 for unit in outside), reverse=True)[: len(OUTSIDE)])
    sizes = sizes_around(len(member_rows), len(strangers), sizes, needed)
    placed: dict[str, Int64Array] = {}
    for units, parts, name in ((inside, MEMBER_POOLS, "members"), (outside, OUTSIDE, "others")):
        leaves = leaves_of(sizes, parts)
        num_left = sum(map(len, units)) - sum(leaves.values())
        if num_left < 0:
            raise DataError(
                f"Too few {name}: {sum(map(len, units))} rows for parts of {sum(leaves.values())}. Make the parts "
                "smaller, or name more rows."
            )
        placed |= _fill(units, leaves, num_left, seed, f"split {name}")
    indices = as_indices(member_rows, {part: placed[part] for part in (*MEMBER_POOLS, *OUTSIDE)})
    drawn = {part: derive(seed, "split", "order", part).permutation(rows) for part, rows in indices.items()}
    return DataSplit.from_indices(fit_table(dataset, drawn["train"]), drawn)


def _check_room(sizes: SplitSizes, num_rows: int) -> None:
    """Raise DataError for the first part that finds fewer rows left than it wants."""
    left = num_rows
    for name in SEPARATE:
        wanted = sizes.as_dict()[name]
        if wanted > left:
            raise DataError(
                f"Too few rows for {name}: it wants {wanted}, and {left} of {num_rows} are left after the "
                f"parts before it. The split takes {sizes.total} rows; SplitSizes.resolve({num_rows}, ...) "
                "shares out what there is."
            )
        left -= wanted


def one_row_per_unit(split: DataSplit) -> DataSplit:
    """``split`` with one row of each unit in the parts that a verdict is measured on: verdict pools, test, population.

    Intervals count independent draws; twenty rows of one patient are one draw. The row kept is the first in the
    part's random order. A data set without groups or equal rows comes back as it is.
    """
    units = unit_ids(split.dataset)
    indices = dict(split.indices)
    for part in ("member_verdict", "nonmember_verdict", "test", "population"):
        _, first = np.unique(units[indices[part]], return_index=True)
        indices[part] = indices[part][np.sort(first)]
    return split if all(len(indices[name]) == split.size(name) for name in PARTS) else DataSplit(split.dataset, indices)


def _units(dataset: Dataset, chosen: Int64Array | None = None) -> list[Int64Array]:
    """The rows, or the ``chosen`` ones, joined where features or group are equal."""
    unit = unit_ids(dataset)
    rows = np.arange(len(unit)) if chosen is None else chosen
    order = rows[np.argsort(unit[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(unit[order])) + 1)


def unit_ids(dataset: Dataset) -> Int64Array:
    """(N,) the unit of each row: components of a graph of rows, contents and groups."""
    kinds = [content_ids(dataset)]
    if dataset.groups is not None:
        kinds.append(np.unique(dataset.groups, return_inverse=True)[1])
    rows, num_nodes, ends = np.arange(dataset.num_rows), dataset.num_rows, []
    for ids in kinds:
        ends.append(ids + num_nodes)
        num_nodes += int(ids.max()) + 1
    starts = np.tile(rows, len(kinds))
    graph = coo_matrix((np.ones(len(starts)), (starts, np.concatenate(ends))), shape=(num_nodes, num_nodes))
    return np.asarray(connected_components(graph, directed=False)[1][: dataset.num_rows], dtype=np.int64)


def _leaves(sizes: SplitSizes) -> dict[str, int]:
    """Sizes of the places that share no row: the separate parts, with train cut into its pools and the rest of it."""
    counts = sizes.as_dict()
    rest = counts.pop("train") - sum(counts[name] for name in MEMBER_POOLS)
    return {TRAIN_REST: rest, **counts}


def _place(
    units: list[Int64Array], leaves: Mapping[str, int], num_unused: int, generator: np.random.Generator
) -> dict[str, Int64Array]:
    """The rows of ``units`` in each leaf, at most as many as its size.

    Filling a leaf to its exact count may cut one unit, at the cost of unused rows; ``spare`` of them are kept
    for that.
    """
    needed = sum(sorted((len(unit) - 1 for unit in units), reverse=True)[: len(leaves)])
    spare = min(num_unused, needed)
    room = {**leaves, UNUSED: num_unused - spare}
    placed: dict[str, list[Int64Array]] = {leaf: [] for leaf in room}
    for number in generator.permutation(len(units)):
        unit = generator.permutation(units[number])
        fits = [leaf for leaf, free in room.items() if free >= len(unit)]
        leaf = _draw(fits, room, generator) if fits else max(leaves, key=room.__getitem__)
        kept = unit[: room[leaf]]
        cut = len(unit) - len(kept)
        if cut > spare + room[UNUSED]:
            raise DataError(_no_room(len(unit), leaf, room[leaf], spare + room[UNUSED], needed))
        placed[leaf].append(kept)
        room[leaf] -= len(kept)
        room[UNUSED] -= max(0, cut - spare)
        spare -= min(cut, spare)
    return {leaf: np.concatenate([np.empty(0, dtype=np.int64), *rows]) for leaf, rows in placed.items()}


def _draw(leaves: list[str], room: Mapping[str, int], generator: np.random.Generator) -> str:
    weights = np.array([room[leaf] for leaf in leaves], dtype=np.float64)
    return leaves[generator.choice(len(leaves), p=weights / weights.sum())]


def _no_room(size: int, leaf: str, room: int, unused: int, needed: int) -> str:
    return (
        f"{size} rows that must stay together (equal features, or one group) fit no part: the most room is "
        f"{room} rows, in {leaf}, and only {unused} rows may stay unused. Make the parts larger, or ask "
        f"for fewer rows in all: with {needed} rows left unused, groups of these sizes always fit."
    )


def _gather(placed: Mapping[str, Int64Array], name: str, seed: int) -> Int64Array:
    """The rows of the part ``name``, in random order and read-only."""
    leaves = (TRAIN_REST, *MEMBER_POOLS) if name == "train" else (name,)
    rows = derive(seed, "split", "order", name).permutation(np.concatenate([placed[leaf] for leaf in leaves]))
    rows.setflags(write=False)
    return rows
