"""Lower limits on epsilon: of one rule, of all thresholds at once, and of a mechanism audited with canaries.

A rule that calls rows members with rates TPR and FPR shows epsilon >= ln((TPR - delta) / FPR), and by the calls it does
not make epsilon >= ln((TNR - delta) / FNR) (Kairouz et al. 2015; Nasr et al. 2021). ``alpha`` is one-sided here: the
chance that a limit exceeds the truth. All limits are finite and at least 0, where 0 says that nothing was shown.

Shape letters: M members, Q non-members, K distinct scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from safecompress.errors import AttackError, UsageError
from safecompress.metrics import special
from safecompress.metrics.stats.intervals import check_alpha, clopper_pearson
from safecompress.metrics.stats.metrics import BoolArray, Confusion, FloatArray, IntArray, roc_curve


def epsilon_per_sample(confusion: Confusion, alpha: float, *, delta: float = 0.0) -> float:
    """What one rule fixed in advance shows of epsilon: max(0, ln((TPR - delta) / FPR), ln((TNR - delta) / FNR)).

    TPR from below and FPR from above are the ends of Clopper-Pearson intervals at 1 - alpha, so alpha / 2 each. TNR
    from below and FNR from above are the same two limits read from the other side: one statement about two rates serves
    both directions, alpha is not shared again, and on equal score distributions the result exceeds 0 in at most alpha
    of the runs. 500 of 500 members against 0 of 500 non-members at alpha .01: 4.54.

    It describes how far this model tells rows apart, and is no bound on the epsilon of differential privacy: the rows
    of one model are not independent trials of the mechanism (``epsilon_lower`` is for that). The rule must come from
    other rows: the largest value over thresholds tried on these rows is no limit (``epsilon_over_thresholds``). A rule
    that is wrong more often than right counts for nothing: orient it first. Raises UsageError on alpha outside (0, 1)
    and on delta outside [0, 1).
    """
    _check_delta(delta)
    tpr = clopper_pearson(confusion.true_positives, confusion.num_members, alpha)
    fpr = clopper_pearson(confusion.false_positives, confusion.num_non_members, alpha)
    return float(_shown(np.array(tpr.low), np.array(fpr.high), delta))


def epsilon_over_thresholds(
    scores: FloatArray, is_member: BoolArray, alpha: float, *, delta: float = 0.0, num_thresholds: int = 64
) -> float:
    """The largest ``epsilon_per_sample`` over all thresholds on the scores (N,), corrected for having looked at all.

    Bonferroni: each pool's rate is limited at up to ``num_thresholds`` of its counts, alpha / 2 shared among them; a
    count in between takes the limit of the next one that is weaker. The limits then hold at every threshold at once,
    under any ties, and none has to be fixed in advance. The counts lie close to each other at both ends, where
    epsilon is decided. Of 8, 16, 32, 64 and all counts (``num_thresholds`` at least the size of the pools), 64 was
    within 0.3 of the best on eight kinds of leak and 300 to 10,000 rows in each pool; 8 fell short by up to 1.8, all
    by up to 0.8.

    Without the correction the maximum is no limit: at alpha .05 it exceeds 0 in 12 % of runs on equal distributions
    with 5,000 + 5,000 rows, and in more with more rows. Raises AttackError as ``auc`` does; UsageError on alpha, delta,
    or fewer than 2 thresholds.
    """
    check_alpha(alpha)
    _check_delta(delta)
    if num_thresholds < 2:
        raise UsageError(f"num_thresholds is {num_thresholds}. Give at least 2, the ends; 64 serves all sizes.")
    curve = roc_curve(scores, is_member)
    num_members = int(np.count_nonzero(is_member))
    tpr_low_K = _low_at(curve.tpr, num_members, num_thresholds, alpha / 2)
    tnr_low_K = _low_at(1 - curve.fpr, np.size(is_member) - num_members, num_thresholds, alpha / 2)
    return float(_shown(tpr_low_K, 1 - tnr_low_K, delta).max())


def _shown(tpr_low: FloatArray, fpr_high: FloatArray, delta: float) -> FloatArray:
    """max(0, ln((TPR - delta) / FPR), ln((TNR - delta) / FNR)) at the given limits; FPR and FNR are never 0 there."""
    caught = np.log(np.maximum(tpr_low - delta, fpr_high) / fpr_high)
    spared = np.log(np.maximum(1 - fpr_high - delta, 1 - tpr_low) / (1 - tpr_low))
    return np.maximum(caught, spared)


def _low_at(rates_K: FloatArray, trials: int, num_limits: int, tail: float) -> FloatArray:
    """Lower limits (K,) of the shares that ``rates_K`` of ``trials`` estimate, all of them right but for ``tail``.

    Why a threshold chosen by its count may be used: with G successes at or above score t, the limit of G fails there
    only if the rate at the G-th largest score is under it, which is the Clopper-Pearson event of a fixed score.
    """
    counts_G = _spread_counts(trials, num_limits)
    low_G = special.betaincinv(counts_G, trials - counts_G + 1, tail / counts_G.size)
    weaker_K = np.searchsorted(counts_G, np.rint(rates_K * trials), side="right")
    return np.concatenate(([0.0], low_G))[weaker_K]


def _spread_counts(trials: int, number: int) -> IntArray:
    """At most ``number`` of the counts 1..trials, rising: steps that double (and less) from both ends."""
    if number >= trials:
        return np.arange(1, trials + 1)
    steps = np.rint(np.geomspace(1, trials / 2, number // 2)).astype(np.int64)
    return np.unique(np.concatenate((steps, trials + 1 - steps)))


def epsilon_lower(
    num_guesses: int, num_right: int, alpha: float, *, delta: float = 0.0, num_canaries: int | None = None
) -> float:
    """A lower bound on the epsilon of a mechanism, from one run with canaries (Steinke, Nasr & Jagielski 2023).

    Each of ``num_canaries`` is put into the training rows by its own fair coin. An auditor sees the model, guesses
    "in" or "out" for ``num_guesses`` of them, a number set in advance, and abstains on the rest. The bound exceeds the
    epsilon of an (epsilon, delta)-private mechanism with probability at most alpha, whatever the guesses are made from.
    Never balance the canaries: of two with exactly one in, guesses of both are right or wrong together, yet count
    twice. The members and non-members of a split of fixed sizes are balanced, hence no canaries.

    It is the largest epsilon at which ``num_right`` or more have a probability (``p_value``) of at most alpha: with
    delta 0, the logit of the Clopper-Pearson limit of the share that is right. Delta > 0 needs ``num_canaries``, the
    abstentions included. 75 of 100 right, 1000 canaries, delta 1e-4, alpha .05: 0.673 (the paper, appendix D).

    Raises AttackError on counts that cannot be, UsageError on alpha, delta, or delta > 0 without ``num_canaries``.
    """
    check_alpha(alpha)
    _check_delta(delta)
    _check_counts(num_guesses, num_right, num_canaries)
    share = float(special.betaincinv(num_right, num_guesses - num_right + 1, alpha)) if num_right else 0.0
    bound = max(0.0, float(special.logit(share)))
    if delta == 0:
        return bound
    if num_canaries is None:
        raise UsageError(
            f"delta is {delta} and num_canaries is missing. Give the number of canaries that coins were thrown for, "
            "those without a guess included: a mechanism may give away any of them with probability delta."
        )
    return _end_of_refuted(bound, alpha, lambda epsilon: p_value(num_guesses, num_right, num_canaries, epsilon, delta))


def p_value(num_guesses: int, num_right: int, num_canaries: int, epsilon: float, delta: float) -> float:
    """The most probable that ``num_right`` or more right guesses are under an (epsilon, delta)-private mechanism.

    P[W >= v] + 2 m delta max over i of P[v > W >= v - i] / i, where W is Binomial(r, e^epsilon / (1 + e^epsilon)): v
    right of r guesses, m canaries (Steinke, Nasr & Jagielski 2023, theorem 5.2 and the program of appendix D). O(r).
    """
    right = float(special.expit(epsilon))
    chance = float(special.bdtrc(num_right - 1, num_guesses, right)) if num_right else 1.0
    if delta == 0 or num_right == 0:
        return chance
    below = np.arange(num_right - 1, -1, -1)  # v - 1, v - 2, ...: the windows that end under v
    choices = special.gammaln(num_guesses + 1) - special.gammaln(below + 1) - special.gammaln(num_guesses - below + 1)
    wrong = -np.logaddexp(0.0, epsilon)  # log of 1 - right, where that would round to 0
    masses = np.exp(choices + below * (wrong + epsilon) + (num_guesses - below) * wrong)
    densest = float((np.cumsum(masses) / np.arange(1, num_right + 1)).max())
    return min(1.0, chance + 2 * num_canaries * delta * densest)


def _end_of_refuted(bound: float, alpha: float, p_value_at: Callable[[float], float]) -> float:
    """The end of the epsilons in [0, bound] that are refuted at alpha, by bisection, rounded down; 0 if there are none.

    ``p_value_at`` rises up to there: guesses as good as these grow more probable.
    """
    refuted, accepted = 0.0, bound
    if bound == 0 or p_value_at(refuted) > alpha:
        return 0.0
    for _ in range(50):
        middle = (refuted + accepted) / 2
        if p_value_at(middle) <= alpha:
            refuted = middle
        else:
            accepted = middle
    return refuted


def _check_delta(delta: float) -> None:
    """Raise UsageError unless ``delta`` is in [0, 1)."""
    if not 0 <= delta < 1:
        raise UsageError(
            f"delta is {delta}. Give a probability of at least 0 and under 1, far under 1 / rows: 0 or 1e-5."
        )


def _check_counts(num_guesses: int, num_right: int, num_canaries: int | None) -> None:
    """Raise AttackError unless 0 <= right <= guesses <= canaries, with one guess at least."""
    if not (num_guesses >= 1 and 0 <= num_right <= num_guesses):
        raise AttackError(
            f"{num_right} right of {num_guesses} guesses: needs 0 <= right <= guesses, and one guess at least."
        )
    if num_canaries is not None and num_canaries < num_guesses:
        raise AttackError(
            f"{num_guesses} guesses about {num_canaries} canaries: at most one guess each. Count every canary that a "
            "coin was thrown for."
        )
