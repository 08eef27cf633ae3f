"""Who is exposed by a verdict's attacks: the ROC on a grid, each class, the most exposed rows; aggregates only.

Nothing here decides a verdict; a figure stands for twenty rows or more, or for a whole pool. The most exposed rows are
those of `worst_case`.

Shape letter: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import AttackResult, Target
from safecompress.certify.canaries import Planted
from safecompress.certify.worst_case import WorstCase, worst_case
from safecompress.data import AuditData
from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROC_FPRS = tuple(
    float(f"{step}e-{decade}") for decade in (3, 2, 1) for step in (1, 1.5, 2, 3, 5, 7)
)  # fmt: skip
"""The false positive rates at which a ROC is given."""

MIN_ROWS, MIN_SIDE = 20, 10
"""Least rows that a figure of a class stands for; and least of either side within a class."""


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


@dataclass(frozen=True, eq=False)
class Exposure:
    """All exposure figures of one verdict, and on how many rows; empty where nothing was measured."""

    roc: Mapping[str, tuple[RocPoint, ...]] = field(default_factory=dict)
    dense_roc: Mapping[str, tuple[RocPoint, ...]] = field(default_factory=dict)
    classes: Classes = Classes((), None, 0)
    worst_case: WorstCase | None = None
    num_members: int = 0
    num_non_members: int = 0
    planted: Planted | None = None


def examine_exposure(
    target: Target,
    audit: AuditData,
    class_names: Sequence[str],
    results: Sequence[AttackResult],
    dense_results: Sequence[AttackResult],
    alpha: float,
    planted: Planted | None = None,
) -> Exposure:
    """The aggregates of ``results``, the verdict's on ``audit``, and of ``dense_results``, the dense model's."""
    return Exposure(
        rocs(results, alpha),
        rocs(dense_results, alpha),
        classes_apart(results, audit, class_names, alpha),
        worst_case(target, audit, alpha),
        audit.num_members,
        audit.num_non_members,
        planted,
    )
