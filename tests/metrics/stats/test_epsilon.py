"""Limits on epsilon: by hand and as published, against slow oracles, and how often they exceed the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest

from safecompress.errors import AttackError, UsageError
from safecompress.metrics.stats import (
    Confusion,
    confusion_at,
    epsilon_lower,
    epsilon_over_thresholds,
    epsilon_per_sample,
)
from safecompress.metrics.stats.epsilon import _spread_counts, p_value

ALPHAS = st.sampled_from([0.2, 0.05, 0.01, 0.001])
DELTAS = st.sampled_from([0.0, 1e-5, 0.01, 0.1])


def two_pools(rows):
    return np.arange(2 * rows) < rows


def share_right(epsilon):
    """The accuracy of randomised response."""
    return 1 / (1 + math.exp(-epsilon))


@st.composite
def tables(draw, max_rows=600):
    num_members, num_non_members = draw(st.integers(1, max_rows)), draw(st.integers(1, max_rows))
    return Confusion(
        draw(st.integers(0, num_members)), num_members, draw(st.integers(0, num_non_members)), num_non_members
    )


@st.composite
def tied_scores(draw, max_rows=60):
    num_rows = draw(st.integers(2, max_rows))
    values = draw(st.lists(st.integers(-6, 6), min_size=num_rows, max_size=num_rows))
    labels = draw(st.lists(st.booleans(), min_size=num_rows - 2, max_size=num_rows - 2))
    is_member = np.array([*labels, True, False])
    return np.array(values, dtype=float) + draw(st.sampled_from([0, 5, 20])) * is_member, is_member


@st.composite
def audits(draw, max_canaries=150):
    canaries = draw(st.integers(1, max_canaries))
    guesses = draw(st.integers(1, canaries))
    return guesses, draw(st.integers(0, guesses)), canaries


# --- one rule ---


def test_the_methods_check():
    """500 of 500 against 0 of 500 at .01: alpha / 2 for either rate. TPR >= .005^(1/500), FPR <= 1 - .005^(1/500)."""
    edge = 0.005 ** (1 / 500)
    assert epsilon_per_sample(Confusion(500, 500, 0, 500), 0.01) == pytest.approx(math.log(edge / (1 - edge)), rel=1e-9)
    assert epsilon_per_sample(Confusion(500, 500, 0, 500), 0.01) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("delta", [0.0, 0.02])
def test_either_direction_by_scipys_exact_limits(delta):
    """60 of 200 against 2 of 100 shows more by the calls made; 198 of 200 against 60 of 100 by those not made."""
    for caught, alarms, is_by_calls in ((60, 2, True), (198, 60, False)):
        tpr = binomtest(caught, 200).proportion_ci(0.95, "exact").low
        fpr = binomtest(alarms, 100).proportion_ci(0.95, "exact").high
        by_calls, by_silence = math.log((tpr - delta) / fpr), math.log((1 - fpr - delta) / (1 - tpr))
        assert (by_calls > by_silence) == is_by_calls
        found = epsilon_per_sample(Confusion(caught, 200, alarms, 100), 0.05, delta=delta)
        assert found == pytest.approx(max(by_calls, by_silence), rel=1e-9)


@given(tables(), ALPHAS, DELTAS)
def test_calling_non_members_instead_shows_the_same(table, alpha, delta):
    mirrored = Confusion(
        table.num_non_members - table.false_positives,
        table.num_non_members,
        table.num_members - table.true_positives,
        table.num_members,
    )
    expected = epsilon_per_sample(table, alpha, delta=delta)
    assert epsilon_per_sample(mirrored, alpha, delta=delta) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(tables(), DELTAS)
def test_less_alpha_and_more_delta_never_show_more(table, delta):
    by_alpha = [epsilon_per_sample(table, alpha, delta=delta) for alpha in (0.5, 0.05, 1e-3, 1e-9)]
    by_delta = [epsilon_per_sample(table, 0.05, delta=d) for d in (0.0, 1e-3, 0.1, 0.9)]
    assert by_alpha == sorted(by_alpha, reverse=True)
    assert by_delta == sorted(by_delta, reverse=True)
    assert all(0 <= value < math.inf for value in by_alpha + by_delta)


def test_a_perfect_rule_on_many_rows_shows_much_and_never_everything():
    found = [epsilon_per_sample(Confusion(rows, rows, 0, rows), 0.05) for rows in (10, 10**3, 10**6, 10**9)]
    assert found == sorted(found) and found[-1] == pytest.approx(math.log(10**9 / -math.log(0.025)), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("tpr", "fpr"), [(0.02, 0.02), (0.5, 0.5), (0.9, 0.9), (0.3, 0.05), (0.95, 0.6), (0.99, 0.1)])
@pytest.mark.parametrize("alpha", [0.3, 0.05])
def test_it_exceeds_the_truth_in_at_most_alpha_of_runs(tpr, fpr, alpha):
    """Not simulated but summed: every table of 30 + 25 rows, times its probability."""
    truth = max(0.0, math.log(tpr / fpr), math.log((1 - fpr) / (1 - tpr)))
    exceeds = sum(
        binom.pmf(caught, 30, tpr) * binom.pmf(alarms, 25, fpr)
        for caught in range(31)
        for alarms in range(26)
        if epsilon_per_sample(Confusion(caught, 30, alarms, 25), alpha) > truth + 1e-12
    )
    assert exceeds <= alpha


# --- all thresholds ---


def slow_over_thresholds(scores, is_member, alpha, delta, num_thresholds):
    """One threshold after the other, scipy's beta quantiles one by one."""

    def low(successes, trials):
        counts = _spread_counts(trials, num_thresholds)
        held = max((count for count in counts if count <= successes), default=0)
        return beta.ppf(alpha / 2 / len(counts), held, trials - held + 1) if held else 0.0

    found = 0.0
    for threshold in scores:
        table = confusion_at(scores, is_member, threshold)
        tpr = low(table.true_positives, table.num_members)
        tnr = low(table.num_non_members - table.false_positives, table.num_non_members)
        fpr, fnr = 1 - tnr, 1 - tpr
        for hit, miss in ((tpr, fpr), (tnr, fnr)):
            found = max(found, math.log((hit - delta) / miss) if hit > delta else 0.0)
    return found


