"""One health check: what was seen of an attack, and why that casts doubt on it. It judges attacks, never the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    AttackResult,
)
from safecompress.errors import UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What one check saw of ``subject``: an attack by name, "data", "target", "shadows" or "file".

    ``outcome`` is PASS, INCONCLUSIVE or ERROR. It is never FAIL, which would speak of the model. ``value`` is the
    figure looked at, None when there is none; ``detail`` says what was seen and, where it is no PASS, what to do.
    """

    name: str
    subject: str
    outcome: Verdict
    value: float | None
    detail: str

    def __post_init__(self) -> None:
        if self.outcome is Verdict.FAIL:
            raise UsageError(f"The health check {self.name!r} cannot FAIL: it judges an attack. Use ERROR.")


def auc_and_interval(scores: Floats, is_member: Bools, alpha: float) -> tuple[float, Interval]:
    """The AUC of scores (N,) and its interval."""
    return stats.auc(scores, is_member), stats.auc_interval(scores, is_member, alpha)


def holds_half(name: str, subject: str, value: float, interval: Interval, where: str, advice: str) -> HealthCheck:
    """PASS where the interval holds 0.5, else ERROR with the advice."""
    seen = f"AUC {value:.3f} {in_brackets(interval)} {where}"
    if interval.low <= 0.5 <= interval.high:
        return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}: nothing found, as it should be.")
    return HealthCheck(name, subject, Verdict.ERROR, value, f"{seen}. {advice}")


def broken(name: str, result: AttackResult) -> HealthCheck:
    """An attack that gave no scores to look at."""
    reason = f"the attack gave no scores ({result.error or 'no reason given'}). Mend it, or take it out of the spec."
    return HealthCheck(name, result.attack, Verdict.ERROR, None, reason)


def in_brackets(interval: Interval) -> str:
    """``[0.412, 0.588]``."""
    return f"[{interval.low:.3f}, {interval.high:.3f}]"
