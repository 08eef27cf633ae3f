"""A Space: the settings that a search may try; and TrialParams, one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from safecompress.compression.job import Job
from safecompress.compression.search import Branch
from safecompress.config import Config
from safecompress.errors import UsageError
from safecompress.training import Objective

T = TypeVar("T", Job, Config)

_DIGITS = 3
"""Significant digits of what is drawn from a range, so that a spec shows exactly what was trained."""


class Suggests(Protocol):
    """What draws values by name: a trial of Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from ``low`` to ``high``."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of ``choices``."""
        ...


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, drawn on a logarithmic scale. Raises UsageError unless 0 < low < high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise UsageError(f"A range takes two numbers above 0, the lower first, got {self.low:g} and {self.high:g}.")


Numbers = Range | tuple[float, ...]
"""A range, or a list to choose from."""


@dataclass(frozen=True)
class TrialParams:
    """One setting. ``objective`` and ``branches`` are labels of the space that it was drawn from."""

    density: float
    objective: str
    branches: str
    learning_rate: float

    def __str__(self) -> str:
        return (
            f"density {self.density:g}, {self.objective}, branches {self.branches}, learning rate "
            f"{self.learning_rate:g}"
        )


@dataclass(frozen=True)
class Space:
    """Densities, objectives by label, lists of branches by label, learning rates. What has one value stays fixed.

    Raises UsageError for an empty dimension, values given twice or out of their range, and nothing to choose.
    """

    densities: Numbers
    objectives: Mapping[str, Objective] = field(hash=False)
    branches: Mapping[str, tuple[Branch, ...]] = field(hash=False)
    learning_rates: Numbers

    def __post_init__(self) -> None:
        dimensions = {name: getattr(self, name) for name in ("densities", "objectives", "branches", "learning_rates")}
        for name, values in dimensions.items():
            if not isinstance(values, Range) and (not values or len(set(values)) < len(values)):
                raise UsageError(f"{name} must be at least one and all different, got {list(values)}.")
        outside = [density for density in _ends(self.densities) if not 0 < density <= 1]
        if outside:
            raise UsageError(f"densities must lie in (0, 1], got {outside}. 0.05 keeps one weight in twenty.")
        if min(_ends(self.learning_rates)) <= 0:
            raise UsageError(f"learning_rates must lie above 0, got {list(_ends(self.learning_rates))}.")
        if not self.varied:
            raise UsageError(
                "There is nothing to choose: every setting has one value. Give densities a range, like [0.05, 0.5], or "
                "name several objectives."
            )

    @property
    def varied(self) -> tuple[str, ...]:
        """The fields of TrialParams that can differ."""
        dimensions = {
            "density": self.densities,
            "objective": self.objectives,
            "branches": self.branches,
            "learning_rate": self.learning_rates,
        }
        return tuple(name for name, values in dimensions.items() if isinstance(values, Range) or len(values) > 1)

    def suggest(self, trial: Suggests) -> TrialParams:
        """What ``trial`` draws; always in one order, and only what can differ."""
        return TrialParams(
            _number(trial, "density", self.densities),
            _label(trial, "objective", tuple(self.objectives)),
            _label(trial, "branches", tuple(self.branches)),
            _number(trial, "learning_rate", self.learning_rates),
        )

    def apply(self, params: TrialParams, to: T) -> T:
        """``to`` with the setting in place of its own; a job and a spec change alike.

        The dense model's learning rate follows where it was the sparse one's.
        """
        rate = params.learning_rate
        recipe = replace(to.recipe, objective=self.objectives[params.objective], learning_rate=rate)
        follows = to.dense_recipe.learning_rate == to.recipe.learning_rate
        dense_recipe = replace(to.dense_recipe, learning_rate=rate) if follows else to.dense_recipe
        plan = replace(to.plan, density=params.density, branches=self.branches[params.branches])
        return replace(to, recipe=recipe, dense_recipe=dense_recipe, plan=plan)

    def extremes(self) -> list[TrialParams]:
        """Every objective with every list of branches, at the lowest density: what is checked before anything runs."""
        density, rate = min(_ends(self.densities)), min(_ends(self.learning_rates))
        return [
            TrialParams(density, objective, branches, rate)
            for objective in self.objectives
            for branches in self.branches
        ]


def _ends(numbers: Numbers) -> tuple[float, ...]:
    return (numbers.low, numbers.high) if isinstance(numbers, Range) else numbers


def _number(trial: Suggests, name: str, numbers: Numbers) -> float:
    if isinstance(numbers, Range):
        drawn = trial.suggest_float(name, numbers.low, numbers.high, log=True)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), numbers.low), numbers.high)
    return float(_label(trial, name, tuple(f"{value!r}" for value in numbers)))


def _label(trial: Suggests, name: str, names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else trial.suggest_categorical(name, names)
