"""The bootstrap interval of the AUC: resampled rows instead of a formula, to check the formula against.

Shape letters: N rows, M members, Q non-members, K distinct scores, B draws.
"""

from __future__ import annotations

import numpy as np

from safecompress.errors import UsageError
from safecompress.metrics import special
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats.intervals import check_alpha, chernoff_interval
from safecompress.metrics.stats.metrics import BoolArray, FloatArray, IntArray, Placements, auc, placements

_BLOCK = 50_000
"""Counts held at a time. What fits the processor's cache takes half as long as a million."""


def bootstrap_auc_interval(
    scores: FloatArray, is_member: BoolArray, alpha: float, *, generator: np.random.Generator, num_draws: int = 1000
) -> Interval:
    """The interval of the AUC from ``num_draws`` resamples of either pool by itself (BCa, Efron 1987).

    Percentiles of the resampled AUCs, moved for the bias of the median and for an error that changes with the value.
    At AUC .99 with 150 + 150 rows the plain percentiles cover 90 % where they promise 95 %, these 94 %; elsewhere the
    two agree. Ends are order statistics, rounded outwards. An end that the draws do not reach, and both where no draw
    differs (perfect separation, one constant score), are those of the distribution-free ``chernoff_interval``, and no
    end goes further out than that. A verdict rests on ``auc_interval``, which leaves nothing to chance.

    Raises AttackError as ``auc`` does; UsageError on alpha outside (0, 1) and on fewer than 2 / alpha draws.
    """
    check_alpha(alpha)
    if num_draws * alpha < 2:
        raise UsageError(
            f"num_draws is {num_draws}: no draw is left outside an interval at alpha {alpha:g}. Give at least "
            f"{int(np.ceil(2 / alpha))}, better ten times as many."
        )
    placed, value = placements(scores, is_member), auc(scores, is_member)
    bound = chernoff_interval(value, min(placed.members.size, placed.non_members.size), alpha)
    draws_B = np.sort(_resampled_aucs(np.asarray(scores), np.asarray(is_member), num_draws, generator))
    if draws_B[0] == draws_B[-1]:
        return bound
    share_low, share_high = _shares(draws_B, value, _acceleration(placed, value), alpha)
    low, high = int(np.floor(share_low * (num_draws + 1))), int(np.ceil(share_high * (num_draws + 1)))
    return Interval(
        max(bound.low, float(draws_B[low - 1])) if low >= 1 else bound.low,
        min(bound.high, float(draws_B[high - 1])) if high <= num_draws else bound.high,
        1 - alpha,
    )


def _resampled_aucs(
    scores_N: FloatArray, is_member_N: BoolArray, num_draws: int, generator: np.random.Generator
) -> FloatArray:
    """The AUC of each resample (B,). A resample is how often each distinct score was drawn: no sorting, ties exact."""
    values_K, places_N = np.unique(scores_N, return_inverse=True)
    places_M, places_Q = places_N[is_member_N], places_N[~is_member_N]
    step, aucs = max(1, _BLOCK // values_K.size), []
    for start in range(0, num_draws, step):
        size = min(step, num_draws - start)
        members_BK, non_members_BK = (_drawn(places, values_K.size, size, generator) for places in (places_M, places_Q))
        twice_below_BK = 2 * np.cumsum(non_members_BK, axis=1) - non_members_BK
        aucs.append(np.einsum("bk,bk->b", members_BK, twice_below_BK))
    return np.concatenate(aucs) / (2 * places_M.size * places_Q.size)


def _drawn(places: IntArray, num_values: int, size: int, generator: np.random.Generator) -> IntArray:
    """How often each distinct score comes up in each of ``size`` resamples of one pool (size, K)."""
    rows = generator.integers(places.size, size=(size, places.size))
    cells = places[rows] + num_values * np.arange(size)[:, None]
    return np.bincount(cells.ravel(), minlength=size * num_values).reshape(size, num_values)


def _acceleration(placed: Placements, value: float) -> float:
    """How fast the error changes with the value: skewness of the rows' influence on the AUC, / 6 (Efron 1987, eq. 7.3).

    A row's influence is its placement less the AUC over its pool's size: with several samples, all rows in one sum.
    """
    influence = np.concatenate([(pool - value) / pool.size for pool in (placed.members, placed.non_members)])
    return float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))


def _shares(draws_B: FloatArray, value: float, acceleration: float, alpha: float) -> FloatArray:
    """The shares of the draws that BCa leaves under its two ends (2,); 0 or 1 where its formula has its pole."""
    below = np.count_nonzero(draws_B < value) + np.count_nonzero(draws_B <= value)
    shift = float(special.ndtri(np.clip(below, 1, 2 * draws_B.size - 1) / (2 * draws_B.size)))
    wanted = shift + special.ndtri([alpha / 2, 1 - alpha / 2])
    slope = 1 - acceleration * wanted
    moved: FloatArray = np.where(slope > 0, special.ndtr(shift + wanted / np.maximum(slope, 1e-12)), wanted > 0)
    return moved
