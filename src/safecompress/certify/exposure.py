"""Who is exposed by a verdict's attacks: the ROC on a grid, each class, the most exposed rows; aggregates only.

Nothing here decides a verdict; a figure stands for twenty rows or more, or for a whole pool.

Shape letters: N rows, K shadows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from safecompress.attacks import AttackResult, Target
from safecompress.data import AuditData
from safecompress.errors import SafeCompressError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats.intervals import chernoff_interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROC_FPRS = tuple(
    float(f"{step}e-{decade}") for decade in (3, 2, 1) for step in (1, 1.5, 2, 3, 5, 7)
)  # fmt: skip
"""The false positive rates at which a ROC is given."""

MIN_ROWS, MIN_SIDE = 20, 10
"""Least rows that a figure of a class, or of the most exposed, stands for; and least of either side within a class."""

WORST_SHARE = 0.01
"""The most exposed one in a hundred, or `MIN_ROWS`, whichever is more."""

MIN_SHADOWS = 8
"""Shadows that it takes to choose by one half of them and to score by the other."""


@dataclass(frozen=True, slots=True)
class RocPoint:
    """The largest share of members found at a false positive rate of at most ``fpr``, with its interval."""

    fpr: float
    tpr: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ClassExposure:
    """A class, or those too small to be shown (``num_classes`` of them) together: its rows, and each attack's AUC."""

    name: str
    num_classes: int
    num_members: int
    num_non_members: int
    aucs: Mapping[str, tuple[float, Interval]]


@dataclass(frozen=True, slots=True)
class Classes:
    """Each class; ``others`` are the small ones together, None where even together they have too few rows.

    Intervals hold for all classes of one attack at once (Bonferroni), so that the largest may be looked at.
    """

    apart: tuple[ClassExposure, ...]
    others: ClassExposure | None
    num_untold: int


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The most exposed rows, chosen on ``num_choosing`` shadows and scored on ``num_scoring`` others.

    ``worst`` and ``every`` are chances that, of a shadow trained with a row and one trained without it, the first is
    the surer of the row's label: 0.5 is guessing. Intervals are over rows, given these shadows.
    """

    num_rows: int
    num_eligible: int
    num_choosing: int
    num_scoring: int
    worst: tuple[float, Interval]
    every: tuple[float, Interval]


def roc_points(scores: Floats, is_member: Bools, alpha: float) -> tuple[RocPoint, ...]:
    """The ROC at `ROC_FPRS`: steps never interpolated, each interval exact by itself (`stats.tpr_at_fpr_interval`)."""
    return tuple(
        RocPoint(
            fpr, stats.tpr_at_fpr(scores, is_member, fpr), stats.tpr_at_fpr_interval(scores, is_member, fpr, alpha)
        )
        for fpr in ROC_FPRS
    )


def rocs(results: Sequence[AttackResult], alpha: float) -> dict[str, tuple[RocPoint, ...]]:
    """By attack, for those that gave scores."""
    return {
        result.attack: roc_points(result.scores, result.is_member, alpha)
        for result in results
        if result.scores is not None and result.is_member is not None
    }


def classes_apart(
    results: Sequence[AttackResult], audit: AuditData, class_names: Sequence[str], alpha: float
) -> Classes:
    """The AUC of every attack within every class that has `MIN_ROWS` rows, `MIN_SIDE` of either side.

    Smaller classes are taken together, if there are two or more of them with enough rows between them: a single class,
    or too few rows, would show by subtraction.
    """
    labels_N, is_member_N = audit.labels.numpy(), audit.is_member
    large: list[tuple[str, Bools]] = []
    small: list[tuple[str, Bools]] = []
    for number, name in enumerate(class_names):
        rows_N = labels_N == number
        if rows_N.any():
            (large if _are_enough(rows_N, is_member_N) else small).append((name, rows_N))
    together_N = np.logical_or.reduce([rows_N for _, rows_N in small]) if small else np.zeros(len(labels_N), dtype=bool)
    are_others_enough = len(small) > 1 and _are_enough(together_N, is_member_N)
    each = alpha / max(1, len(large) + are_others_enough)

    def exposure(name: str, num_classes: int, rows_N: Bools) -> ClassExposure:
        aucs = {}
        for result in results:
            if result.scores is not None:
                mine = result.scores[rows_N], is_member_N[rows_N]
                aucs[result.attack] = (stats.auc(*mine), stats.auc_interval(*mine, each))
        num_members = int(np.count_nonzero(rows_N & is_member_N))
        return ClassExposure(name, num_classes, num_members, int(np.count_nonzero(rows_N)) - num_members, aucs)

    apart = tuple(exposure(name, 1, rows_N) for name, rows_N in large)
    others = exposure("others", len(small), together_N) if are_others_enough else None
    return Classes(apart, others, 0 if are_others_enough else len(small))


def _are_enough(rows_N: Bools, is_member_N: Bools) -> bool:
    num_members = np.count_nonzero(rows_N & is_member_N)
    num_others = np.count_nonzero(rows_N) - num_members
    return bool(num_members + num_others >= MIN_ROWS and min(num_members, num_others) >= MIN_SIDE)


def worst_case(target: Target, audit: AuditData, alpha: float) -> WorstCase | None:
    """The rows whose label shadows learn most by training on them, as shadows that did not choose them see it.

    None without `MIN_SHADOWS` shadows that an attack asked for already (none is trained here), and where fewer than
    two times `MIN_ROWS` rows are in and out of each half of them. Choosing and scoring on the same shadows would call
    exposed whom chance made look so (Aerni et al. 2024 judge by the most vulnerable for the same reason).
    """
    if not target.has_shadows or target.shadows.num_used < MIN_SHADOWS:
        return None
    try:
        outputs = target.shadows.outputs(audit, count=target.shadows.num_used)
    except SafeCompressError:  # the attacks that use these shadows report it
        return None
    return worst_of(outputs.scaled_logit_KQN[:, 0], outputs.is_in_KN, alpha)


def worst_of(phi_KN: Floats, is_in_KN: Bools, alpha: float) -> WorstCase | None:
    """`worst_case` from the shadows' scaled logits and from which rows each was trained on."""
    half = len(phi_KN) // 2
    choosing, scoring = slice(0, half), slice(half, None)
    is_known_N = np.all(
        [np.minimum(side.sum(axis=0), (~side).sum(axis=0)) >= 2 for side in (is_in_KN[choosing], is_in_KN[scoring])],
        axis=0,
    )
    num_eligible = int(np.count_nonzero(is_known_N))
    num_rows = max(MIN_ROWS, int(np.ceil(WORST_SHARE * num_eligible)))
    if num_eligible < 2 * num_rows:
        return None
    exposure_N = _standardised_gaps(phi_KN[choosing][:, is_known_N], is_in_KN[choosing][:, is_known_N])
    surer_N = _shares_surer(phi_KN[scoring][:, is_known_N], is_in_KN[scoring][:, is_known_N])
    worst = np.argsort(-exposure_N, kind="stable")[:num_rows]
    figures = [(float(shares.mean()), _mean_interval(shares, alpha)) for shares in (surer_N[worst], surer_N)]
    return WorstCase(num_rows, num_eligible, half, len(phi_KN) - half, *figures)


