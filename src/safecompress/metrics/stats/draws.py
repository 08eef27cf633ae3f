"""How far a figure would move with another draw of shadow models, from what either half of the shadows says.

An interval over rows, given the shadows, already holds what single rows happen to get from a draw. What it lacks is
what a draw does to all rows alike: the main effect of shadows. Where nothing leaks there is none, although figures of
different draws may scatter as widely as those of different rows.

Shape letters: S ways to split the shadows in two, H halves, N rows, M members, Q non-members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.special import ndtri, stdtrit

from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats.metrics import BoolArray, FloatArray, placements, tpr_at_fpr


@dataclass(frozen=True, slots=True)
class DrawNoise:
    """The variance of a figure over draws of shadows beyond what its interval over rows holds.

    ``df`` are the degrees of freedom that it was estimated with. The default is that of a figure without shadows.
    """

    variance: float = 0.0
    df: int = 1

    def widened(self, reach: float, alpha: float) -> float:
        """``reach``, half the width over rows, with the noise on top: variances add (Satterthwaite 1946)."""
        if not self.variance:
            return reach
        total = (reach / float(ndtri(alpha / 2))) ** 2 + self.variance
        df = self.df * (total / self.variance) ** 2
        return -float(stdtrit(df, alpha / 2)) * math.sqrt(total)

    def widen(self, value: float, interval: Interval, low: float, high: float) -> Interval:
        """``interval`` of the figure ``value``, either side widened, within the range of the figure."""
        alpha = 1 - interval.confidence
        if not self.variance:
            return interval
        down, up = (self.widened(reach, alpha) for reach in (value - interval.low, interval.high - value))
        return Interval(max(low, value - down), min(high, value + up), interval.confidence)


NO_NOISE = DrawNoise()


def draw_noise(gap_S: FloatArray, *pools: FloatArray) -> DrawNoise:
    """The main effect of draws on a figure that differs by 2 x ``gap_S`` (S,) between the halves of each split.

    Half of the difference between two halves scatters as the figure of all shadows does, if its variance falls with
    their number. From each square goes what it owes to the rows at hand: ``pools`` are the halved differences of what
    each row stands for, (S, M) and (S, Q), and the variance of their means is that of DeLong's test of two halves.
    Splits are taken to be independent, as those of `split_halves` are.
    """
    squares_S = np.square(gap_S)
    for pool in pools:
        if pool.shape[1] > 1:
            squares_S = squares_S - pool.var(axis=1, ddof=1) / pool.shape[1]
    return DrawNoise(max(0.0, float(squares_S.mean())), len(gap_S))


def split_halves(num_shadows: int, most_groups: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Ways to split shadows in two, orthogonal to one another: the numbers of either half. None for under 8 shadows.

    Shadows 2j and 2j + 1 stay together: where every shadow trains on half of the rows they complement one another, so
    that each row keeps as many shadows with it as without. Pairs form 4, 8 ... groups, of which the rows of a Hadamard
    matrix take one half each (balanced half-samples, McCarthy 1969).
    """
    num_pairs = num_shadows // 2
    if num_pairs < 4:
        return []
    num_groups = 2 ** int(math.log2(min(num_pairs, most_groups)))
    group_K = np.arange(num_shadows) // 2 * num_groups // ((num_shadows + 1) // 2)
    signs = hadamard(num_groups)[1:]
    return [(np.flatnonzero(sign[group_K] > 0), np.flatnonzero(sign[group_K] < 0)) for sign in signs]


def auc_noise(halves_SHN: FloatArray, is_member: BoolArray) -> DrawNoise:
    """Of the AUC. Raises AttackError as ``auc`` does."""
    gap_SM, gap_SQ = _placement_gaps(halves_SHN, is_member)
    return draw_noise(gap_SM.mean(axis=1), gap_SM, gap_SQ)


def auc_difference_noise(halves_SHN: FloatArray, others_SHN: FloatArray, is_member: BoolArray) -> DrawNoise:
    """Of AUC(scores) - AUC(others), whose shadows were split alike. Raises AttackError as ``auc`` does."""
    ours, theirs = _placement_gaps(halves_SHN, is_member), _placement_gaps(others_SHN, is_member)
    gap_SM, gap_SQ = (mine - other for mine, other in zip(ours, theirs, strict=True))
    return draw_noise(gap_SM.mean(axis=1), gap_SM, gap_SQ)


def advantage_noise(halves_SHN: FloatArray, is_member: BoolArray, threshold: float) -> DrawNoise:
    """Of TPR - FPR when rows with scores at or above ``threshold`` are called members."""
    called_SHN = (halves_SHN >= threshold).astype(np.float64)
    gap_SN = (called_SHN[:, 0] - called_SHN[:, 1]) / 2
    gap_SM, gap_SQ = gap_SN[:, is_member], gap_SN[:, ~is_member]
    return draw_noise(gap_SM.mean(axis=1) - gap_SQ.mean(axis=1), gap_SM, gap_SQ)


def tpr_noise(halves_SHN: FloatArray, is_member: BoolArray, fpr: float) -> DrawNoise:
    """Of the TPR at ``fpr``, each half having a threshold of its own. Raises as ``tpr_at_fpr`` does.

    What thresholds owe to the non-members at hand is not taken off, so this is rather too large.
    """
    called_SHM = np.array([[_called(scores_N, is_member, fpr) for scores_N in halves] for halves in halves_SHN])
    gap_SM = (called_SHM[:, 0] - called_SHM[:, 1]) / 2
    return draw_noise(gap_SM.mean(axis=1), gap_SM)


def _called(scores_N: FloatArray, is_member: BoolArray, fpr: float) -> FloatArray:
    """1 for the members (M,) above the threshold for ``fpr``, 0 for the others."""
    members_M = scores_N[is_member]
    num_called = round(tpr_at_fpr(scores_N, is_member, fpr) * members_M.size)
    called_M = np.zeros(members_M.size)
    called_M[np.argsort(-members_M, kind="stable")[:num_called]] = 1
    return called_M


def _placement_gaps(halves_SHN: FloatArray, is_member: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Halved differences of placements between the halves, of members (S, M) and of non-members (S, Q)."""
    placed = [[placements(scores_N, is_member) for scores_N in halves] for halves in halves_SHN]
    return (
        np.stack([(first.members - second.members) / 2 for first, second in placed]),
        np.stack([(first.non_members - second.non_members) / 2 for first, second in placed]),
    )
