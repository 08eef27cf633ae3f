"""A Measurement: one number with its intervals. Nothing here judges; requirements do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way is better."""

    LOWER = "lower is better"
    HIGHER = "higher is better"


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval. An exact figure (bytes, density) has ``low == high`` and confidence 1."""

    low: float
    high: float
    confidence: float

    @classmethod
    def exact(cls, value: float) -> Interval:
        """The interval of a figure that is counted, not estimated."""
        return cls(value, value, 1.0)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number about one model.

    ``name`` is ``attack.metric`` or a metric of the task (``accuracy``, ``density``, ``artifact.size_bytes``).
    ``interval`` holds at level 1 - alpha and decides PASS; ``simultaneous`` holds at 1 - alpha / m over the m figures
    that a spec requires (Bonferroni) and decides FAIL, so that many attacks do not fail a good model by chance.
    """

    name: str
    value: float
    interval: Interval
    simultaneous: Interval
    num_samples: int
    direction: Direction

    @classmethod
    def exact(cls, name: str, value: float, direction: Direction) -> Measurement:
        """A counted figure: no sampling, no interval."""
        return cls(name, float(value), Interval.exact(value), Interval.exact(value), 0, direction)

    def is_finite(self) -> bool:
        """Whether value and limits are all numbers."""
        limits = (self.interval.low, self.interval.high, self.simultaneous.low, self.simultaneous.high)
        return math.isfinite(self.value) and all(math.isfinite(limit) for limit in limits)


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates that intervals are computed at: ``alpha`` for one figure, ``alpha / num_figures`` for all at once."""

    alpha: float = 0.05
    num_figures: int = 1

    @property
    def simultaneous_alpha(self) -> float:
        """Alpha shared out over the required figures (Bonferroni)."""
        return self.alpha / max(1, self.num_figures)