def _standardised_gaps(phi_KN: Floats, is_in_KN: Bools) -> Floats:
    """(mean in - mean out) / deviation of each row (N,); its variance counts half, that of all rows together half."""
    means_SN = [np.where(side, phi_KN, 0).sum(axis=0) / side.sum(axis=0) for side in (is_in_KN, ~is_in_KN)]
    residual_KN = phi_KN - np.where(is_in_KN, *means_SN)
    variance_N = (residual_KN**2).sum(axis=0) / (len(phi_KN) - 2)
    scale_N = np.sqrt((variance_N + variance_N.mean()) / 2)
    gap_N: Floats = means_SN[0] - means_SN[1]
    return np.asarray(np.divide(gap_N, scale_N, out=gap_N.copy(), where=scale_N > 0))


def _shares_surer(phi_KN: Floats, is_in_KN: Bools) -> Floats:
    """Of each row's pairs of shadows, one with it and one without, the share in which the first is surer (N,)."""
    surer_N, is_out_KN = np.zeros(phi_KN.shape[1]), ~is_in_KN
    for phi_N, is_in_N in zip(phi_KN, is_in_KN, strict=True):
        wins_KN = (phi_N > phi_KN) + (phi_N == phi_KN) / 2
        surer_N += np.where(is_in_N & is_out_KN, wins_KN, 0).sum(axis=0)
    return np.asarray(surer_N / (is_in_KN.sum(axis=0) * is_out_KN.sum(axis=0)))


def _mean_interval(shares_N: Floats, alpha: float) -> Interval:
    """The interval of a mean of rows' shares: Student's, two more rows at 0 and 1 counted into the variance.

    It goes no further out than the distribution-free one, as that of the AUC.
    """
    mean, num_rows = float(shares_N.mean()), len(shares_N)
    bound = chernoff_interval(mean, num_rows, alpha)
    error = float(np.sqrt(np.concatenate((shares_N, [0.0, 1.0])).var(ddof=1) / (num_rows + 2)))
    reach = -float(stdtrit(num_rows - 1, alpha / 2)) * error
    return Interval(max(bound.low, mean - reach), min(bound.high, mean + reach), 1 - alpha)


@dataclass(frozen=True, eq=False)
class Exposure:
    """All exposure figures of one verdict; empty where nothing was measured."""

    roc: Mapping[str, tuple[RocPoint, ...]] = field(default_factory=dict)
    dense_roc: Mapping[str, tuple[RocPoint, ...]] = field(default_factory=dict)
    classes: Classes = Classes((), None, 0)
    worst_case: WorstCase | None = None


def examine_exposure(
    target: Target,
    audit: AuditData,
    class_names: Sequence[str],
    results: Sequence[AttackResult],
    dense_results: Sequence[AttackResult],
    alpha: float,
) -> Exposure:
    """The aggregates of ``results``, the verdict's on ``audit``, and of ``dense_results``, the dense model's."""
    return Exposure(
        rocs(results, alpha),
        rocs(dense_results, alpha),
        classes_apart(results, audit, class_names, alpha),
        worst_case(target, audit, alpha),
    )
