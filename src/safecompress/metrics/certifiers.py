"""How rows certify a metric: the best confidence limit of so many rows, and why a bound is out of their reach.

The figures are those of a model that leaks nothing (or makes no mistake); no outcome but a lucky one does better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scipy.special import ndtri

from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The rows that a figure is measured on: ``positives`` (members, or every row of a rate) and ``negatives``."""

    positives: int
    negatives: int = 0


class Certifier(Protocol):
    """How rows certify one metric."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The tightest bound that ``rows`` can certify at error rate ``alpha``."""
        ...

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Why no outcome on ``rows`` certifies ``bound`` but by luck, and what to do; None when one does."""
        ...

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """The bound that a model without a leak passes with probability ``chance``; None where leaks do not decide."""
        ...

    def describe(self, rows: RowCounts) -> str:
        """The rows in words."""
        ...


MOST_ROWS = 2**17
"""Rows of a pool beyond which nobody is told how many more it takes: 131,072."""


def rows_needed(certifier: Certifier, bound: float, alpha: float, chance: float) -> int | None:
    """The smallest n such that a model without any leak passes ``bound`` with probability ``chance`` on n rows a pool.

    By bisection, so that a stray smaller number may do, too: counts are whole. None where `MOST_ROWS` are too few.
    """

    def is_enough(count: int) -> bool:
        passed = certifier.passable(RowCounts(count, count), alpha, chance)
        return passed is not None and passed <= bound

    enough = next((2**power for power in range(2, 17) if is_enough(2**power)), MOST_ROWS)
    if not is_enough(enough):
        return None
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if is_enough(middle) else (middle, enough)
    return enough


WIDER = 1.05
"""How much draws of 16 shadows widen the interval of an AUC where nothing leaks: under 1 % with real models, up to 6 %
in simulation (benchmarks/results/flip-rate.md, coverage-shadows.md)."""


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

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """The measured AUC lies at most a quantile of the null law above 0.5; half the width comes on top.

        The width is that of an attack by shadows (`WIDER`). Ties would make both smaller.
        """
        half = stats.auc_half_width(rows.positives, rows.negatives, alpha)
        luck = stats.auc_half_width(rows.positives, rows.negatives, 2 * (1 - chance)) if chance > 0.5 else 0.0
        return min(1.0, 0.5 + luck + WIDER * half)

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

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """When half of the rows are called members, which scatters most, and by luck more of the members."""
        shares = [0.25 / count for count in (rows.positives, rows.negatives)]
        luck = float(ndtri(max(chance, 0.5))) / math.sqrt(sum(shares))
        hits, alarms = (
            min(count, max(0, math.ceil(count * (0.5 + sign * luck * share))))
            for count, sign, share in zip((rows.positives, rows.negatives), (1, -1), shares, strict=True)
        )
        calls = stats.Confusion(hits, rows.positives, alarms, rows.negatives)
        return min(1.0, self.interval(calls, alpha).high)

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

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """How many members lie above a non-member of given rank is a matter of order alone when nothing leaks."""
        return stats.passable_tpr(rows.positives, rows.negatives, self.fpr, alpha, chance)

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


@dataclass(frozen=True, slots=True)
class CertifyAccuracy:
    """A rate that is better when higher, measured on test rows."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The lower limit when every row is classified right."""
        return stats.best_lower_limit(rows.positives, alpha)

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """None: what the model gets right has nothing to do with leaks."""
        return None

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

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """None: how often such an attack succeeds has nothing to do with training rows."""
        return None

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
