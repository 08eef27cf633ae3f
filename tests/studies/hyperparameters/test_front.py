"""The hypervolume: by hand, against counting cells of a grid, and what must hold for all points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.studies.hyperparameters.front import guarded, hypervolume

SHARES = st.integers(0, 10).map(lambda tenth: tenth / 10)
POINTS = st.lists(st.tuples(SHARES, SHARES), max_size=12)


def array(points):
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def test_no_point_covers_nothing():
    assert hypervolume(array([])) == 0


@pytest.mark.parametrize(
    ("points", "share"),
    [
        ([(0.8, 0.6)], 0.8 * 0.4 / 0.5),
        ([(0.6, 0.5), (0.8, 0.6)], (0.6 * 0.5 + 0.2 * 0.4) / 0.5),
        ([(0.8, 0.6), (0.7, 0.7)], 0.8 * 0.4 / 0.5),
        ([(1.0, 0.5)], 1.0),
        ([(1.0, 0.3)], 1.0),
        ([(0.9, 1.0), (0.0, 0.5)], 0.0),
    ],
    ids=["one", "two steps", "beaten adds nothing", "perfect", "under guessing counts as guessing", "worthless"],
)
def test_the_hypervolume_by_hand(points, share):
    assert hypervolume(array(points)) == pytest.approx(share, abs=1e-12)


@given(POINTS)
def test_the_hypervolume_counts_the_cells_that_some_point_dominates(points):
    """Points lie on a grid of tenths, so cells of that grid are dominated whole or not at all."""
    middles = [(a + 0.5) / 10 for a in range(10)]
    cells = [(a, b) for a in middles for b in middles if b > 0.5]
    covered = sum(any(p[0] > a and max(p[1], 0.5) < b for p in points) for a, b in cells)
    assert hypervolume(array(points)) == pytest.approx(covered / len(cells))


@given(POINTS, st.tuples(SHARES, SHARES))
def test_a_further_point_never_lowers_the_hypervolume(points, more):
    assert hypervolume(array([*points, more])) >= hypervolume(array(points)) - 1e-12


@pytest.mark.parametrize(("leak", "counted"), [(0.3, 0.5), (0.5, 0.5), (0.7, 0.7)])
def test_a_leak_under_guessing_earns_nothing(leak, counted):
    assert guarded(leak) == counted
