"""Means over seeds with their intervals, and paired differences: results in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from safecompress.attacks import Attack
from safecompress.metrics.catalogue import ACCURACY, AUC, TPRS
from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.plan import DENSE_DENSITY, Comparison, MethodEntry

LEVEL = 0.95
"""Of every t interval over seeds."""

FEWEST = 3
"""Seeds under which no difference counts as shown."""

SIGNS = 6
"""Equal differences that show something by their sign alone: 2 / 2**6 is under .05, 2 / 2**5 is not."""

FIGURES: Mapping[str, Callable[[CellResult], float | None]] = {
    "accuracy": lambda result: result.value(ACCURACY.name),
    "worst AUC": lambda result: result.worst_leak,
    "LiRA AUC": lambda result: result.value(AUC.of("lira")),
    "worst TPR@1%": lambda result: result.worst(TPRS[0]),
    "TM-score": lambda result: result.tm_score,
}
"""What tables compare, by the words of their columns."""

HIGHER_IS_BETTER = frozenset({"accuracy", "TM-score"})


@dataclass(frozen=True)
class Spread:
    """The ``mean`` of ``count`` values, the lowest and the highest, and half of the mean's t interval.

    ``half`` is None where no interval can be had: for one value, and for fewer than SIGNS that are all equal. Counts
    over few rows coincide now and then, and the t interval of equal values is no width at all.
    """

    mean: float
    half: float | None
    lowest: float
    highest: float
    count: int

    @property
    def sign(self) -> int:
        """-1 or 1 when the interval of the mean lies on one side of zero, else 0; always 0 under FEWEST values."""
        is_open = self.half is None or self.count < FEWEST
        return 0 if is_open or abs(self.mean) <= (self.half or 0.0) else int(math.copysign(1, self.mean))


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of ``values``; None for none. The interval is Student's, at LEVEL, over independent values."""
    if not values:
        return None
    array, half = np.asarray(values, dtype=np.float64), None
    are_equal = bool(np.ptp(array) <= 1e-12 * max(1.0, float(np.abs(array).max())))
    if len(array) > 1 and (len(array) >= SIGNS or not are_equal):
        from scipy.stats import t  # seconds to import

        quantile = float(t.ppf((1 + LEVEL) / 2, len(array) - 1))
        half = quantile * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Spread(float(array.mean()), half, float(array.min()), float(array.max()), len(array))


@dataclass(frozen=True)
class Group:
    """The results of one method at one density, over seeds."""

    entry: MethodEntry
    density: float
    results: tuple[CellResult, ...]

    def over_seeds(self, figure: str) -> Spread | None:
        """The spread of a figure of FIGURES over the seeds that have it."""
        return spread(list(self.by_seed(figure).values()))

    def by_seed(self, figure: str) -> dict[int, float]:
        """A figure for each seed that has it."""
        values = {result.cell.seed: FIGURES[figure](result) for result in self.results}
        return {seed: value for seed, value in values.items() if value is not None}


def groups_of(comparison: Comparison, results: Sequence[CellResult]) -> list[Group]:
    """One group per row of the table: what ignores the density first, then by density, from dense to sparse."""

    def group(entry: MethodEntry, density: float) -> Group:
        own = [r for r in results if (r.cell.label, r.cell.density) == (entry.label, density)]
        return Group(entry, density, tuple(own))

    dense = [entry for entry in comparison.entries if entry.method.is_dense()]
    sparse = [entry for entry in comparison.entries if not entry.method.is_dense()]
    return [group(entry, DENSE_DENSITY) for entry in dense] + [
        group(entry, density) for density in sorted(comparison.densities, reverse=True) for entry in sparse
    ]


def shown_figures(attacks: Sequence[Attack]) -> list[str]:
    """The figures that these attacks can give."""
    has_lira = any(attack.name == "lira" for attack in attacks)
    return [name for name in FIGURES if name != "LiRA AUC" or has_lira]


def difference(first: Group, second: Group, figure: str) -> Spread | None:
    """``first`` minus ``second``, seed by seed, over the seeds that both have; None when there is none."""
    ours, theirs = first.by_seed(figure), second.by_seed(figure)
    return spread([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def plain_dense(method_groups: Sequence[Group]) -> Group | None:
    """The plainly trained dense model, if the comparison has it: the first method that ignores the density."""
    from safecompress.studies.methods.plain import Dense

    return next((group for group in method_groups if type(group.entry.method) is Dense), None)


def pairs_with(reference: MethodEntry, method_groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """(the reference's group, another's) at equal density; what ignores the density is paired at each."""
    own = [group for group in method_groups if group.entry is reference]
    return [
        (mine, other)
        for mine in own
        for other in method_groups
        if other.entry is not reference
        and (other.density == mine.density or other.entry.method.is_dense() or reference.method.is_dense())
    ]


def is_unequal(method_group: Group, dense_group: Group | None) -> bool:
    """Whether the mean accuracy lies outside the dense model's interval over test rows (its limits' means over seeds).

    A comparison of leakage at unequal accuracy misleads: what learned less leaks less.
    """
    if dense_group is None or method_group is dense_group:
        return False
    own = method_group.over_seeds("accuracy")
    limits = [result.figures[ACCURACY.name] for result in dense_group.results if ACCURACY.name in result.figures]
    if own is None or not limits:
        return False
    low, high = (float(np.mean([limit[side] for limit in limits])) for side in ("low", "high"))
    return not low <= own.mean <= high
