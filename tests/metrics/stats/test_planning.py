"""What numbers of rows can certify: the figures quoted in the method, and agreement with the intervals themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.errors import UsageError
from safecompress.metrics.stats import (
    auc_half_width,
    best_lower_limit,
    best_tpr_upper_limit,
    clopper_pearson,
    min_non_members,
    min_rows_for_auc,
    min_trials_for_lower_bound,
    tpr_at_fpr_interval,
)
from safecompress.metrics.stats.intervals import threshold_ranks

ALPHAS = st.sampled_from([0.2, 0.05, 0.01, 0.001])


def test_figures_of_the_method():
    assert auc_half_width(300, 300, 0.05) == pytest.approx(0.0462, abs=5e-5)
    assert min_non_members(0.001, 0.05, sides=1) == 2995
    assert min_non_members(0.001, 0.05) == 3688
    assert min_non_members(0.001, 0.05, sides=4) == 4380


def test_auc_half_width_of_one_pair():
    """One member and one non-member: variance 3 / 12."""
    assert auc_half_width(1, 1, 0.05) == pytest.approx(1.959963984540054 / 2)


@given(st.floats(0.002, 0.49), ALPHAS)
def test_min_rows_for_auc_is_the_first_that_is_enough(half_width, alpha):
    rows = min_rows_for_auc(half_width, alpha)
    assert auc_half_width(rows, rows, alpha) <= half_width
    assert rows == 1 or auc_half_width(rows - 1, rows - 1, alpha) > half_width


@given(st.floats(1e-5, 0.9), ALPHAS, st.sampled_from([1, 2, 4]))
def test_min_non_members_is_the_first_that_is_enough(fpr, alpha, sides):
    rows = min_non_members(fpr, alpha, sides=sides)
    assert (1 - fpr) ** rows <= alpha / sides * (1 + 1e-9)
    assert rows == 1 or (1 - fpr) ** (rows - 1) > alpha / sides * (1 - 1e-9)


@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.07])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_four_sides_are_what_the_strict_end_needs(fpr, alpha):
    rows = min_non_members(fpr, alpha, sides=4)
    assert threshold_ranks(rows, fpr, alpha)[0] == 1
    assert threshold_ranks(rows - 1, fpr, alpha)[0] == 0


@given(st.floats(0.01, 0.9995), ALPHAS)
def test_min_trials_is_the_first_that_is_enough(bound, alpha):
    trials = min_trials_for_lower_bound(bound, alpha)
    assert clopper_pearson(trials, trials, alpha).low >= bound
    assert trials == 1 or clopper_pearson(trials - 1, trials - 1, alpha).low < bound


def test_powers_of_a_half_are_not_off_by_one():
    """(1/2)^n <= alpha / sides with equality, where logarithms divide to a hair beside a whole number."""
    assert [min_non_members(0.5, 0.5**n, sides=1) for n in range(1, 30)] == list(range(1, 30))


def test_best_lower_limit_by_hand():
    assert best_lower_limit(72, 0.05) == pytest.approx(0.025 ** (1 / 72), rel=1e-12)
    assert min_trials_for_lower_bound(0.95, 0.05) == 72


@pytest.mark.parametrize("rows", [(300, 300), (1000, 5000), (50, 20), (50, 3)])
@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.1])
def test_best_tpr_upper_limit_is_reached_when_nothing_is_caught(rows, fpr):
    is_member = np.arange(sum(rows)) < rows[0]
    scores = np.where(is_member, -1.0, np.arange(sum(rows)))
    best = best_tpr_upper_limit(*rows, fpr, 0.05)
    assert best == tpr_at_fpr_interval(scores, is_member, fpr, 0.05).high
    assert best == pytest.approx(1 - 0.0125 ** (1 / rows[0]), rel=1e-9)


def test_non_members_too_few_for_any_threshold_bound_nothing():
    assert best_tpr_upper_limit(300, 2, 0.5, 0.05) == 1
    is_member = np.arange(302) < 300
    assert tpr_at_fpr_interval(np.where(is_member, -1.0, 1.0), is_member, 0.5, 0.05).high == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda: auc_half_width(0, 5, 0.05),
        lambda: auc_half_width(5, 5, 0.0),
        lambda: min_rows_for_auc(0.0, 0.05),
        lambda: min_rows_for_auc(0.05, 1.5),
        lambda: min_non_members(0.0, 0.05),
        lambda: min_non_members(0.001, 0.05, sides=0),
        lambda: min_non_members(0.001, 0.0),
        lambda: min_trials_for_lower_bound(1.0, 0.05),
        lambda: min_trials_for_lower_bound(0.9, 2.0),
        lambda: best_lower_limit(0, 0.05),
        lambda: best_tpr_upper_limit(0, 5, 0.1, 0.05),
        lambda: best_tpr_upper_limit(5, 5, 1.1, 0.05),
    ],
)
def test_what_no_number_of_rows_can_do_is_an_error_of_usage(ask):
    with pytest.raises(UsageError):
        ask()
