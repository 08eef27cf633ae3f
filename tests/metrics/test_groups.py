"""Accuracy apart: groups by hand, small ones together, and intervals of the worst that hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safecompress.metrics import stats
from safecompress.metrics.catalogue import WORST_CLASS
from safecompress.metrics.groups import (
    MIN_GROUP,
    OTHERS,
    RowGroup,
    accuracies_apart,
    judged_groups,
    measure_largest_drop,
    measure_worst,
)
from safecompress.metrics.measurement import Levels


def groups_of(*sizes):
    """Groups a, b, c ... of these sizes, one after another."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return [RowGroup("class", "abcdefgh"[number], owner == number) for number in range(len(sizes))]


def sizes_of(row_groups):
    return {one.name: one.num_rows for one in row_groups}


@pytest.mark.parametrize(
    ("sizes", "judged"),
    [
        ((50, 60), {"a": 50, "b": 60}),
        ((50, 0, 60), {"a": 50, "c": 60}),
        ((200, 30, 20, 90), {"a": 200, "d": 90, OTHERS: 50}),
        ((200, 30, 90), {"a": 200, OTHERS: 120}),  # 30 alone are too few: the smallest other joins
        ((70, 49), {OTHERS: 119}),
        ((3, 4), {OTHERS: 7}),
        ((), {}),
    ],
)
def test_small_groups_are_taken_together(sizes, judged):
    found = judged_groups(groups_of(*sizes))
    assert sizes_of(found) == judged
    for one in found:
        if one.name == OTHERS:
            assert one.num_together == len([n for n in sizes if n]) - (len(found) - 1)


@given(st.lists(st.integers(0, 120), min_size=1, max_size=8))
def test_every_row_is_judged_once_and_only_sizes_decide(sizes):
    row_groups = groups_of(*sizes)
    found = judged_groups(row_groups)
    counts = sum((one.is_in_N.astype(int) for one in found), np.zeros(sum(sizes), dtype=int))
    assert (counts == 1).all()
    if sum(sizes) >= MIN_GROUP:
        assert all(one.num_rows >= MIN_GROUP for one in found)


def test_figures_by_hand():
    row_groups = groups_of(50, 100)
    right, dense = np.ones(150, dtype=bool), np.ones(150, dtype=bool)
    right[:10] = False  # a: 40 of 50
    right[50:55] = False  # b: 95 of 100
    dense[50:57] = False  # b: 93 of 100 by the dense model
    levels = Levels(0.04, 2)
    worst = measure_worst(WORST_CLASS, right, row_groups, levels)
    assert (worst.name, worst.value, worst.num_samples) == ("accuracy.worst_class", 0.8, 150)
    assert (worst.interval.low, worst.interval.confidence) == (stats.clopper_pearson(40, 50, 0.02).low, 0.96)
    assert worst.interval.high == min(stats.clopper_pearson(k, n, 0.02).high for k, n in ((40, 50), (95, 100)))
    assert worst.simultaneous.low == stats.clopper_pearson(40, 50, 0.01).low
    drop = measure_largest_drop(WORST_CLASS, dense, right, row_groups, levels)
    assert (drop.name, drop.value) == ("accuracy.worst_class.drop", 0.2)
    assert drop.interval.low == stats.accuracy_drop_interval(dense[:50], right[:50], 0.02).interval.low
    first, second = accuracies_apart(right, dense, row_groups, 0.04)
    assert (first.name, first.num_rows, first.accuracy, first.dense, first.drop) == ("a", 50, 0.8, 1.0, 0.2)
    assert (second.accuracy, second.dense, second.drop) == (0.95, 0.93, pytest.approx(-0.02))
    assert second.interval == stats.clopper_pearson(95, 100, 0.02)


def test_one_group_alone_is_no_worst_one():
    everything = np.ones(60, dtype=bool)
    assert measure_worst(WORST_CLASS, everything, groups_of(60), Levels()) is None
    assert measure_largest_drop(WORST_CLASS, everything, everything, groups_of(60), Levels()) is None


def test_the_interval_of_the_worst_covers_it_however_many_groups_there_are():
    """20 groups with one accuracy: the smallest of 20 shares lies far below it, and its interval still holds."""
    stream = np.random.default_rng(0)
    row_groups, covered, below = groups_of_equal(20, 60), 0, 0
    for _ in range(300):
        worst = measure_worst(WORST_CLASS, stream.random(1200) < 0.8, row_groups, Levels(0.05))
        covered += worst.interval.low <= 0.8 <= worst.interval.high
        below += worst.value < 0.75
    assert covered >= 300 * 0.95 - 3 * np.sqrt(300 * 0.05 * 0.95)
    assert below > 270


def groups_of_equal(count, size):
    owner = np.repeat(np.arange(count), size)
    return [RowGroup("class", str(number), owner == number) for number in range(count)]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_groups_at_random_lose_nothing(seed):
    """A negative control: where groups have nothing to do with errors, no loss is certified."""
    stream = np.random.default_rng(seed)
    right = stream.random(600) < 0.9
    dense = right.copy()
    flipped = stream.permutation(600)[:40]
    dense[flipped[:20]], right[flipped[20:]] = False, False
    owner = stream.integers(0, 4, 600)
    row_groups = judged_groups([RowGroup("class", str(number), owner == number) for number in range(4)])
    drop = measure_largest_drop(WORST_CLASS, dense, right, row_groups, Levels(0.0001))
    assert drop.interval.low <= 0
