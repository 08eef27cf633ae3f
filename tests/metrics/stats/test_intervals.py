"""Intervals: by hand, against slow and foreign oracles, their order and symmetry, and quick simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, norm

from safecompress.errors import AttackError, UsageError
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats import (
    Confusion,
    accuracy_drop_interval,
    advantage_interval,
    auc,
    auc_difference,
    auc_interval,
    balanced_accuracy_interval,
    clopper_pearson,
    difference_of_intervals,
    tpr_at_fpr,
    tpr_at_fpr_interval,
)
from safecompress.metrics.stats.intervals import _varies, chernoff_interval, threshold_ranks
from safecompress.metrics.stats.metrics import placements

ALPHAS = st.sampled_from([0.2, 0.05, 0.01, 0.001])
Z95 = 1.959963984540054


def two_pools(rows):
    return np.arange(2 * rows) < rows


@st.composite
def tied_scores(draw, max_rows=24):
    num_rows = draw(st.integers(2, max_rows))
    values = draw(st.lists(st.integers(-4, 4), min_size=num_rows, max_size=num_rows))
    labels = draw(st.lists(st.booleans(), min_size=num_rows - 2, max_size=num_rows - 2))
    return np.array(values, dtype=float), np.array([*labels, True, False])


@st.composite
def counts(draw, max_trials=400):
    trials = draw(st.integers(1, max_trials))
    return draw(st.integers(0, trials)), trials


def limits(interval):
    return [interval.low, interval.high]


# --- rates ---


@pytest.mark.slow
@given(counts(), ALPHAS)
def test_clopper_pearson_is_scipys_exact_interval(count, alpha):
    expected = binomtest(*count).proportion_ci(confidence_level=1 - alpha, method="exact")
    assert limits(clopper_pearson(*count, alpha)) == pytest.approx([expected.low, expected.high], rel=1e-9, abs=1e-12)
    assert clopper_pearson(*count, alpha).confidence == 1 - alpha


def test_clopper_pearson_at_its_ends():
    assert clopper_pearson(0, 10, 0.05).low == 0
    assert clopper_pearson(10, 10, 0.05).high == 1
    assert clopper_pearson(10, 10, 0.05).low == pytest.approx(0.025 ** (1 / 10), rel=1e-12)
    assert clopper_pearson(0, 10, 0.05).high == pytest.approx(1 - 0.025 ** (1 / 10), rel=1e-12)


@pytest.mark.parametrize("count", [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(count):
    with pytest.raises(AttackError, match="successes"):
        clopper_pearson(*count, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize(
    "interval",
    [
        lambda alpha: clopper_pearson(1, 2, alpha),
        lambda alpha: auc_interval(np.arange(4.0), two_pools(2), alpha),
        lambda alpha: auc_difference(np.arange(4.0), np.zeros(4), two_pools(2), alpha),
        lambda alpha: tpr_at_fpr_interval(np.arange(4.0), two_pools(2), 0.1, alpha),
        lambda alpha: accuracy_drop_interval(two_pools(2), two_pools(2), alpha),
        lambda alpha: advantage_interval(Confusion(1, 2, 1, 2), alpha),
    ],
)
def test_alpha_must_be_an_error_rate(interval, alpha):
    with pytest.raises(UsageError, match="alpha"):
        interval(alpha)


def test_balanced_accuracy_joins_two_exact_intervals_at_half_alpha():
    """TPR 60/100 and TNR 70/100, each at 97.5 %: scipy's limits, averaged."""
    tpr = binomtest(60, 100).proportion_ci(0.975, "exact")
    tnr = binomtest(70, 100).proportion_ci(0.975, "exact")
    table = Confusion(60, 100, 30, 100)
    expected = [(tpr.low + tnr.low) / 2, (tpr.high + tnr.high) / 2]
    assert limits(balanced_accuracy_interval(table, 0.05)) == pytest.approx(expected, abs=1e-12)
    assert limits(advantage_interval(table, 0.05)) == pytest.approx([2 * x - 1 for x in expected], abs=1e-12)


