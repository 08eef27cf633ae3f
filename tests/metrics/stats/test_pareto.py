"""The Pareto front: by hand, and against its definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safecompress.metrics.stats.pareto import pareto_front

SHARES = st.integers(0, 10).map(lambda tenth: tenth / 10)
POINTS = st.lists(st.tuples(SHARES, SHARES), max_size=12)


def array(points):
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def test_the_front_by_hand():
    best, safest, beaten, level = (0.9, 0.7), (0.6, 0.5), (0.8, 0.7), (0.6, 0.6)
    assert pareto_front(array([best, beaten, safest, level])) == [2, 0]


def test_equal_points_are_both_on_the_front_in_their_order():
    assert pareto_front(array([(0.8, 0.6), (0.8, 0.6), (0.1, 0.9)])) == [0, 1]


def test_no_point_no_front():
    assert pareto_front(array([])) == []


@given(POINTS)
def test_a_point_is_on_the_front_exactly_when_none_beats_it(points):
    def beats(one, other):
        return one != other and one[0] >= other[0] and one[1] <= other[1]

    front = pareto_front(array(points))
    assert sorted(front) == [i for i, p in enumerate(points) if not any(beats(q, p) for q in points)]
    assert [points[i][1] for i in front] == sorted(points[i][1] for i in front)
