"""Accuracy apart: of each group of rows, and of the group that is worst off. An average hides who pays.

Shape letter: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safecompress.metrics import stats
from safecompress.metrics.catalogue import Metric, change_of
from safecompress.metrics.measurement import Direction, Interval, Levels, Measurement

Bools = NDArray[np.bool_]

MIN_GROUP = 50
"""The fewest rows that a group is judged on; smaller ones are taken together."""

OTHERS = "others"
"""What groups that are taken together are called."""


@dataclass(frozen=True, eq=False)
class RowGroup:
    """A group of rows: what it is a group ``by`` (class, or a column), its ``name``, and which rows ``is_in_N`` it.

    ``num_together`` is how many small groups it stands for.
    """

    by: str
    name: str
    is_in_N: Bools = field(repr=False)
    num_together: int = 1

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return int(np.count_nonzero(self.is_in_N))


def judged_groups(row_groups: Sequence[RowGroup]) -> tuple[RowGroup, ...]:
    """Groups of at least `MIN_GROUP` rows each, of one kind: small ones are taken together.

    Where even together they are too few, the smallest of the others joins them, so that every row is judged. Which ones
    are joined depends on their sizes alone. Groups without a row are left out.
    """
    by_size = sorted((one for one in row_groups if one.num_rows), key=lambda one: one.num_rows)
    small = [one for one in by_size if one.num_rows < MIN_GROUP]
    if not small:
        return tuple(one for one in row_groups if one.num_rows)
    large = by_size[len(small) :]
    while large and sum(one.num_rows for one in small) < MIN_GROUP:
        small.append(large.pop(0))
    is_in_N = np.logical_or.reduce([one.is_in_N for one in small])
    joined = RowGroup(small[0].by, OTHERS, is_in_N, sum(one.num_together for one in small))
    return (*(one for one in row_groups if any(one is kept for kept in large)), joined)


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """Accuracy within one group, of the model and, where there is one, of the dense model, and what was lost.

    Intervals hold for all groups of one kind at once (Bonferroni), so that the worst may be looked at.
    """

    by: str
    name: str
    num_together: int
    num_rows: int
    accuracy: float
    interval: Interval
    dense: float | None = None
    drop: float | None = None
    drop_interval: Interval | None = None


def accuracies_apart(
    is_right_N: Bools, dense_right_N: Bools | None, row_groups: Sequence[RowGroup], alpha: float
) -> tuple[GroupAccuracy, ...]:
    """The accuracy of each group: Clopper-Pearson, and of the paired loss Bonett & Price (2012), at alpha / groups."""
    each, found = alpha / max(1, len(row_groups)), []
    for group in row_groups:
        right = is_right_N[group.is_in_N]
        hits, trials = int(right.sum()), group.num_rows
        dense = drop = drop_interval = None
        if dense_right_N is not None:
            before = dense_right_N[group.is_in_N]
            lost = stats.accuracy_drop_interval(before, right, each)
            dense, drop, drop_interval = float(before.mean()), lost.value, lost.interval
        limits = stats.clopper_pearson(hits, trials, each)
        figures = hits / trials, limits, dense, drop, drop_interval
        found.append(GroupAccuracy(group.by, group.name, group.num_together, trials, *figures))
    return tuple(found)


def measure_worst(
    metric: Metric, is_right_N: Bools, row_groups: Sequence[RowGroup], levels: Levels
) -> Measurement | None:
    """The accuracy of the group that is worst off, as ``metric``; None for fewer than two groups.

    With probability 1 - alpha every group's interval holds, and then the smallest limits bound the smallest accuracy.
    """
    if len(row_groups) < 2:
        return None

    def at(alpha: float) -> tuple[float, Interval]:
        found = accuracies_apart(is_right_N, None, row_groups, alpha)
        low, high = min(one.interval.low for one in found), min(one.interval.high for one in found)
        return min(one.accuracy for one in found), Interval(low, high, 1 - alpha)

    (value, interval), (_, simultaneous) = at(levels.alpha), at(levels.simultaneous_alpha)
    return Measurement(metric.name, value, interval, simultaneous, len(is_right_N), Direction.HIGHER)


def measure_largest_drop(
    metric: Metric, dense_right_N: Bools, is_right_N: Bools, row_groups: Sequence[RowGroup], levels: Levels
) -> Measurement | None:
    """The most that any group loses from the dense model; None for fewer than two groups.

    It is no difference of two worst accuracies: those may be of different groups.
    """
    if len(row_groups) < 2:
        return None

    def at(alpha: float) -> tuple[float, Interval]:
        each = alpha / len(row_groups)
        found = [
            stats.accuracy_drop_interval(dense_right_N[one.is_in_N], is_right_N[one.is_in_N], each)
            for one in row_groups
        ]
        low, high = max(one.interval.low for one in found), max(one.interval.high for one in found)
        return max(one.value for one in found), Interval(low, high, 1 - alpha)

    (value, interval), (_, simultaneous) = at(levels.alpha), at(levels.simultaneous_alpha)
    return Measurement(change_of(metric.name), value, interval, simultaneous, len(is_right_N), Direction.LOWER)