@given(counts(), counts(), ALPHAS)
def test_rate_intervals_hold_the_value_and_stay_in_range(caught, alarms, alpha):
    table = Confusion(*caught, *alarms)
    accuracy, advantage = balanced_accuracy_interval(table, alpha), advantage_interval(table, alpha)
    assert -1e-15 <= accuracy.low < accuracy.high <= 1 + 1e-15
    assert accuracy.low <= table.balanced_accuracy + 1e-15 and table.balanced_accuracy <= accuracy.high + 1e-15
    assert advantage.low <= table.advantage + 1e-15 and table.advantage <= advantage.high + 1e-15
    assert accuracy.confidence == advantage.confidence == 1 - alpha


# --- AUC ---


def slow_auc_interval(scores, is_member, alpha):
    """DeLong from the M x Q matrix of pairs, a row at 0 and a row at 1 added to each pool; logit; Hoeffding's bound."""
    wins_MQ = (1 + np.sign(scores[is_member][:, None] - scores[~is_member][None, :])) / 2
    value, rows = wins_MQ.mean(), min(wins_MQ.shape)
    bound = chernoff_interval(value, rows, alpha)
    if np.ptp(wins_MQ.mean(axis=0)) == np.ptp(wins_MQ.mean(axis=1)) == 0:
        return limits(bound)
    variance = sum(np.var([*wins_MQ.mean(axis=a), 0, 1], ddof=1) / (wins_MQ.shape[1 - a] + 2) for a in (0, 1))
    reach = norm.isf(alpha / 2) * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-(math.log(value / (1 - value)) + sign * reach))) for sign in (-1, 1))
    return [max(low, bound.low), min(high, bound.high)]


@pytest.mark.slow
@given(tied_scores(), ALPHAS)
def test_fast_auc_interval_is_the_slow_one(data, alpha):
    assert limits(auc_interval(*data, alpha)) == pytest.approx(slow_auc_interval(*data, alpha), abs=1e-9)


@pytest.mark.slow
@given(tied_scores(), ALPHAS)
def test_auc_interval_has_width_and_holds_the_auc(data, alpha):
    interval = auc_interval(*data, alpha)
    assert 0 <= interval.low <= auc(*data) + 1e-12 and auc(*data) <= interval.high + 1e-12 and interval.high <= 1
    assert interval.high - interval.low > 0.01
    assert interval.confidence == 1 - alpha


@pytest.mark.slow
@given(tied_scores(), st.permutations(range(24)))
def test_auc_interval_reads_ranks_only_and_mirrors(data, order):
    scores, is_member = data
    order = [index for index in order if index < scores.size]
    expected = limits(auc_interval(scores, is_member, 0.05))
    assert limits(auc_interval(scores[order], is_member[order], 0.05)) == pytest.approx(expected, abs=1e-12)
    assert limits(auc_interval(np.exp(scores), is_member, 0.05)) == expected
    mirrored = auc_interval(-scores, is_member, 0.05)
    assert [1 - mirrored.high, 1 - mirrored.low] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@given(tied_scores())
def test_less_alpha_is_never_narrower(data):
    widths = [interval.high - interval.low for interval in (auc_interval(*data, a) for a in (0.2, 0.05, 0.01, 1e-4))]
    assert widths == sorted(widths)


def test_no_variance_falls_back_to_a_distribution_free_bound():
    """Perfect separation gives what n of n give; a constant gives 0.5 and a width that no luck explains."""
    is_member = two_pools(300)
    perfect = auc_interval(is_member.astype(float), is_member, 0.05)
    assert limits(perfect) == pytest.approx([0.025 ** (1 / 300), 1], abs=1e-12)
    constant = auc_interval(np.ones(600), is_member, 0.05)
    assert 0.5 - constant.low == pytest.approx(constant.high - 0.5, abs=1e-12)
    assert 0.0462 < constant.high - 0.5 < math.sqrt(math.log(40) / 600)


def test_almost_perfect_separation_is_as_certain_as_perfect():
    """One swapped pair in 90,000 must not throw the interval open (a logit alone would) nor close it (plain DeLong)."""
    scores, is_member = np.arange(600, 0, -1.0), two_pools(300)
    scores[[299, 300]] = scores[[300, 299]]
    interval = auc_interval(scores, is_member, 0.05)
    assert 0.985 < interval.low < 0.025 ** (1 / 300)
    assert interval.high > 0.9999


