"""How well scores tell members from non-members: AUC, the ROC and its points, one threshold and what it gets right.

Two arrays go in everywhere: ``scores`` (N,) float, higher = more likely a member, and ``is_member`` (N,) bool. Rows of
equal score cannot be told apart, so they are one point of the ROC: never interpolated, never broken by their order.
Counts stay integers until the last division, so that no figure depends on the order of the rows.

Shape letters: N rows, M members, Q non-members, K distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import AttackError, UsageError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def checked(scores: FloatArray, is_member: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Both arrays, as float64 and bool.

    Raises AttackError unless both are (N,), every score is finite, and both members and non-members are present.
    """
    scores_N, is_member_N = np.asarray(scores, dtype=np.float64), np.asarray(is_member)
    if scores_N.ndim != 1 or scores_N.shape != is_member_N.shape:
        raise AttackError(
            f"Scores have shape {scores_N.shape} and is_member {is_member_N.shape}. "
            "Give one score and one label per row: two arrays of shape (N,)."
        )
    if is_member_N.dtype != np.bool_:
        raise AttackError(f"is_member is {is_member_N.dtype}, not bool. Say which value means member: labels == 1.")
    num_members = int(np.count_nonzero(is_member_N))
    if num_members in (0, is_member_N.size):
        raise AttackError(
            f"Got {num_members} members and {is_member_N.size - num_members} non-members. "
            "Telling them apart needs at least one of each."
        )
    num_broken = int(np.count_nonzero(~np.isfinite(scores_N)))
    if num_broken:
        raise AttackError(
            f"{num_broken} of {scores_N.size} scores are NaN or infinite, and have no place in a ranking. "
            "Find where the attack overflows; a finite floor (log of at least 1e-300, say) keeps the order."
        )
    return scores_N, is_member_N


@dataclass(frozen=True, slots=True)
class Placements:
    """How each row stands among the rows of the other pool (DeLong's structural components).

    ``members`` (M,): share of non-members that a member outscores. ``non_members`` (Q,): share of members that outscore
    a non-member. Ties count half; both means are the AUC. Per-row figures: they stay in the process.
    """

    members: FloatArray = field(repr=False)
    non_members: FloatArray = field(repr=False)


def placements(scores: FloatArray, is_member: BoolArray) -> Placements:
    """The placements of all rows in O(N log N), from ranks (Sun & Xu 2014, eq. 5-6; DeLong et al. 1988)."""
    scores_N, is_member_N = checked(scores, is_member)
    pooled_N = twice_midranks(scores_N)
    below_M = pooled_N[is_member_N] - twice_midranks(scores_N[is_member_N])
    below_Q = pooled_N[~is_member_N] - twice_midranks(scores_N[~is_member_N])
    return Placements(below_M / (2 * below_Q.size), (2 * below_M.size - below_Q) / (2 * below_M.size))


def twice_midranks(values_N: FloatArray) -> IntArray:
    """Two times the rank of each value from 1, ties sharing the mean of their ranks: integers, so sums are exact."""
    _, inverse_N, counts_K = np.unique(values_N, return_inverse=True, return_counts=True)
    doubled: IntArray = (2 * np.cumsum(counts_K) - counts_K + 1)[inverse_N]
    return doubled


def auc(scores: FloatArray, is_member: BoolArray) -> float:
    """The chance in [0, 1] that a member outscores a non-member, ties counted half (Mann & Whitney 1947). O(N log N).

    Raises AttackError on NaN or infinite scores, on labels of one side only, and on shapes that differ.
    """
    scores_N, is_member_N = checked(scores, is_member)
    num_members = int(np.count_nonzero(is_member_N))
    num_non_members = is_member_N.size - num_members
    twice_rank_sum = int(twice_midranks(scores_N)[is_member_N].sum())
    return (twice_rank_sum - num_members * (num_members + 1)) / (2 * num_members * num_non_members)


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """The points of a ROC, from (0, 0) to (1, 1): point i is the rule ``score >= thresholds[i]``.

    ``fpr``, ``tpr``, ``thresholds``: (K + 1,), one point per distinct score after the first, whose threshold is inf.
    The curve is these points and the steps between them; a straight line between two is a claim about ties.
    """

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray = field(repr=False)


