"""How much to move at a rewire: the fraction of active weights, as a function of how far training has come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from safecompress.errors import UsageError
from safecompress.registry import Registry


class Schedule(Protocol):
    """The fraction in [0, 1] of active weights that a rewire moves at ``progress`` in [0, 1] of training."""

    def __call__(self, progress: float) -> float:
        """The fraction."""
        ...


@dataclass(frozen=True)
class ConstantSchedule:
    """The same fraction at every rewire."""

    fraction: float = 0.3

    def __post_init__(self) -> None:
        _check_fraction("fraction", self.fraction)

    def __call__(self, progress: float) -> float:
        """The fraction."""
        return self.fraction


@dataclass(frozen=True)
class CosineSchedule:
    """From ``start`` to ``end`` along half a cosine over all of training (Dettmers & Zettlemoyer 2019)."""

    start: float = 0.5
    end: float = 0.005

    def __post_init__(self) -> None:
        _check_fraction("start", self.start)
        _check_fraction("end", self.end)

    def __call__(self, progress: float) -> float:
        """The fraction."""
        position = min(max(progress, 0.0), 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * position)) / 2


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"The schedule's {name} must lie in [0, 1], got {value}.")


GENTLE = CosineSchedule(start=0.1)
"""What is usual where trained weights are kept: half of them moved at once would cost most of what they know."""

SCHEDULES: Registry[Schedule] = Registry(
    "schedule", "safecompress.schedules", {"cosine": CosineSchedule, "constant": ConstantSchedule}
)
