"""The bootstrap of the AUC: against a slow loop and scipy, by hand where Efron did, and what it covers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from safecompress.errors import AttackError, UsageError
from safecompress.metrics.stats import auc, auc_interval, bootstrap_auc_interval
from safecompress.metrics.stats import bootstrap as page
from safecompress.metrics.stats.intervals import chernoff_interval


def two_pools(rows):
    return np.arange(2 * rows) < rows


def interval_of(scores, is_member, alpha=0.05, seed=0, **options):
    return bootstrap_auc_interval(scores, is_member, alpha, generator=np.random.default_rng(seed), **options)


def limits(interval):
    return [interval.low, interval.high]


def leaky(rows, shift, seed=0, decimals=12):
    is_member = two_pools(rows)
    return np.round(np.random.default_rng(seed).standard_normal(2 * rows) + shift * is_member, decimals), is_member


@pytest.mark.parametrize("decimals", [12, 0], ids=["no ties", "many ties"])
def test_resampled_aucs_are_those_of_the_rows_drawn(decimals):
    scores, is_member = leaky(13, 0.7, decimals=decimals)
    scores, is_member = scores[3:], is_member[3:]  # 10 members, 13 non-members
    found = page._resampled_aucs(scores, is_member, 40, np.random.default_rng(4))
    generator = np.random.default_rng(4)
    members = scores[is_member][generator.integers(10, size=(40, 10))]
    non_members = scores[~is_member][generator.integers(13, size=(40, 13))]
    labels = np.arange(23) < 10
    slow = [auc(np.concatenate(pair), labels) for pair in zip(members, non_members, strict=True)]
    assert found.tolist() == slow


def test_blocks_only_save_memory(monkeypatch):
    scores, is_member = leaky(20, 0.7)
    monkeypatch.setattr(page, "_BLOCK", 40 * 7)
    found = page._resampled_aucs(scores, is_member, 1003, np.random.default_rng(1))
    assert found.shape == (1003,)
    assert np.unique(found).size > 100
    assert found.mean() == pytest.approx(auc(scores, is_member), abs=0.01)


def test_neither_pool_is_resampled_into_the_other():
    """Members all at 1, non-members at 0 and 2: resamples differ through the non-members alone."""
    scores, is_member = np.array([1.0] * 6 + [0, 0, 0, 0, 2, 2]), np.arange(12) < 6
    found = page._resampled_aucs(scores, is_member, 500, np.random.default_rng(1))
    assert set(np.rint(found * 6).astype(int)) <= set(range(7)) and np.allclose(found * 6, np.rint(found * 6))


def test_shares_as_printed_by_efron_and_tibshirani():
    """An Introduction to the Bootstrap (1993), section 14.3: shift .146, acceleration .061 move 5 % and 95 % so."""
    draws = np.arange(100_000) < 100_000 * norm.cdf(0.146)
    shares = page._shares(np.where(draws, 0.0, 2.0), 1.0, 0.061, 0.1)
    assert shares == pytest.approx([0.110, 0.985], abs=1e-3)


def test_no_bias_and_no_skew_are_plain_percentiles():
    draws = np.concatenate((np.zeros(50), np.full(50, 2.0)))
    assert page._shares(draws, 1.0, 0.0, 0.2) == pytest.approx([0.1, 0.9], abs=1e-12)
    tied = np.concatenate((np.zeros(30), np.ones(40), np.full(30, 2.0)))
    assert page._shares(tied, 1.0, 0.0, 0.2) == pytest.approx([0.1, 0.9], abs=1e-12)


@pytest.mark.parametrize(("acceleration", "end", "share"), [(0.6, 1, 1.0), (-0.6, 0, 0.0)])
def test_shares_beyond_the_pole_are_the_outermost(acceleration, end, share):
    """At alpha .01 the quantile is 2.58: 1 - .6 x 2.58 < 0, where the formula would turn back."""
    shares = page._shares(np.array([0.0, 2.0]), 1.0, acceleration, 0.01)
    assert shares[end] == share
    assert 0 < shares[1 - end] < 1


@pytest.mark.parametrize("draw", [0.0, 2.0])
def test_a_value_outside_all_draws_still_has_shares(draw):
    low, high = page._shares(np.full(100, draw), 1.0, 0.05, 0.05)
    assert 0 <= low <= high <= 1
    assert (low > 0.5) == (draw < 1)


@pytest.mark.parametrize(("rows", "shift"), [(40, 0.0), (40, 1.8), (15, 1.0)])
def test_ends_are_scipys(rows, shift):
    """scipy.stats.bootstrap, BCa by the jackknife, on its own draws; ends within their simulation error."""

    def slow_auc(members, non_members, axis):
        wins = np.sign(members[..., :, None] - non_members[..., None, :])
        return (1 + wins.mean(axis=(-2, -1))) / 2

    scores, is_member = leaky(rows, shift, seed=3, decimals=1)
    scores, is_member = scores[5:], is_member[5:]
    pools = (scores[is_member], scores[~is_member])
    theirs = bootstrap(
        pools, slow_auc, n_resamples=16_000, batch=1000, confidence_level=0.9, rng=np.random.default_rng(0)
    ).confidence_interval
    ours = interval_of(scores, is_member, 0.1, num_draws=16_000)
    assert limits(ours) == pytest.approx([theirs.low, theirs.high], abs=0.007)
    assert ours.confidence == 0.9


def test_acceleration_is_the_skewness_of_the_jackknife():
    """Pools of 12 and 7: a row left out moves the AUC by its influence times n / (n - 1) of its own pool."""
    scores, is_member = (each[:19] for each in leaky(12, 1.0, seed=2))
    value = auc(scores, is_member)
    left_out = [auc(np.delete(scores, row), np.delete(is_member, row)) for row in range(19)]
    influence = (value - np.array(left_out)) * np.where(is_member, 11 / 12, 6 / 7)
    expected = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    assert page._acceleration(page.placements(scores, is_member), value) == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 0.01


@pytest.mark.slow
@given(st.lists(st.integers(-3, 3), min_size=4, max_size=40), st.integers(1, 3), st.sampled_from([0.2, 0.05]))
def test_the_interval_has_width_and_stays_in_the_distribution_free_one(values, num_members, alpha):
    scores, is_member = np.array(values, dtype=float), np.arange(len(values)) < num_members
    interval = interval_of(scores, is_member, alpha, num_draws=100)
    bound = chernoff_interval(auc(scores, is_member), min(num_members, len(values) - num_members), alpha)
    assert bound.low <= interval.low < interval.high <= bound.high


def test_where_no_draw_differs_the_distribution_free_interval_stands_in():
    is_member = two_pools(300)
    perfect = interval_of(is_member.astype(float), is_member, num_draws=50)
    assert limits(perfect) == pytest.approx([0.025 ** (1 / 300), 1], abs=1e-12)
    constant = interval_of(np.ones(600), is_member, num_draws=50)
    assert constant == auc_interval(np.ones(600), is_member, 0.05)


def test_an_end_that_no_draw_reaches_is_the_distribution_free_one():
    """40 draws at alpha .05: an end lies one draw from the outermost, and the shift of the median moves one out."""
    scores, is_member = leaky(30, 1.0)
    bound = chernoff_interval(auc(scores, is_member), 30, 0.05)
    found = [interval_of(scores, is_member, seed=seed, num_draws=40) for seed in range(20)]
    ends = [(interval.low == bound.low, interval.high == bound.high) for interval in found]
    assert {True, False} == {low for low, _ in ends} == {high for _, high in ends}
    assert not any(low and high for low, high in ends)


def test_the_same_generator_gives_the_same_interval_and_another_one_another():
    data = leaky(30, 0.5)
    assert interval_of(*data) == interval_of(*data)
    assert interval_of(*data) != interval_of(*data, seed=1)


def test_it_agrees_with_the_formula():
    """500 + 500 rows, AUC .64: DeLong's ends to a tenth of the width."""
    data = leaky(500, 0.5)
    formula = auc_interval(*data, 0.05)
    assert limits(interval_of(*data, num_draws=4000)) == pytest.approx(limits(formula), abs=0.1 * 0.07)


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "most_low", "most_high"), [(3.29, 14, 22), (0.358, 18, 18)])
def test_it_covers(shift, most_low, most_high):
    """300 data sets of 30 + 30 rows, 7.5 misses on each side in place. Near separation percentiles miss 22 low ends."""
    rng, is_member, truth = np.random.default_rng(1), two_pools(30), norm.cdf(shift / math.sqrt(2))
    found = [
        bootstrap_auc_interval(
            rng.standard_normal(60) + shift * is_member, is_member, 0.05, generator=rng, num_draws=500
        )
        for _ in range(300)
    ]
    assert sum(interval.low > truth for interval in found) <= most_low
    assert sum(interval.high < truth for interval in found) <= most_high


@pytest.mark.parametrize(
    ("scores", "is_member", "message"),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), "NaN"),
        (np.array([1.0, np.inf]), np.array([True, False]), "infinite"),
        (np.array([1.0, 2.0]), np.array([False, False]), "0 members"),
        (np.array([1.0, 2.0]), np.array([1, 0]), "not bool"),
    ],
)
def test_scores_that_rank_nobody_are_refused(scores, is_member, message):
    with pytest.raises(AttackError, match=message):
        interval_of(scores, is_member)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_alpha_must_be_an_error_rate(alpha):
    with pytest.raises(UsageError, match="alpha"):
        interval_of(*leaky(5, 0.0), alpha)


def test_too_few_draws_for_alpha_are_refused():
    with pytest.raises(UsageError, match=r"num_draws is 39.*alpha 0\.05.*at least 40"):
        interval_of(*leaky(5, 0.0), num_draws=39)