@pytest.mark.slow
@given(tied_scores(), st.sampled_from([2, 3, 8, 64]), ALPHAS, DELTAS)
def test_fast_over_thresholds_is_the_slow_one(data, num_thresholds, alpha, delta):
    found = epsilon_over_thresholds(*data, alpha, delta=delta, num_thresholds=num_thresholds)
    assert found == pytest.approx(slow_over_thresholds(*data, alpha, delta, num_thresholds), rel=1e-7, abs=1e-9)


def test_the_slow_one_is_not_always_zero():
    rng, is_member = np.random.default_rng(0), two_pools(60)
    scores = np.round(rng.standard_normal(120) + 3 * is_member, 1)
    for num_thresholds in (8, 20, 64):
        slow = slow_over_thresholds(scores, is_member, 0.05, 0.01, num_thresholds)
        assert slow > 0.5
        found = epsilon_over_thresholds(scores, is_member, 0.05, delta=0.01, num_thresholds=num_thresholds)
        assert found == pytest.approx(slow, rel=1e-7)


def test_perfect_separation_by_hand():
    """40 + 40 rows, limits at all 40 counts: each at .05 / 2 / 40, so TPR >= .000625^(1/40)."""
    edge = 0.000625 ** (1 / 40)
    found = epsilon_over_thresholds(np.arange(80, 0, -1.0), two_pools(40), 0.05, num_thresholds=40)
    assert found == pytest.approx(math.log(edge / (1 - edge)), rel=1e-9)


@pytest.mark.slow
@given(tied_scores(), st.permutations(range(60)))
def test_over_thresholds_reads_ranks_only_and_mirrors(data, order):
    scores, is_member = data
    order = [index for index in order if index < scores.size]
    expected = epsilon_over_thresholds(scores, is_member, 0.2)
    assert epsilon_over_thresholds(scores[order], is_member[order], 0.2) == expected
    assert epsilon_over_thresholds(np.exp(scores), is_member, 0.2) == expected
    assert epsilon_over_thresholds(-scores, ~is_member, 0.2) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.slow
@given(tied_scores(), ALPHAS, DELTAS)
def test_the_correction_costs(data, alpha, delta):
    """Never more than the largest uncorrected value, never under 0, always finite."""
    largest = max(epsilon_per_sample(confusion_at(*data, t), alpha, delta=delta) for t in data[0])
    assert 0 <= epsilon_over_thresholds(*data, alpha, delta=delta) <= largest + 1e-12 < math.inf


