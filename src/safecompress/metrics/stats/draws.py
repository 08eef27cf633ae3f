"""How far a figure would move with another draw of shadow models, from what either half of the shadows says.

An interval over rows, given the shadows, already holds what single rows happen to get from a draw. What it lacks is
what a draw does to all rows alike: the main effect of shadows. Where nothing leaks there is none, although figures of
different draws may scatter as widely as those of different rows.

Shape letters: S ways to split the shadows in two, H halves, N rows, M members, Q non-members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safecompress.metrics import special
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
        total = (reach / float(special.ndtri(alpha / 2))) ** 2 + self.variance
        df = self.df * (total / self.variance) ** 2
        return -float(special.stdtrit(df, alpha / 2)) * math.sqrt(total)

    def widen(self, value: float, interval: Interval, low: float, high: float) -> Interval:
        """``interval`` of the figure ``value``, either side widened, within the range of the figure."""
        alpha = 1 - interval.confidence
        if not self.variance:
            return interval
        down, up = (self.widened(reach, alpha) for reach in (value - interval.low, interval.high - value))
        return Interval(max(low, value - down), min(high, value + up), interval.confidence)


NO_NOISE = DrawNoise()


@dataclass(frozen=True, slots=True, eq=False)
class HalfGap:
    """Half of the difference between the halves of one split: of the figure, and of what each row stands for in it.

    ``pools`` are members (M,) and non-members (Q,), as far as the figure's chance comes from either.
    """

    value: float
    pools: tuple[FloatArray, ...]


def draw_noise(gaps: Sequence[HalfGap]) -> DrawNoise:
    """The main effect of draws on a figure, from its gap in every split.

    Half of the difference between two halves scatters as the figure of all shadows does, if its variance falls with
    their number. From each square goes what it owes to the rows at hand: the variance of the means of its pools, which
    is that of DeLong's test of one half against the other. Splits are taken to be independent, as those of
    `split_halves` are.
    """
    main = [gap.value**2 - sum(pool.var(ddof=1) / pool.size for pool in gap.pools if pool.size > 1) for gap in gaps]
    return DrawNoise(max(0.0, sum(main) / len(main)), len(main)) if main else NO_NOISE


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
    from scipy.linalg import hadamard  # a third of a second, which no reader of a report waits for

    signs = hadamard(num_groups)[1:]
    return [(np.flatnonzero(sign[group_K] > 0), np.flatnonzero(sign[group_K] < 0)) for sign in signs]


def auc_noise(halves_SHN: FloatArray, is_member: BoolArray) -> DrawNoise:
    """Of the AUC. Rows that are NaN in a split are left out of it. Raises AttackError as ``auc`` does."""
    return draw_noise([_auc_gap(*split) for split in _splits(halves_SHN, is_member)])


def auc_difference_noise(halves_SHN: FloatArray, others_SHN: FloatArray, is_member: BoolArray) -> DrawNoise:
    """Of AUC(scores) - AUC(others), whose shadows were split alike. Raises AttackError as ``auc`` does."""
    both = np.concatenate([halves_SHN, others_SHN], axis=1)
    gaps = []
    for scores_HN, members in _splits(both, is_member):
        ours, theirs = _auc_gap(scores_HN[:2], members), _auc_gap(scores_HN[2:], members)
        pools = tuple(mine - other for mine, other in zip(ours.pools, theirs.pools, strict=True))
        gaps.append(HalfGap(ours.value - theirs.value, pools))
    return draw_noise(gaps)


def advantage_noise(halves_SHN: FloatArray, is_member: BoolArray, threshold: float) -> DrawNoise:
    """Of TPR - FPR when rows with scores at or above ``threshold`` are called members."""
    gaps = []
    for (first_N, second_N), members in _splits(halves_SHN, is_member):
        gap_N = ((first_N >= threshold).astype(np.float64) - (second_N >= threshold)) / 2
        pools = gap_N[members], gap_N[~members]
        gaps.append(HalfGap(float(pools[0].mean() - pools[1].mean()), pools))
    return draw_noise(gaps)


def tpr_noise(halves_SHN: FloatArray, is_member: BoolArray, fpr: float) -> DrawNoise:
    """Of the TPR at ``fpr``, each half having a threshold of its own. Raises as ``tpr_at_fpr`` does.

    What thresholds owe to the non-members at hand is not taken off, so this is rather too large.
    """
    gaps = []
    for scores_HN, members in _splits(halves_SHN, is_member):
        first_M, second_M = (_called(scores_N, members, fpr) for scores_N in scores_HN)
        gap_M = (first_M - second_M) / 2
        gaps.append(HalfGap(float(gap_M.mean()), (gap_M,)))
    return draw_noise(gaps)


def _splits(halves_SHN: FloatArray, is_member: BoolArray) -> Iterator[tuple[FloatArray, BoolArray]]:
    """The scores by halves (H, N) of each split and who is a member, for the rows that all halves have scores of."""
    for scores_HN in halves_SHN:
        has_score_N = ~np.isnan(scores_HN).any(axis=0)
        members = is_member[has_score_N]
        if 0 < np.count_nonzero(members) < members.size:
            yield scores_HN[:, has_score_N], members


def _auc_gap(scores_HN: FloatArray, is_member: BoolArray) -> HalfGap:
    first, second = (placements(scores_N, is_member) for scores_N in scores_HN)
    gap_M, gap_Q = (first.members - second.members) / 2, (first.non_members - second.non_members) / 2
    return HalfGap(float(gap_M.mean()), (gap_M, gap_Q))


def _called(scores_N: FloatArray, is_member: BoolArray, fpr: float) -> FloatArray:
    """1 for the members (M,) above the threshold for ``fpr``, 0 for the others."""
    members_M = scores_N[is_member]
    num_called = round(tpr_at_fpr(scores_N, is_member, fpr) * members_M.size)
    called_M = np.zeros(members_M.size)
    called_M[np.argsort(-members_M, kind="stable")[:num_called]] = 1
    return called_M
