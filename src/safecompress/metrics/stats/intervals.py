"""Confidence intervals for rates, AUC, TPR at a low FPR, and paired differences. ``alpha`` is two-sided everywhere.

Rates and TPR at FPR are exact: coverage is at least 1 - alpha whatever the scores are. AUC and paired differences are
large-sample, guarded against the small-sample failures that ``benchmarks/interval_coverage.py`` shows for the plain
formulas. All hold over rows; for scores that hang on a draw of shadow models, ``draws`` has what is added.

Shape letters: N rows, M members, Q non-members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import AttackError, UsageError
from safecompress.metrics import special
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats.draws import NO_NOISE, DrawNoise
from safecompress.metrics.stats.metrics import (
    BoolArray,
    Confusion,
    FloatArray,
    check_fpr,
    checked,
    placements,
    twice_midranks,
)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A difference of two figures measured on the same rows, its interval, and the p-value of "there is none"."""

    value: float
    interval: Interval
    p_value: float


def check_alpha(alpha: float) -> None:
    """Raise UsageError unless ``alpha`` is an error rate in (0, 1)."""
    if not 0 < alpha < 1:
        raise UsageError(
            f"alpha is {alpha}. Give the share of intervals that may miss, between 0 and 1: 0.05 is usual."
        )


def clopper_pearson(successes: int, trials: int, alpha: float) -> Interval:
    """The exact interval of a rate (Clopper & Pearson 1934): 0 of n gives low = 0, n of n gives high = 1.

    Raises AttackError unless 0 <= successes <= trials and trials >= 1; UsageError when alpha is outside (0, 1).
    """
    check_alpha(alpha)
    if not (trials >= 1 and 0 <= successes <= trials):
        raise AttackError(f"{successes} successes in {trials} trials: needs 0 <= successes <= trials, and one trial.")
    low, high = _rate_low(successes, trials, alpha / 2), 1 - _rate_low(trials - successes, trials, alpha / 2)
    return Interval(low, high, 1 - alpha)