@given(st.integers(1, 3000), st.integers(2, 200))
def test_counts_are_spread_from_end_to_end(trials, number):
    counts = _spread_counts(trials, number)
    assert 1 <= counts.size <= number
    assert (counts[0], counts[-1]) == (1, trials)
    assert (np.diff(counts) > 0).all()
    assert np.array_equal(counts, np.sort(trials + 1 - counts))
    assert counts.size == trials or number < trials


@given(st.integers(64, 10_000))
def test_the_usual_64_counts_leave_no_wide_gap(trials):
    counts = _spread_counts(trials, 64)
    before, after = counts[:-1], counts[1:]
    assert (after <= 1.4 * before + 1)[after <= trials / 2].all()
    assert np.diff(counts).max() <= 0.4 * trials / 2 + 1


def runs_that_exceed(truth, draw, alpha, runs):
    """How many of ``runs`` the corrected maximum exceeds ``truth`` in, and how many the uncorrected one."""
    rng, corrected, plain = np.random.default_rng(7), 0, 0
    for _ in range(runs):
        scores, is_member = draw(rng)
        corrected += epsilon_over_thresholds(scores, is_member, alpha) > truth
        caught, alarms = (np.cumsum(side[np.argsort(-scores)]) for side in (is_member, ~is_member))
        rows = is_member.size // 2
        tpr, fpr = beta.ppf(alpha / 2, caught, rows - caught + 1), beta.isf(alpha / 2, alarms + 1, rows - alarms)
        inside = (caught > 0) & (alarms < rows)
        shown = np.log(np.maximum(tpr / fpr, (1 - fpr) / (1 - tpr))[inside])
        plain += shown.max() > truth
    return corrected, plain


def without_leak(rng):
    return rng.standard_normal(1600), two_pools(800)


def with_leak(rng):
    """Randomised response at epsilon 1, spread out: every threshold in its upper half has TPR / FPR = e."""
    is_member = two_pools(800)
    says_member = rng.random(1600) < np.where(is_member, share_right(1), share_right(-1))
    return says_member + rng.random(1600), is_member


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "draw"), [(0, without_leak), (1, with_leak)], ids=["null", "epsilon 1"])
def test_the_corrected_maximum_is_a_limit_and_the_plain_one_is_none(truth, draw):
    """150 runs at alpha .2: over 45 have probability .0015 where .2 is right; the plain maximum is wrong in > .4."""
    corrected, plain = runs_that_exceed(truth, draw, 0.2, 150)
    assert corrected <= 30
    assert plain >= 52


def test_leaks_are_found():
    """1000 + 1000 rows; a twentieth of the members stand out, at no threshold that was known before."""
    rng, is_member = np.random.default_rng(2), two_pools(1000)
    exposed = is_member & (rng.random(2000) < 0.05)
    assert 0.5 < epsilon_over_thresholds(rng.standard_normal(2000) + 8 * exposed, is_member, 0.05) < 4
    assert epsilon_over_thresholds(rng.standard_normal(2000) + 3.3 * is_member, is_member, 0.05) > 3


# --- canaries ---


@pytest.mark.parametrize(
    ("guesses", "right", "canaries", "delta", "published"),
    [(100, 75, 1000, 1e-4, 0.673), (1510, 1439, 100_000, 1e-5, 2.675)],
)
def test_the_papers_printed_bounds(guesses, right, canaries, delta, published):
    """Steinke, Nasr & Jagielski 2023, appendix D and section 7, at 95 %; the second is printed cut, not rounded."""
    assert 0 <= epsilon_lower(guesses, right, 0.05, delta=delta, num_canaries=canaries) - published + 5e-4 < 1.5e-3


def test_all_right_by_hand():
    """r of r: q = alpha^(1/r) exactly, and epsilon its logit."""
    edge = 0.05 ** (1 / 30)
    assert epsilon_lower(30, 30, 0.05) == pytest.approx(math.log(edge / (1 - edge)), rel=1e-9)
    assert epsilon_lower(1, 1, 0.25) == 0
    assert epsilon_lower(1, 1, 0.75) == pytest.approx(math.log(3), rel=1e-12)


