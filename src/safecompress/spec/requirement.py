"""A Requirement: a bound on one metric, and how a measurement is judged against it. It runs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from safecompress.errors import UsageError
from safecompress.metrics import catalogue
from safecompress.metrics.measurement import Direction, Interval, Measurement


class Verdict(StrEnum):
    """Only PASS passes."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Requirement:
    """``metric`` must be at most ``bound`` (LOWER) or at least ``bound`` (HIGHER). Made by `at_most` and its kin.

    ``proposed`` is the bound that ``safecompress init`` wrote, so that a report can say who chose the one that counts.
    No verdict depends on it.
    """

    metric: str
    bound: float
    direction: Direction
    proposed: float | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise UsageError(f"The bound on {self.metric} must be a finite number, got {self.bound}.")

    def __str__(self) -> str:
        return f"{self.metric} {'≤' if self.direction is Direction.LOWER else '≥'} {self.bound:g}"

    @property
    def chosen_by(self) -> str:
        """Who chose the bound: init (``proposed by init``), or a person, perhaps in its place."""
        if self.proposed is None:
            return "set by the author of the spec"
        return "proposed by init" if self.proposed == self.bound else f"edited (init proposed {self.proposed:g})"

    def is_change(self) -> bool:
        """Whether it bounds a change from the dense model."""
        return catalogue.is_change(self.metric)

    def can_break(self) -> bool:
        """Whether any outcome breaks it: the worst figure that its metric can have lies beyond the bound.

        Nothing breaks an AUC of at most 1, or an accuracy of at least 0. Of a metric that is not in the catalogue the
        worst figure is not known; it counts as one that does.
        """
        name = catalogue.parse_name(self.metric)
        if name is None:
            return True
        if name.is_change:
            return self.bound < name.metric.high - name.metric.low
        if self.direction is Direction.LOWER:
            return self.bound < name.metric.high
        return self.bound > name.metric.low

    def slack(self, value: float) -> float:
        """How far ``value`` is within the bound, as a share of the way from the bound to the ideal figure.

        1 at the ideal, 0 at the bound, under 0 beyond it. Where the bound is the ideal, or nobody knows an ideal (a
        metric that is not in the catalogue, a figure that is bounded by nothing), the plain distance.
        """
        sign = -1 if self.direction is Direction.LOWER else 1
        name = catalogue.parse_name(self.metric)
        ideal = self.bound if name is None else 0.0 if name.is_change else name.metric.ideal
        way = sign * (ideal - self.bound)
        distance = sign * (value - self.bound)
        return distance / way if math.isfinite(way) and way > 0 else distance

    def judge(self, measurement: Measurement | None, *, fault: str | None = None) -> Finding:
        """PASS if the whole interval is within the bound, FAIL if the whole simultaneous interval is outside.

        Otherwise INCONCLUSIVE; ERROR when there is no measurement (``fault`` says why) or it is not a number.
        """
        if measurement is None or fault is not None:
            return Finding(self, None, Verdict.ERROR, fault or f"{self.metric} was not measured")
        if not measurement.is_finite():
            return Finding(self, measurement, Verdict.ERROR, f"{self.metric} is not a finite number")
        near, far = measurement.interval, measurement.simultaneous
        if self.direction is Direction.LOWER:
            passes, fails, outside = near.high <= self.bound, far.low > self.bound, "exceeds"
            limit, far_limit = _limit("upper", near.high, near), _limit("lower", far.low, far)
        else:
            passes, fails, outside = near.low >= self.bound, far.high < self.bound, "is below"
            limit, far_limit = _limit("lower", near.low, near), _limit("upper", far.high, far)
        if passes:
            return Finding(self, measurement, Verdict.PASS, f"{limit} is within the bound {self.bound:g}")
        if fails:
            return Finding(self, measurement, Verdict.FAIL, f"{far_limit} {outside} the bound {self.bound:g}")
        return Finding(
            self,
            measurement,
            Verdict.INCONCLUSIVE,
            f"the simultaneous interval [{_short(far.low)}, {_short(far.high)}] has the bound {self.bound:g} "
            "inside it; more rows would decide",
        )


def _limit(side: str, number: float, interval: Interval) -> str:
    """A confidence limit in words; of a figure that is counted, the figure itself."""
    return _short(number) if interval.confidence == 1 else f"{side} confidence limit {_short(number)}"


def _short(number: float) -> str:
    """Four digits; counts of thousands in full."""
    return f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A measurement judged by a requirement: the verdict, and the reason in words."""

    requirement: Requirement
    measurement: Measurement | None
    verdict: Verdict
    reason: str


def at_most(metric: str, bound: float) -> Requirement:
    """``metric`` is at most ``bound``: ``at_most("neural.auc", 0.55)``."""
    return Requirement(metric, bound, Direction.LOWER)


def at_least(metric: str, bound: float) -> Requirement:
    """``metric`` is at least ``bound``: ``at_least("accuracy", 0.70)``."""
    return Requirement(metric, bound, Direction.HIGHER)


def within(margin: float, *, of: str = "dense", metric: str) -> Requirement:
    """``metric`` is at most ``margin`` worse than the dense model's: ``within(0.01, of="dense", metric="accuracy")``.

    It is a bound on the paired change, measured on the same rows with an interval of its own: ``accuracy.drop`` or, for
    a metric where lower is better, ``neural.auc.rise``. ``margin`` may not be negative.
    """
    if of != "dense":
        raise UsageError(f"within: of must be 'dense' (the model before compression), got {of!r}.")
    if not margin >= 0:
        raise UsageError(f"within: the margin on {metric} must be at least 0, got {margin}.")
    return Requirement(catalogue.change_of(metric), margin, Direction.LOWER)
