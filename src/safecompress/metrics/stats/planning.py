"""Before training: what given numbers of rows can certify, and how many rows a claim needs.

A requirement that no outcome could pass is an error of usage, and these figures are how it is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from safecompress.errors import UsageError
from safecompress.metrics import special
from safecompress.metrics.stats.intervals import check_alpha, clopper_pearson, threshold_ranks


def auc_half_width(num_members: int, num_non_members: int, alpha: float) -> float:
    """Half the width of the AUC's interval when nothing leaks: z sqrt((M + Q + 1) / (12 M Q)) (Mann & Whitney 1947).

    300 + 300 rows at alpha 0.05: 0.0462. Scores with many ties give less; ``auc_interval`` gives at most 1 % more.
    """
    check_alpha(alpha)
    _check_rows(num_members, num_non_members)
    variance = (num_members + num_non_members + 1) / (12 * num_members * num_non_members)
    return -float(special.ndtri(alpha / 2)) * math.sqrt(variance)


def min_rows_for_auc(half_width: float, alpha: float) -> int:
    """The smallest n such that n members + n non-members have ``auc_half_width`` at most ``half_width``."""
    check_alpha(alpha)
    _check_share("half_width", half_width)
    z2, h2 = float(special.ndtri(alpha / 2)) ** 2, half_width**2
    root = (z2 + math.sqrt(z2 * (z2 + 12 * h2))) / (12 * h2)
    return _smallest(root, lambda rows: auc_half_width(rows, rows, alpha) <= half_width)


def min_non_members(fpr: float, alpha: float, *, sides: int = 2) -> int:
    """The smallest number of non-members of which none called a member certifies a FPR of at most ``fpr``.

    ``sides`` is the number of statements that share alpha: 1 for a lone upper limit, 2 for a two-sided interval,
    4 for the strict end of ``tpr_at_fpr_interval``. At FPR 0.1 % and alpha 0.05: 2995, 3688, 4380.
    """
    check_alpha(alpha)
    _check_share("fpr", fpr)
    if sides < 1:
        raise UsageError(f"sides is {sides}: alpha is shared by 1, 2 or 4 statements.")
    log_tail = math.log(alpha / sides)
    return _smallest(log_tail / math.log1p(-fpr), lambda rows: rows * math.log1p(-fpr) <= log_tail)


def min_trials_for_lower_bound(bound: float, alpha: float) -> int:
    """The smallest n such that n successes in n trials have a Clopper-Pearson lower limit of at least ``bound``."""
    check_alpha(alpha)
    _check_share("bound", bound)
    root = math.log(alpha / 2) / math.log(bound)
    return _smallest(root, lambda trials: best_lower_limit(trials, alpha) >= bound)


def best_lower_limit(trials: int, alpha: float) -> float:
    """The lower limit of a rate after the best outcome, every trial a success: (alpha / 2) ** (1 / trials)."""
    _check_rows(trials)
    return clopper_pearson(trials, trials, alpha).low


def best_tpr_upper_limit(num_members: int, num_non_members: int, fpr: float, alpha: float) -> float:
    """The upper limit of ``tpr_at_fpr_interval`` after the best outcome: no member above any non-member.

    A requirement on TPR at ``fpr`` below this cannot pass with these rows; 1 where they bound no threshold at all.
    """
    _check_rows(num_members, num_non_members)
    _, loose = threshold_ranks(num_non_members, fpr, alpha)
    return clopper_pearson(0, num_members, alpha / 2).high if loose <= num_non_members else 1.0


def passable_tpr(num_members: int, num_non_members: int, fpr: float, alpha: float, chance: float) -> float:
    """What the upper limit of ``tpr_at_fpr_interval`` stays under with probability ``chance`` when nothing leaks.

    The number of members above the r-th largest of Q non-members is then beta-binomial, whatever the scores are; 1
    where the non-members bound no threshold.
    """
    _check_rows(num_members, num_non_members)
    _, loose = threshold_ranks(num_non_members, fpr, alpha)
    if loose > num_non_members:
        return 1.0
    most = hits_by_chance(num_members, num_non_members, loose, chance)
    return clopper_pearson(most, num_members, alpha / 2).high


def hits_by_chance(num_members: int, num_non_members: int, rank: int, chance: float) -> int:
    """The smallest h such that with probability ``chance`` at most h members lie above the ``rank``-th non-member.

    Where nothing leaks that is a matter of order alone, and the count is beta-binomial. ``rank`` counts from the
    largest, 1 to ``num_non_members``.
    """
    above = np.arange(num_members + 1)
    law = np.exp(
        special.betaln(above + rank, num_members - above + num_non_members - rank + 1)
        - special.betaln(rank, num_non_members - rank + 1)
        + special.gammaln(num_members + 1)
        - special.gammaln(above + 1)
        - special.gammaln(num_members - above + 1)
    )
    return min(int(np.searchsorted(np.cumsum(law), chance)), num_members)


def _check_rows(*counts: int) -> None:
    if min(counts) < 1:
        raise UsageError(f"Got {' and '.join(map(str, counts))} rows: an interval needs at least one in each pool.")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"{name} is {value}: no finite number of rows decides that. Give a number between 0 and 1.")


def _smallest(root: float, is_enough: Callable[[int], bool]) -> int:
    """The first whole number from ``root`` up that is enough, where rounding may have moved ``root`` by a hair."""
    rounded = math.ceil(root)
    return next((count for count in (rounded - 1, rounded) if count >= 1 and is_enough(count)), rounded + 1)