@given(audits(), ALPHAS)
def test_the_bound_solves_its_equation(audit, alpha):
    guesses, right, canaries = audit
    bound = epsilon_lower(guesses, right, alpha)
    assert bound == epsilon_lower(guesses, right, alpha, num_canaries=canaries)
    assert 0 <= bound < math.inf
    tail = binom.sf(right - 1, guesses, share_right(bound))
    assert tail == pytest.approx(alpha, rel=1e-6) if bound > 0 else tail >= alpha


def slow_p_value(guesses, right, canaries, epsilon, delta):
    chance = binom.sf(right - 1, guesses, share_right(epsilon))
    windows = [
        (binom.cdf(right - 1, guesses, share_right(epsilon)) - binom.cdf(right - i - 1, guesses, share_right(epsilon)))
        / i
        for i in range(1, canaries + 1)
    ]
    return min(1.0, chance + 2 * canaries * delta * max(windows))


@pytest.mark.slow
@given(audits(60), st.floats(0, 8), DELTAS)
def test_fast_p_value_is_the_slow_one(audit, epsilon, delta):
    assert p_value(*audit, epsilon, delta) == pytest.approx(slow_p_value(*audit, epsilon, delta), rel=1e-8, abs=1e-12)


@given(audits(), ALPHAS, st.sampled_from([1e-6, 1e-4, 1e-3]))
def test_the_bound_with_delta_is_the_last_refuted_epsilon(audit, alpha, delta):
    guesses, right, canaries = audit
    bound = epsilon_lower(guesses, right, alpha, delta=delta, num_canaries=canaries)
    assert 0 <= bound <= epsilon_lower(guesses, right, alpha)
    assert p_value(*audit, bound + 1e-6, delta) > alpha * (1 - 1e-9)
    assert bound == 0 or p_value(*audit, bound, delta) <= alpha


@pytest.mark.slow
@given(audits(), st.sampled_from([1e-5, 1e-3, 1e-2]), ALPHAS)
def test_p_values_rise_with_epsilon_and_fall_with_right_guesses_where_they_refute(audit, delta, alpha):
    """What makes the end found by bisection a bound; on a grid of epsilons up to the first that is not refuted."""
    guesses, right, canaries = audit
    along = [p_value(*audit, epsilon, delta) for epsilon in np.linspace(0, 6, 61)]
    refuted = [value for index, value in enumerate(along) if max(along[: index + 1]) <= alpha]
    assert refuted == sorted(refuted)
    assert all(value > alpha for value in along[len(refuted) :])
    if refuted and right < guesses:
        assert p_value(guesses, right + 1, canaries, 0.0, delta) <= along[0]


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.2, 0.05])
@pytest.mark.parametrize("guesses", [5, 40, 300])
def test_the_bound_exceeds_the_truth_in_at_most_alpha_of_runs(epsilon, alpha, guesses):
    """Randomised response, the worst case, summed over all numbers of right guesses; at 300 alpha is nearly used."""
    right = np.arange(guesses + 1)
    exceeds = np.array([epsilon_lower(guesses, v, alpha) > epsilon for v in right])
    wrong = binom.pmf(right, guesses, share_right(epsilon)) @ exceeds
    assert wrong <= alpha
    assert guesses < 300 or wrong > alpha / 3


def test_randomised_response_with_coins_abstentions_and_guesses():
    """The whole audit at epsilon 1: 200 canaries, a coin each, 120 guesses; 2000 runs, 90 % bounds."""
    rng = np.random.default_rng(5)
    is_in = rng.random((2000, 200)) < 0.5
    heard = np.where(rng.random(is_in.shape) < share_right(1), is_in, ~is_in)
    right = (heard == is_in)[:, :120].sum(axis=1)
    bounds = np.array([epsilon_lower(120, v, 0.1) for v in range(121)])[right]
    wrong = (bounds > 1).sum()
    assert 100 <= wrong <= 250
    assert bounds.mean() > 0.6


def test_the_bound_tends_to_the_truth():
    for epsilon in (0.3, 1.0, 4.0):
        found = [epsilon_lower(r, round(r * share_right(epsilon)), 0.05) for r in (10**3, 10**4, 10**6, 10**8)]
        assert found == sorted(found) and found[-1] < epsilon
        assert epsilon - found[-1] < 0.002