def roc_curve(scores: FloatArray, is_member: BoolArray) -> RocCurve:
    """One point per distinct score, thresholds falling. Raises AttackError as ``auc`` does."""
    values_K, caught, alarms = _counts_by_threshold(*checked(scores, is_member))
    return RocCurve(alarms / alarms[-1], caught / caught[-1], np.concatenate(([np.inf], values_K)))


def _counts_by_threshold(scores_N: FloatArray, is_member_N: BoolArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct scores, falling (K,), and the members and the non-members at or above each, a zero first (K + 1,)."""
    values_K, inverse_N = np.unique(scores_N, return_inverse=True)
    caught_K, alarms_K = (
        np.cumsum(np.bincount(inverse_N[rows_N], minlength=values_K.size)[::-1])
        for rows_N in (is_member_N, ~is_member_N)
    )
    return values_K[::-1], np.concatenate(([0], caught_K)), np.concatenate(([0], alarms_K))


def tpr_at_fpr(scores: FloatArray, is_member: BoolArray, fpr: float) -> float:
    """The largest TPR among the points of the ROC whose FPR is at most ``fpr`` (a step function of ``fpr``).

    Raises AttackError as ``auc`` does; UsageError when ``fpr`` is outside [0, 1].
    """
    check_fpr(fpr)
    curve = roc_curve(scores, is_member)
    return float(curve.tpr[curve.fpr <= fpr][-1])


def check_fpr(fpr: float) -> None:
    """Raise UsageError unless ``fpr`` is in [0, 1]."""
    if not 0 <= fpr <= 1:
        raise UsageError(f"A false-positive rate of {fpr} is none: give a share of the non-members between 0 and 1.")


def best_threshold(scores: FloatArray, is_member: BoolArray) -> float:
    """The threshold t at which the rule ``score >= t`` has its highest balanced accuracy on these rows.

    t lies midway between two neighbouring distinct scores; inf calls nobody a member, -inf everybody. Of several that
    do equally well the highest is taken: it calls the fewest rows members. Scores that do not help give inf.
    Chosen and judged on the same rows, the accuracy flatters: choose on attack-fit rows. Raises AttackError as ``auc``.
    """
    values_K, caught, alarms = _counts_by_threshold(*checked(scores, is_member))
    best = int(np.argmax(caught * alarms[-1] - alarms * caught[-1]))
    edges = np.concatenate(([np.inf], _midway(values_K[1:], values_K[:-1]), [-np.inf]))
    return float(edges[best])


def _midway(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """The middle of each pair, without overflow; ``upper`` where no float lies between, so that t splits the pair."""
    middle = lower / 2 + upper / 2
    return np.where((lower < middle) & (middle <= upper), middle, upper)


@dataclass(frozen=True, slots=True)
class Confusion:
    """What a rule fixed in advance gets right: counts, and the rates they make."""

    true_positives: int
    num_members: int
    false_positives: int
    num_non_members: int

    def __post_init__(self) -> None:
        """Refuse counts that no table can hold."""
        for hits, total in (
            (self.true_positives, self.num_members),
            (self.false_positives, self.num_non_members),
        ):
            if not (total >= 1 and 0 <= hits <= total):
                raise AttackError(
                    f"{hits} of {total} rows called members: needs 0 <= count <= rows, and a row at least."
                )

    @property
    def tpr(self) -> float:
        """Share of the members that are called members."""
        return self.true_positives / self.num_members

    @property
    def fpr(self) -> float:
        """Share of the non-members that are called members."""
        return self.false_positives / self.num_non_members

    @property
    def balanced_accuracy(self) -> float:
        """Accuracy in [0, 1] if both pools were of equal size: (TPR + 1 - FPR) / 2."""
        return (1 + self.advantage) / 2

    @property
    def advantage(self) -> float:
        """TPR - FPR in [-1, 1] (Yeom et al. 2018, definition 4)."""
        return self.tpr - self.fpr


def confusion_at(scores: FloatArray, is_member: BoolArray, threshold: float) -> Confusion:
    """The counts of the rule ``score >= threshold``. Raises AttackError as ``auc`` does, and on a NaN threshold."""
    scores_N, is_member_N = checked(scores, is_member)
    if np.isnan(threshold):
        raise AttackError("The threshold is NaN: no score is above or below it. Check the rows it was chosen on.")
    called_N = scores_N >= threshold
    caught, num_members = int(np.count_nonzero(called_N & is_member_N)), int(np.count_nonzero(is_member_N))
    return Confusion(caught, num_members, int(np.count_nonzero(called_N)) - caught, is_member_N.size - num_members)