def test_null_interval_has_the_width_that_the_method_quotes():
    """300 + 300 rows without a leak: AUC +- .046."""
    rng = np.random.default_rng(3)
    widths = [np.diff(limits(auc_interval(rng.random(600), two_pools(300), 0.05)))[0] for _ in range(50)]
    assert np.mean(widths) / 2 == pytest.approx(0.0462, rel=0.01)


@given(st.floats(0, 1), st.integers(1, 2000), ALPHAS)
def test_chernoff_interval_solves_its_equation(mean, num_independent, alpha):
    interval, budget = chernoff_interval(mean, num_independent, alpha), math.log(2 / alpha) / num_independent
    assert 0 <= interval.low <= mean <= interval.high <= 1
    for limit in limits(interval):
        if 1e-9 < limit < 1 - 1e-9 and 0 < mean < 1:
            cost = mean * math.log(mean / limit) + (1 - mean) * math.log((1 - mean) / (1 - limit))
            assert cost == pytest.approx(budget, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.358])
def test_auc_interval_covers(shift):
    """400 data sets of 150 + 150 rows: more than 36 misses have probability under 0.0005 at 95 %."""
    rng, is_member, truth = np.random.default_rng(11), two_pools(150), norm.cdf(shift / math.sqrt(2))
    found = [auc_interval(rng.standard_normal(300) + shift * is_member, is_member, 0.05) for _ in range(400)]
    misses = sum(not interval.low <= truth <= interval.high for interval in found)
    assert 4 <= misses <= 36


@pytest.mark.slow
def test_auc_interval_covers_where_plain_delong_does_not():
    """Labels as scores, members always right, non-members 90 %, 50 + 50 rows: plain DeLong covers 88 %."""
    rng, is_member = np.random.default_rng(5), two_pools(50)
    draws = [(is_member | (rng.random(100) < 0.9)).astype(float) for _ in range(400)]
    found = [auc_interval(scores, is_member, 0.05) for scores in draws]
    assert sum(not interval.low <= 0.55 <= interval.high for interval in found) <= 20


# --- paired differences ---


def test_auc_difference_by_the_matrix_of_pairs():
    rng, is_member = np.random.default_rng(1), two_pools(40)
    first = np.round(rng.standard_normal(80) + 0.8 * is_member, 1)
    second = np.round(first + 0.5 * rng.standard_normal(80), 1)
    wins = [(1 + np.sign(s[is_member][:, None] - s[~is_member][None, :])) / 2 for s in (first, second)]
    by_pool = [(wins[0] - wins[1]).mean(axis=axis) for axis in (1, 0)]
    largest = max(np.abs(pool).max() for pool in by_pool)
    error = math.sqrt(sum(np.var([*pool, largest, -largest], ddof=1) / 42 for pool in by_pool))
    value = auc(first, is_member) - auc(second, is_member)
    result = auc_difference(first, second, is_member, 0.05)
    assert result.value == pytest.approx(value, abs=1e-12)
    assert limits(result.interval) == pytest.approx([value - Z95 * error, value + Z95 * error], abs=1e-12)
    assert result.p_value == pytest.approx(2 * norm.sf(abs(value) / error), rel=1e-9)


@pytest.mark.slow
@given(tied_scores(), st.randoms(use_true_random=False), ALPHAS)
def test_auc_difference_is_antisymmetric_bounded_and_agrees_with_its_p_value(data, random, alpha):
    scores, is_member = data
    other = np.array(random.choices(range(5), k=scores.size), dtype=float)
    forth, back = auc_difference(scores, other, is_member, alpha), auc_difference(other, scores, is_member, alpha)
    assert forth.value == pytest.approx(-back.value, abs=1e-12)
    assert limits(forth.interval) == pytest.approx([-back.interval.high, -back.interval.low], abs=1e-9)
    assert forth.p_value == pytest.approx(back.p_value, rel=1e-9) and 0 <= forth.p_value <= 1
    assert -1 <= forth.interval.low <= forth.value + 1e-12 and forth.value <= forth.interval.high + 1e-12
    if abs(forth.p_value - alpha) > 1e-6:
        assert (forth.p_value < alpha) == (not forth.interval.low <= 0 <= forth.interval.high)


