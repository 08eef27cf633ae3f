"""How rows certify a metric: the best confidence limit of so many rows, and why a bound is out of their reach.

The figures are those of a model that leaks nothing (or makes no mistake); no outcome but a lucky one does better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from safecompress.metrics import special, stats
from safecompress.metrics.measurement import Interval


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The rows that a figure is measured on: ``positives`` (members, or every row of a rate) and ``negatives``.

    ``shadows`` is how many shadow models say something of each row, 0 where none is asked. ``groups`` are the sizes of
    the groups that rows are dealt to.
    """

    positives: int
    negatives: int = 0
    shadows: int = 0
    groups: tuple[int, ...] = ()


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


def rows_needed(certifier: Certifier, bound: float, rows: RowCounts, alpha: float, chance: float) -> int | None:
    """The smallest n such that a model without any leak passes ``bound`` with probability ``chance`` on n rows a pool.

    ``rows`` says how many shadow models there are. By bisection, so that a stray smaller number may do, too: counts
    are whole. None where `MOST_ROWS` are too few.
    """

    def is_enough(count: int) -> bool:
        passed = certifier.passable(replace(rows, positives=count, negatives=count), alpha, chance)
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
        luck = float(special.ndtri(max(chance, 0.5))) / math.sqrt(sum(shares))
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
        num_rows = num_exposed(rows.positives)
        squares = 2 * num_rows * self._variance(rows) + 0.5
        reach = -float(special.stdtrit(num_rows - 1, alpha / 2)) * math.sqrt(squares) / (2 * num_rows + 2)
        return min(1.0, 0.5 + reach)

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float:
        """The tightest bound, and on top how far chance takes the figure of rows on which training changes nothing."""
        if self._are_few(rows):
            return 1.0
        luck = float(special.ndtri(max(chance, 0.5))) * math.sqrt(
            self._variance(rows) / (2 * num_exposed(rows.positives))
        )
        return min(1.0, self.tightest(rows, alpha) + luck)

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

    def _variance(self, rows: RowCounts) -> float:
        """Of one row's share of pairs in one half of the shadows."""
        k = rows.shadows / 4
        return (2 * k + 1) / (12 * k * k)

    def _are_few(self, rows: RowCounts) -> bool:
        return rows.shadows < MIN_SHADOWS or rows.positives < 2 * num_exposed(rows.positives)


MIN_CANARIES = 20
"""The fewest canaries that a figure stands for."""

CANARY_FPR = 0.01
"""The share of twins that may lie above a canary that counts as found."""


@dataclass(frozen=True, slots=True)
class CertifyCanaries:
    """The share of canaries found: ``positives`` are the canaries, ``negatives`` their twins."""

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The upper limit when none is found; 1 where there is none."""
        return stats.clopper_pearson(0, rows.positives, alpha).high if rows.positives else 1.0

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float:
        """The upper limit of as many as a model that was trained on none of them gives away with that chance."""
        if not rows.positives or not rows.negatives:
            return 1.0
        hits = stats.hits_by_chance(rows.positives, rows.negatives, num_false_alarms(rows.negatives) + 1, chance)
        return stats.clopper_pearson(hits, rows.positives, alpha).high

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says that there are none, or asks for more."""
        if not rows.positives:
            return "no canaries were planted; set canaries in [safety]"
        tightest = self.tightest(rows, alpha)
        if bound >= tightest:
            return None
        return f"none found would be certified {tightest:.4g} ({self.describe(rows)}); plant more canaries in [safety]"

    def describe(self, rows: RowCounts) -> str:
        """``20 canaries and 200 twins``."""
        return f"{rows.positives} canaries and {rows.negatives} twins"


def num_false_alarms(num_twins: int) -> int:
    """Of so many twins, how many may lie above a canary that counts as found."""
    return math.floor(CANARY_FPR * num_twins + 1e-9)


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
class CertifyWorstGroup:
    """The accuracy of the worst of several groups of test rows; ``what`` they are is said in messages."""

    what: str

    def tightest(self, rows: RowCounts, alpha: float) -> float:
        """The lower limit of the smallest group when every row is classified right; 0 for fewer than two groups."""
        if len(rows.groups) < 2:
            return 0.0
        return stats.best_lower_limit(min(rows.groups), alpha / len(rows.groups))

    def passable(self, rows: RowCounts, alpha: float, chance: float) -> float | None:
        """None: what the model gets right has nothing to do with leaks."""
        return None

    def fault(self, bound: float, rows: RowCounts, alpha: float) -> str | None:
        """Says how many rows the smallest group takes, or that there is no second one."""
        if len(rows.groups) < 2:
            return (
                f"{rows.positives} test rows make no two groups that are large enough to be judged apart; give test "
                "more rows"
            )
        tightest = self.tightest(rows, alpha)
        if bound <= tightest:
            return None
        remedy = "no number of rows certifies 1"
        if bound < 1:
            needed = stats.min_trials_for_lower_bound(bound, alpha / len(rows.groups))
            remedy = f"give test so many rows that each {self.what} has at least {needed}"
        return f"{self.describe(rows)}, all right, certify only {tightest:.4g}; {remedy}"

    def describe(self, rows: RowCounts) -> str:
        """``61 test rows of the smallest class of 5``."""
        smallest = min(rows.groups, default=0)
        return f"{smallest} test rows of the smallest {self.what} of {len(rows.groups)}"


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