def _rate_low(successes: int, trials: int, tail: float) -> float:
    """The rate at which ``successes`` or more have probability ``tail``: the one-sided lower limit at 1 - tail."""
    return float(special.betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0


def balanced_accuracy_interval(confusion: Confusion, alpha: float) -> Interval:
    """Conservative interval of the balanced accuracy: Clopper-Pearson on TPR and on TNR, alpha / 2 each, averaged.

    The rule must not have been chosen on the rows that it is counted on.
    """
    check_alpha(alpha)
    tpr = clopper_pearson(confusion.true_positives, confusion.num_members, alpha / 2)
    fpr = clopper_pearson(confusion.false_positives, confusion.num_non_members, alpha / 2)
    return Interval((1 + tpr.low - fpr.high) / 2, (1 + tpr.high - fpr.low) / 2, 1 - alpha)


def advantage_interval(confusion: Confusion, alpha: float) -> Interval:
    """Conservative interval of the advantage TPR - FPR, in [-1, 1]: twice the balanced accuracy, less one."""
    accuracy = balanced_accuracy_interval(confusion, alpha)
    return Interval(2 * accuracy.low - 1, 2 * accuracy.high - 1, 1 - alpha)


def auc_interval(scores: FloatArray, is_member: BoolArray, alpha: float, noise: DrawNoise = NO_NOISE) -> Interval:
    """The interval of the AUC, never of zero width: DeLong et al. (1988) on the logit scale, by ranks (Sun & Xu 2014).

    Each pool's variance counts two more rows, one at placement 0 and one at 1, the idea of Agresti & Caffo (2000). Near
    AUC 0.5 this costs under 1 % of width; near 1, or where few rows differ, it mends what the plain formula misses.
    Neither end goes further out than the distribution-free ``chernoff_interval``, which stands alone where the scores
    show no variance: perfect separation, one constant score. ``noise`` of draws widens all of them.
    Raises AttackError as ``auc`` does.
    """
    check_alpha(alpha)
    placed = placements(scores, is_member)
    value, pools = float(placed.members.mean()), (placed.members, placed.non_members)
    bound = chernoff_interval(value, min(pool.size for pool in pools), alpha)
    bound = noise.widen(value, bound, 0.0, 1.0)
    if not any(_varies(pool) for pool in pools):
        return bound
    error = math.sqrt(sum(_variance_of_mean(pool, 0.0, 1.0) for pool in pools))
    reach = noise.widened(_z(alpha) * error, alpha) / (value * (1 - value))
    low, high = float(special.expit(special.logit(value) - reach)), float(special.expit(special.logit(value) + reach))
    return Interval(max(low, bound.low), min(high, bound.high), 1 - alpha)


def _z(alpha: float) -> float:
    """The normal quantile that leaves alpha / 2 above it."""
    return -float(special.ndtri(alpha / 2))


def _varies(values_N: FloatArray) -> bool:
    """Whether the spread is more than rounding: placements are counts over at most 2 N, far coarser than 1e-12."""
    return float(values_N.max() - values_N.min()) > 1e-12


def _variance_of_mean(values_N: FloatArray, *extra: float) -> float:
    """The estimated variance of the mean of ``values_N``, each ``extra`` value counted in as one more row."""
    widened = np.concatenate((values_N, extra))
    return float(widened.var(ddof=1)) / widened.size


def chernoff_interval(mean: float, num_independent: int, alpha: float) -> Interval:
    """Distribution-free interval for a mean of values in [0, 1] (Hoeffding 1963, theorem 1, inverted on both sides).

    By section 5 of that paper it holds for a two-sample U-statistic such as the AUC, ties counted half, if
    ``num_independent`` is the size of the smaller pool. At mean 0 or 1 it is Clopper-Pearson's interval.
    """
    low = 1 - _chernoff_high(1 - mean, num_independent, alpha / 2)
    return Interval(low, _chernoff_high(mean, num_independent, alpha / 2), 1 - alpha)


def _chernoff_high(mean: float, num_independent: int, tail: float) -> float:
    """The largest expectation that a mean this low does not refute at ``tail``, by bisection, rounded outwards."""
    inside, outside = mean, 1.0
    for _ in range(60):
        middle = (inside + outside) / 2
        if num_independent * _divergence(mean, middle) <= -math.log(tail):
            inside = middle
        else:
            outside = middle
    return outside


def _divergence(mean: float, expectation: float) -> float:
    """Kullback-Leibler divergence between two coins, in nats."""
    return float(special.rel_entr(mean, expectation) + special.rel_entr(1 - mean, 1 - expectation))


def auc_difference(
    scores_a: FloatArray, scores_b: FloatArray, is_member: BoolArray, alpha: float, noise: DrawNoise = NO_NOISE
) -> PairedDifference:
    """AUC(a) - AUC(b) on the same rows, by paired DeLong (DeLong et al. 1988; Sun & Xu 2014), limits in [-1, 1].

    Each pool's variance counts two more rows, at plus and minus the largest difference seen, so that a pair which
    differs in a handful of rows is not taken for certain. Without any variance: the same scores are no difference,
    [0, 0] with p 1; scores of the same order get a bound on how often they may disagree; all else gets Hoeffding's.
    ``noise`` of draws is added, to the interval and to the p-value. Raises AttackError as ``auc`` does.
    """
    check_alpha(alpha)
    placed_a, placed_b = placements(scores_a, is_member), placements(scores_b, is_member)
    pools = (placed_a.members - placed_b.members, placed_a.non_members - placed_b.non_members)
    value = float(pools[0].mean())
    if not any(_varies(pool) for pool in pools):
        return _difference_without_variance(value, scores_a, scores_b, min(pool.size for pool in pools), alpha)
    largest = max(float(np.abs(pool).max()) for pool in pools)
    error = math.sqrt(sum(_variance_of_mean(pool, -largest, largest) for pool in pools))
    reach = noise.widened(_z(alpha) * error, alpha)
    limits = Interval(max(-1.0, value - reach), min(1.0, value + reach), 1 - alpha)
    return PairedDifference(
        value, limits, 2 * float(special.ndtr(-abs(value) / math.hypot(error, math.sqrt(noise.variance))))
    )


def _difference_without_variance(
    value: float, scores_a: FloatArray, scores_b: FloatArray, num_independent: int, alpha: float
) -> PairedDifference:
    """The paired difference where every row says the same (see ``auc_difference``)."""
    if np.array_equal(scores_a, scores_b):
        return PairedDifference(0.0, Interval(0.0, 0.0, 1 - alpha), 1.0)
    if np.array_equal(twice_midranks(scores_a), twice_midranks(scores_b)):
        disagreement = _chernoff_high(0.0, num_independent, alpha)
        return PairedDifference(0.0, Interval(-disagreement, disagreement, 1 - alpha), 1.0)
    halved = chernoff_interval((1 + value) / 2, num_independent, alpha)
    p_value = min(1.0, 2 * math.exp(-num_independent * _divergence((1 + value) / 2, 0.5)))
    return PairedDifference(value, Interval(2 * halved.low - 1, 2 * halved.high - 1, 1 - alpha), p_value)


def tpr_at_fpr_interval(scores: FloatArray, is_member: BoolArray, fpr: float, alpha: float) -> Interval:
    """The exact interval of the largest TPR whose FPR in the population is at most ``fpr``; holds under any ties.

    Non-members bound the threshold from both sides (order statistics), then Clopper-Pearson bounds the TPR at the
    strict end (low) and at the loose end (high): four statements of alpha / 4 each. With too few non-members for a
    strict end (``min_non_members(fpr, alpha, sides=4)``) low is 0. Plain Clopper-Pearson at the empirical threshold
    takes that threshold for the true one and covers about half of what it promises. Raises as ``tpr_at_fpr`` does.
    """
    scores_N, is_member_N = checked(scores, is_member)
    members_M, non_members_Q = scores_N[is_member_N], np.sort(scores_N[~is_member_N])
    strict, loose = threshold_ranks(non_members_Q.size, fpr, alpha)
    falling = np.concatenate(([np.inf], non_members_Q[::-1], [-np.inf]))
    above = [int(np.count_nonzero(members_M > falling[rank])) for rank in (strict, loose)]
    low = clopper_pearson(above[0], members_M.size, alpha / 2).low
    return Interval(low, clopper_pearson(above[1], members_M.size, alpha / 2).high, 1 - alpha)


def threshold_ranks(num_non_members: int, fpr: float, alpha: float) -> tuple[int, int]:
    """The ranks (strict, loose), from the top, of the non-member scores between which the threshold for ``fpr`` lies.

    The rule "score > the strict-th largest non-member" has FPR <= ``fpr``, and to call rows at the loose-th largest
    members as well has FPR > ``fpr``, each but for a chance of alpha / 4 (David & Nagaraja 2003, section 7.1; with ties
    both are conservative). Strict 0: no rule is certified. Loose Q + 1: none is refuted.
    """
    check_alpha(alpha)
    check_fpr(fpr)
    num_above = np.arange(num_non_members + 1)
    strict = np.count_nonzero(special.bdtr(num_above[:-1], num_non_members, fpr) <= alpha / 4)
    loose = 1 + np.count_nonzero(special.bdtrc(num_above, num_non_members, fpr) > alpha / 4)
    return int(strict), int(loose)


def accuracy_drop_interval(
    correct_before: NDArray[np.bool_], correct_after: NDArray[np.bool_], alpha: float
) -> PairedDifference:
    """Accuracy before less accuracy after, on the same rows (N,): > 0 is a loss. Limits within [-1, 1].

    The adjusted Wald interval of Bonett & Price (2012), which adds one row to each kind of disagreement. The p-value is
    McNemar's exact one (binomial); close to alpha the two may differ. Raises AttackError on arrays that do not match.
    """
    check_alpha(alpha)
    before_N, after_N = np.asarray(correct_before), np.asarray(correct_after)
    if before_N.shape != after_N.shape or before_N.ndim != 1 or before_N.size == 0:
        raise AttackError(
            f"Accuracy before has shape {before_N.shape}, after {after_N.shape}. Both need the same rows, shape (N,)."
        )
    if before_N.dtype != np.bool_ or after_N.dtype != np.bool_:
        raise AttackError(f"Got {before_N.dtype} and {after_N.dtype}, not bool. Give predicted == label for each row.")
    num_lost, num_won = int(np.count_nonzero(before_N & ~after_N)), int(np.count_nonzero(after_N & ~before_N))
    value, num_rows = (num_lost - num_won) / before_N.size, before_N.size + 2
    centre, disagreement = (num_lost - num_won) / num_rows, (num_lost + num_won + 2) / num_rows
    reach = _z(alpha) * math.sqrt((disagreement - centre**2) / num_rows)
    limits = Interval(max(-1.0, min(value, centre - reach)), min(1.0, max(value, centre + reach)), 1 - alpha)
    return PairedDifference(
        value, limits, min(1.0, 2 * float(special.bdtr(min(num_lost, num_won), num_lost + num_won, 0.5)))
    )


def difference_of_intervals(after: Interval, before: Interval) -> Interval:
    """Where after - before lies if both intervals hold: right for any dependence between the two.

    Both miss at most (1 - after.confidence) + (1 - before.confidence) of the time, and that is what it claims.
    """
    confidence = max(0.0, after.confidence + before.confidence - 1)
    return Interval(after.low - before.high, after.high - before.low, confidence)