def test_the_same_scores_are_no_difference():
    scores, is_member = np.random.default_rng(0).random(40), two_pools(20)
    same = auc_difference(scores, scores.copy(), is_member, 0.05)
    assert (same.value, same.interval, same.p_value) == (0.0, Interval(0.0, 0.0, 0.95), 1.0)


def test_the_same_order_is_no_difference_but_no_certainty():
    scores, is_member = np.random.default_rng(0).random(600), two_pools(300)
    monotone = auc_difference(scores, np.exp(scores), is_member, 0.05)
    assert (monotone.value, monotone.p_value) == (0.0, 1.0)
    assert limits(monotone.interval) == pytest.approx([-(1 - 0.05 ** (1 / 300)), 1 - 0.05 ** (1 / 300)], abs=1e-12)


def test_a_certain_difference_is_bounded_without_distribution():
    """Perfect against inverted: no variance at all, and a difference of 1 of which the sample cannot be sure."""
    is_member = two_pools(100)
    result = auc_difference(is_member.astype(float), -is_member.astype(float), is_member, 0.05)
    assert result.value == 1
    assert limits(result.interval) == pytest.approx([2 * 0.025 ** (1 / 100) - 1, 1], abs=1e-12)
    assert result.p_value == pytest.approx(2 * 0.5**100, rel=1e-9, abs=0)


def test_rounding_is_no_variance():
    """Each row differs by 1/3, in floats by 1 - 2/3 or by 2/3 - 1/3: still a difference without any variance."""
    is_member = np.array([True] * 2 + [False] * 3)
    first, second = np.array([9.0, 2.5, 1, 2, 3]), np.array([2.5, 1.5, 1, 2, 3])
    placed = [placements(scores, is_member).members for scores in (first, second)]
    assert (placed[0] - placed[1]).tolist() == [1 - 2 / 3, 2 / 3 - 1 / 3] and 1 - 2 / 3 != 2 / 3 - 1 / 3
    assert not _varies(placed[0] - placed[1])


def test_pairing_is_several_times_sharper_than_two_intervals():
    rng, is_member = np.random.default_rng(2), two_pools(375)
    scores = rng.standard_normal(750)
    paired = auc_difference(scores, scores + 0.1 * rng.standard_normal(750), is_member, 0.05)
    single = auc_interval(scores, is_member, 0.05)
    assert paired.interval.high - paired.interval.low < (single.high - single.low) / 5


def test_auc_difference_covers():
    rng, is_member = np.random.default_rng(4), two_pools(150)
    truth = norm.cdf(0.5 / math.sqrt(2)) - norm.cdf(0.3 / math.sqrt(2))
    found = []
    for _ in range(400):
        first, noise = rng.standard_normal((2, 300))
        second = 0.9 * first + math.sqrt(1 - 0.81) * noise
        found.append(auc_difference(first + 0.5 * is_member, second + 0.3 * is_member, is_member, 0.05).interval)
    assert 2 <= sum(not interval.low <= truth <= interval.high for interval in found) <= 36


def test_auc_difference_wants_the_same_rows():
    with pytest.raises(AttackError, match="shape"):
        auc_difference(np.zeros(4), np.zeros(5), two_pools(2), 0.05)