def test_delta_counts_what_is_given_away():
    """Randomised response at epsilon 1 that gives a canary away with probability .05: a guess is right more often.

    The bound that knows of delta holds; the one that does not, exceeds epsilon in most runs.
    """
    guesses, delta, alpha, right = 400, 0.05, 0.1, np.arange(401)
    chance = binom.pmf(right, guesses, delta + (1 - delta) * share_right(1))
    unaware = chance @ np.array([epsilon_lower(guesses, v, alpha) > 1 for v in right])
    aware = chance @ np.array([epsilon_lower(guesses, v, alpha, delta=delta, num_canaries=guesses) > 1 for v in right])
    assert unaware > 2 * alpha
    assert aware <= alpha


def test_delta_counts_the_canaries_without_a_guess():
    """1000 canaries, each given away with probability .01, and guesses only about ten, those given away first."""
    given_away = np.minimum(np.arange(60), 10)
    chance = binom.pmf(np.arange(60), 1000, 0.01)
    by_right = [sum(chance * binom.pmf(right - given_away, 10 - given_away, share_right(1))) for right in range(11)]
    assert sum(by_right) == pytest.approx(1, abs=1e-9)
    for canaries, holds in ((10, False), (1000, True)):
        bounds = [epsilon_lower(10, right, 0.1, delta=0.01, num_canaries=canaries) for right in range(11)]
        wrong = sum(chance for chance, bound in zip(by_right, bounds, strict=True) if bound > 1)
        assert (wrong <= 0.1) == holds


def test_balanced_canaries_break_it():
    """A mechanism that says nothing. Two coins: "in, out" is right twice in 1/4 of runs; exactly one in: in 1/2."""
    assert epsilon_lower(2, 2, 0.3) > 0
    assert epsilon_lower(2, 1, 0.3) == 0
    assert 1 / 4 <= 0.3 < 1 / 2


# --- limits ---


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
@pytest.mark.parametrize(
    "ask",
    [
        lambda alpha: epsilon_per_sample(Confusion(1, 2, 0, 2), alpha),
        lambda alpha: epsilon_over_thresholds(np.arange(4.0), two_pools(2), alpha),
        lambda alpha: epsilon_lower(4, 4, alpha),
    ],
)
def test_alpha_must_be_an_error_rate(ask, alpha):
    with pytest.raises(UsageError, match="alpha"):
        ask(alpha)


@pytest.mark.parametrize("delta", [-1e-9, 1.0, math.nan])
@pytest.mark.parametrize(
    "ask",
    [
        lambda delta: epsilon_per_sample(Confusion(1, 2, 0, 2), 0.05, delta=delta),
        lambda delta: epsilon_over_thresholds(np.arange(4.0), two_pools(2), 0.05, delta=delta),
        lambda delta: epsilon_lower(4, 4, 0.05, delta=delta, num_canaries=4),
    ],
)
def test_delta_must_be_a_small_probability(ask, delta):
    with pytest.raises(UsageError, match="delta"):
        ask(delta)


def test_delta_needs_the_number_of_canaries():
    with pytest.raises(UsageError, match="num_canaries is missing"):
        epsilon_lower(4, 4, 0.05, delta=1e-5)


@pytest.mark.parametrize("counts", [(0, 0), (4, 5), (4, -1)])
def test_impossible_guesses_are_refused(counts):
    with pytest.raises(AttackError, match="guesses"):
        epsilon_lower(*counts, 0.05)


def test_more_guesses_than_canaries_are_refused():
    with pytest.raises(AttackError, match="5 guesses about 4 canaries"):
        epsilon_lower(5, 5, 0.05, num_canaries=4)


def test_one_threshold_is_a_rule_and_has_its_own_function():
    with pytest.raises(UsageError, match="num_thresholds is 1"):
        epsilon_over_thresholds(np.arange(4.0), two_pools(2), 0.05, num_thresholds=1)


@pytest.mark.parametrize(
    ("scores", "is_member", "message"),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), "NaN"),
        (np.array([1.0, 2.0]), np.array([True, True]), "non-members"),
        (np.array([1.0, 2.0, 3.0]), np.array([True, False]), "shape"),
    ],
)
def test_scores_that_rank_nobody_are_refused(scores, is_member, message):
    with pytest.raises(AttackError, match=message):
        epsilon_over_thresholds(scores, is_member, 0.05)
