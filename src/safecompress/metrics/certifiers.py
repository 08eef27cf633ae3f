"""How rows certify a metric: the best confidence limit of so many rows, and why a bound is out of their reach.

The figures are those of a model that leaks nothing (or makes no mistake); no outcome but a lucky one does better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scipy.special import stdtrit

from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The rows that a figure is measured on: ``positives`` (members, or every row of a rate) and ``negatives``.

    ``shadows`` is how many shadow models say something of each row, 0 where none is asked.
    """

    positives: int
    negatives: int = 0
    shadows: int = 0


class Certifier(Protocol):
    """How rows certify one metric."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The tightest bound that ``rows`` can certify at error rate ``alpha``."""
        ...

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Why no outcome on ``rows`` certifies ``bound`` but by luck, and what to do; None when one does."""
        ...

    def describe(self, rows: RowCounts) -> str:
        """The rows in words."""
        ...


class _OnPools:
    """What certifiers on the verdict pools share."""

    def describe(self, rows: RowCounts) -> str:
        """``300 members and 300 non-members in the verdict pools``."""
        return f"{rows.positives} members and {rows.negatives} non-members in the verdict pools"


@dataclass(frozen=True, slots=True)
class CertifyAuc(_OnPools):
    """The AUC of scores without many ties: 0.5 plus half the width of its interval."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """Falls with the square root of the rows."""
        return 0.5 + stats.auc_half_width(rows.positives, rows.negatives, alpha)

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says how many rows of each side the bound takes."""
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        remedy = "the bound must lie above 0.5"
        if bound > 0.5:
            needed = stats.min_rows_for_auc(bound - 0.5, alpha)
            remedy = (
                f"it takes {needed} of each: set member_verdict and nonmember_verdict in [data], or loosen the bound"
            )
        return (
            f"a model that leaks nothing would be certified {tightest:.4g} ({self.describe(rows)}, alpha {alpha:g}, "
            f"halved at each further opening); {remedy}"
        )


@dataclass(frozen=True, slots=True)
class CertifyCalls(_OnPools):
    """A figure of hard calls, such as balanced accuracy: the limit of an attack that calls nobody a member."""

    interval: Callable[[stats.Confusion, float], Interval]

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The upper limit when every row is called a non-member."""
        return self.interval(stats.Confusion(0, rows.positives, 0, rows.negatives), alpha).high

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Asks for more rows or another bound."""
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        return (
            f"even an attack that calls nobody a member would be certified {tightest:.4g} ({self.describe(rows)}); use "
            "more verdict rows, or another bound"
        )


@dataclass(frozen=True, slots=True)
class CertifyTpr(_OnPools):
    """The true positive rate at a fixed false positive rate, which takes non-members enough to fix the threshold."""

    fpr: float

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The upper limit when no member lies above any non-member."""
        return stats.best_tpr_upper_limit(rows.positives, rows.negatives, self.fpr, alpha)

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says from how many non-members on the false positive rate is certified."""
        needed = stats.min_non_members(self.fpr, alpha)
        if rows.negatives < needed:
            return (
                f"a false positive rate of {self.fpr:g} is certified from {needed} non-members on, and "
                f"nonmember_verdict has {rows.negatives}; the figure is reported, but cannot be required"
            )
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        return f"even an attack that catches nobody would be certified {tightest:.4g} ({self.describe(rows)})"


MIN_EXPOSED = 20
"""The fewest people that a figure of the most exposed stands for."""

_EXPOSED_SHARE = 0.01
"""The most exposed one in a hundred, or `MIN_EXPOSED`, whichever is more."""

MIN_SHADOWS = 8
"""Shadows that it takes to choose by one half of them and to score by the other."""


def num_exposed(num_members: int) -> int:
    """How many of ``num_members`` are called the most exposed."""
    return max(MIN_EXPOSED, math.ceil(_EXPOSED_SHARE * num_members))


@dataclass(frozen=True, slots=True)
class CertifyWorstCase:
    """The chance that a model trained with one of the most exposed rows is the surer of it: 0.5 plus its reach."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The upper limit where training on a row changes nothing, and each row is in half of the shadows.

        A row's share over the pairs of k shadows with it and k without has the variance (2 k + 1) / (12 k k) (Mann &
        Whitney 1947); two halves of the shadows score as many rows each; two rows at 0 and 1 are counted in. 1 where
        rows or shadows are too few.
        """
        if self._are_few(rows):
            return 1.0
        num_rows, k = num_exposed(rows.positives), rows.shadows / 4
        squares = 2 * num_rows * (2 * k + 1) / (12 * k * k) + 0.5
        reach = -float(stdtrit(num_rows - 1, alpha / 2)) * math.sqrt(squares) / (2 * num_rows + 2)
        return min(1.0, 0.5 + reach)

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says how many rows and shadows the figure takes, or asks for another bound."""
        if self._are_few(rows):
            return (
                f"the most exposed are told from {2 * MIN_EXPOSED} members and {MIN_SHADOWS} shadow models on, and "
                f"there are {self.describe(rows)}; set member_verdict in [data] and num_shadows of the attack"
            )
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        return (
            f"where training on a row changes nothing it would be certified {tightest:.4g} ({self.describe(rows)}); "
            "give the attack more num_shadows, or loosen the bound (0.5 is guessing)"
        )

    def describe(self, rows: RowCounts) -> str:
        """``200 members in the verdict pool and 16 shadow models``."""
        return f"{rows.positives} members in the verdict pool and {rows.shadows} shadow models"

    def _are_few(self, rows: RowCounts) -> bool:
        return rows.shadows < MIN_SHADOWS or rows.positives < 2 * num_exposed(rows.positives)


@dataclass(frozen=True, slots=True)
class CertifyAccuracy:
    """A rate that is better when higher, measured on test rows."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The lower limit when every row is classified right."""
        return stats.best_lower_limit(rows.positives, alpha)

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says how many rows the bound takes."""
        tightest = self.tightest(rows, alpha)
        if bound <= tightest:
            return None
        remedy = "no number of rows certifies 1"
        if bound < 1:
            remedy = f"give it at least {stats.min_trials_for_lower_bound(bound, alpha)} rows"
        return f"{self.describe(rows)}, all right, certify only {tightest:.4g}; {remedy}"

    def describe(self, rows: RowCounts) -> str:
        """``400 test rows``."""
        return f"{rows.positives} test rows"


@dataclass(frozen=True, slots=True)
class CertifyRate:
    """A rate of hits that is better when lower, such as the success rate of an evasion attack."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The upper limit when no row is hit."""
        return stats.clopper_pearson(0, rows.positives, alpha).high

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Asks for more rows or another bound."""
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        return (
            f"even an attack that succeeds on no row would be certified {tightest:.4g} ({self.describe(rows)}); use "
            "more rows, or another bound"
        )

    def describe(self, rows: RowCounts) -> str:
        """``400 rows``."""
        return f"{rows.positives} rows"