def test_accuracy_drop_by_hand():
    """100 rows, 7 lost and 2 won: (8 - 3)/102 +- z sqrt((11/102 - (5/102)^2) / 102); McNemar 2 P[Bin(9, 1/2) <= 2]."""
    before, after = np.ones(100, dtype=bool), np.ones(100, dtype=bool)
    after[:7], before[7:9] = False, False
    result = accuracy_drop_interval(before, after, 0.05)
    reach = Z95 * math.sqrt((11 / 102 - (5 / 102) ** 2) / 102)
    assert result.value == pytest.approx(0.05)
    assert limits(result.interval) == pytest.approx([5 / 102 - reach, 5 / 102 + reach], abs=1e-12)
    assert result.p_value == pytest.approx(2 * (1 + 9 + 36) / 512)
    assert result.p_value == pytest.approx(binomtest(2, 9).pvalue)


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), ALPHAS)
def test_accuracy_drop_is_antisymmetric_and_holds_its_value(rows, alpha):
    before, after = np.array(rows).T
    forth, back = accuracy_drop_interval(before, after, alpha), accuracy_drop_interval(after, before, alpha)
    assert forth.value == pytest.approx(before.mean() - after.mean(), abs=1e-12)
    assert limits(forth.interval) == pytest.approx([-back.interval.high, -back.interval.low], abs=1e-12)
    assert -1 <= forth.interval.low <= forth.value <= forth.interval.high <= 1
    assert forth.interval.low < forth.interval.high and forth.p_value == back.p_value <= 1


def test_accuracy_drop_holds_its_value_even_where_the_adjustment_pulls_past_it():
    """All of 10 rows lost, alpha 0.5: the adjusted centre is 10/12, and its reach ends at .94."""
    everything, nothing = np.ones(10, dtype=bool), np.zeros(10, dtype=bool)
    assert accuracy_drop_interval(everything, nothing, 0.5).interval.high == 1
    assert accuracy_drop_interval(nothing, everything, 0.5).interval.low == -1


def test_accuracy_that_never_differs_still_has_an_interval():
    same = accuracy_drop_interval(np.ones(50, dtype=bool), np.ones(50, dtype=bool), 0.05)
    assert (same.value, same.p_value) == (0, 1)
    assert same.interval.high == pytest.approx(Z95 * math.sqrt(2) / 52)


def test_accuracy_drop_covers():
    """3 % lost, 1 % won of 500 rows, 1000 data sets."""
    rng, misses = np.random.default_rng(6), 0
    for draw in rng.random((1000, 500)):
        interval = accuracy_drop_interval(draw < 0.83, (draw < 0.8) | (draw > 0.99), 0.05).interval
        misses += not interval.low <= 0.02 <= interval.high
    assert 15 <= misses <= 75


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (np.ones(3, bool), np.ones(4, bool), "shape"),
        (np.ones(0, bool), np.ones(0, bool), "shape"),
        (np.ones((2, 2), bool), np.ones((2, 2), bool), "shape"),
        (np.ones(3, bool), np.ones(3), "bool"),
        (np.ones(3, int), np.ones(3, bool), "bool"),
    ],
)
def test_accuracy_drop_wants_the_same_rows_as_bool(before, after, complaint):
    with pytest.raises(AttackError, match=complaint):
        accuracy_drop_interval(before, after, 0.05)


def test_difference_of_intervals_is_the_worst_of_both():
    joint = difference_of_intervals(after=Interval(0.5, 0.6, 0.975), before=Interval(0.2, 0.45, 0.975))
    assert limits(joint) == pytest.approx([0.05, 0.4])
    assert joint.confidence == pytest.approx(0.95)
    exact = difference_of_intervals(after=Interval.exact(3.0), before=Interval.exact(1.0))
    assert (exact.low, exact.high, exact.confidence) == (2.0, 2.0, 1.0)


# --- TPR at FPR ---


@pytest.mark.slow
@pytest.mark.parametrize("num_non_members", [1, 7, 437, 438, 1000, 4380, 5000])
@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.3])
def test_threshold_ranks_are_the_tightest_that_hold(num_non_members, fpr):
    """The FPR of "score at or over the k-th largest" is Beta(k, Q - k + 1): both ranks hold, one further does not."""
    strict, loose = threshold_ranks(num_non_members, fpr, 0.05)
    exceeds = {k: beta.sf(fpr, k, num_non_members - k + 1) for k in range(1, num_non_members + 1)}
    falls_short = {k: 1 - chance for k, chance in exceeds.items()}
    assert strict == sum(chance <= 0.0125 for chance in exceeds.values())
    assert loose == num_non_members + 1 - sum(chance <= 0.0125 for chance in falls_short.values())
    assert strict <= math.floor(fpr * num_non_members) + 1 <= loose


def test_tpr_at_fpr_interval_by_hand():
    """Non-members 1..100, FPR 10 %, alpha / 4 = .05. Of Bin(100, .1): P[<= 4] = .024 and P[<= 5] = .058, so the strict
    threshold is the 5th largest, 96; P[>= 16] = .040 and P[>= 15] = .073, so the loose one is the 16th, 85."""
    assert binom.cdf(4, 100, 0.1) <= 0.05 < binom.cdf(5, 100, 0.1)
    assert binom.sf(15, 100, 0.1) <= 0.05 < binom.sf(14, 100, 0.1)
    members = np.concatenate(
        (np.full(6, 96.0), np.full(4, 96.5), np.full(20, 85.0), np.full(5, 85.5), np.full(15, 1.0))
    )
    scores, is_member = np.concatenate((members, np.arange(1, 101))), np.arange(150) < 50
    interval = tpr_at_fpr_interval(scores, is_member, 0.1, 0.2)
    assert interval.low == pytest.approx(binomtest(4, 50).proportion_ci(0.9, "exact").low, abs=1e-12)
    assert interval.high == pytest.approx(binomtest(15, 50).proportion_ci(0.9, "exact").high, abs=1e-12)
    assert interval.confidence == 0.8


@pytest.mark.slow
@given(tied_scores(), st.floats(0, 1), ALPHAS)
def test_tpr_at_fpr_interval_holds_the_empirical_point(data, fpr, alpha):
    interval = tpr_at_fpr_interval(*data, fpr, alpha)
    assert 0 <= interval.low <= tpr_at_fpr(*data, fpr) <= interval.high <= 1
    assert interval.low < interval.high


@given(tied_scores(), st.permutations(range(24)))
def test_tpr_at_fpr_interval_reads_ranks_only(data, order):
    scores, is_member = data
    order = [index for index in order if index < scores.size]
    expected = tpr_at_fpr_interval(scores, is_member, 0.3, 0.2)
    assert tpr_at_fpr_interval(scores[order], is_member[order], 0.3, 0.2) == expected
    assert tpr_at_fpr_interval(np.exp(scores), is_member, 0.3, 0.2) == expected


def test_too_few_non_members_certify_no_tpr():
    """Perfect separation: 4379 non-members leave the low end of TPR at 0.1 % at nothing; one more gives n of n."""
    scores = np.concatenate((np.ones(100), np.zeros(4380)))
    is_member = scores > 0
    assert limits(tpr_at_fpr_interval(scores[:-1], is_member[:-1], 0.001, 0.05)) == [0, 1]
    assert tpr_at_fpr_interval(scores, is_member, 0.001, 0.05).low == pytest.approx(0.0125 ** (1 / 100), rel=1e-12)


def test_a_constant_catches_nobody_at_a_low_fpr():
    """All rows tie: the only rules are nobody and everybody, and everybody is not allowed."""
    constant = tpr_at_fpr_interval(np.zeros(600), two_pools(300), 0.01, 0.05)
    assert limits(constant) == pytest.approx([0, 1 - 0.0125 ** (1 / 300)], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("decimals", [12, 0], ids=["no ties", "many ties"])
def test_tpr_at_fpr_interval_covers_where_the_plain_one_does_not(decimals):
    """A leak of AUC .99, FPR 1 %, 1000 + 1000 rows. Plain Clopper-Pearson at the empirical threshold covers 44-61 %."""
    rng, is_member = np.random.default_rng(8), two_pools(1000)
    cut = norm.isf(0.01) if decimals else 2.5  # whole numbers: P[z >= 2.5] = .0062 is allowed, P[z >= 1.5] is not
    truth, misses, plain_misses = norm.sf(cut - 3.29), 0, 0
    for _ in range(300):
        scores = np.round(rng.standard_normal(2000) + 3.29 * is_member, decimals)
        interval = tpr_at_fpr_interval(scores, is_member, 0.01, 0.05)
        plain = clopper_pearson(round(1000 * tpr_at_fpr(scores, is_member, 0.01)), 1000, 0.05)
        misses += not interval.low <= truth <= interval.high
        plain_misses += not plain.low <= truth <= plain.high
    assert misses <= 15
    assert decimals == 0 or 0.39 <= plain_misses / 300 <= 0.61
