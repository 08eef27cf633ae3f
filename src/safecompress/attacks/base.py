"""What an attack is, how one is simulated on the fitting pool, and how its scores become measurements.

An attack only has to give scores per row (higher = more likely a member). Orientation, threshold, figures, intervals
and the checks that turn a broken attack into an ERROR are the same for all and live here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from safecompress import stats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError
from safecompress.measure import Direction, Interval, Levels, Measurement

FPRS = (0.01, 0.001)
"""False positive rates at which the true positive rate is reported."""


@runtime_checkable
class FittedAttack(Protocol):
    """An attacker ready to score. ``threshold`` is None when sign and threshold are to be found on the fitting rows."""

    @property
    def threshold(self) -> float | None:
        """Rows with a score at or above it are called members; None to have it fitted."""
        ...

    def score(self, target: Target, audit: AuditData) -> NDArray[np.float64]:
        """Membership scores (N,), higher = more likely a member."""
        ...


@runtime_checkable
class Attack(Protocol):
    """A membership inference attack, as a frozen value."""

    @property
    def name(self) -> str:
        """The first part of its metrics' names."""
        ...

    @property
    def access(self) -> Access:
        """What it needs to be given."""
        ...

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedAttack:
        """The attacker that has seen ``audit`` with its membership labels."""
        ...


def tier_of(attack: Attack) -> int:
    """What an attack costs, by its ``tier``: 0 milliseconds, 1 seconds, 2 shadow models; 0 where it does not say."""
    return int(getattr(attack, "tier", 0))


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What one attack found on one model: aggregates, or the reason why there are none.

    ``epsilon`` is a lower limit on ln(TPR / FPR) or ln(TNR / FNR) at the attack's threshold (`epsilon_per_sample`): how
    sure the best of its calls are. It describes, and no requirement bounds it. ``scores`` (N,) and ``is_member`` (N,)
    stay in the process: they are never printed, logged or written.
    """

    attack: str
    access: Access
    measurements: tuple[Measurement, ...] = ()
    error: str | None = None
    scores: NDArray[np.float64] | None = field(default=None, repr=False)
    is_member: NDArray[np.bool_] | None = field(default=None, repr=False)
    epsilon: float | None = None


@dataclass(frozen=True, eq=False)
class Attacker:
    """A fitted attack with its sign and threshold; one attacker can test many candidates."""

    attack: Attack
    fitted: FittedAttack = field(repr=False)
    sign: float
    threshold: float

    def test(self, target: Target, audit: AuditData, levels: Levels) -> AttackResult:
        """The attack's figures on ``audit``; whatever goes wrong comes back as ``error``, never as a number."""
        name, access = self.attack.name, self.attack.access
        try:
            scores = self.sign * _checked_scores(self.attack, self.fitted, target, audit)
            confusion = stats.confusion_at(scores, audit.is_member, self.threshold)
            return AttackResult(
                name,
                access,
                measure(name, scores, audit.is_member, self.threshold, levels),
                None,
                scores,
                audit.is_member,
                stats.epsilon_per_sample(confusion, levels.alpha),
            )
        except Exception as error:  # an attack that crashes is a finding, whoever wrote it
            return AttackResult(name, access, error=f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class BrokenAttacker:
    """Stands for an attack that could not be fitted; every test by it is an ERROR."""

    attack: Attack
    error: str

    def test(self, target: Target, audit: AuditData, levels: Levels) -> AttackResult:
        """The reason, as a result without numbers."""
        return AttackResult(self.attack.name, self.attack.access, error=self.error)


def simulate_attacker(
    attack: Attack, target: Target, audit: AuditData, *, generator: np.random.Generator
) -> Attacker | BrokenAttacker:
    """Fit ``attack`` on ``audit`` (members and non-members of the fitting pool) and orient it there.

    A real but inverted leak thus counts: the sign that separates the fitting pool is used elsewhere.
    """
    try:
        if attack.access > target.access:
            raise AttackError(
                f"The attack {attack.name!r} needs access to {attack.access.name}, the target grants only "
                f"{target.access.name}. Leave it out, or audit at the higher access."
            )
        fitted = attack.fit(target, audit, generator=generator)
        if fitted.threshold is not None:
            return Attacker(attack, fitted, 1.0, fitted.threshold)
        scores = _checked_scores(attack, fitted, target, audit)
        sign = 1.0 if stats.auc(scores, audit.is_member) >= 0.5 else -1.0
        return Attacker(attack, fitted, sign, stats.best_threshold(sign * scores, audit.is_member))
    except Exception as error:  # see Attacker.test
        return BrokenAttacker(attack, f"{type(error).__name__}: {error}")


def measure(
    name: str, scores: NDArray[np.float64], is_member: NDArray[np.bool_], threshold: float, levels: Levels
) -> tuple[Measurement, ...]:
    """AUC, balanced accuracy, advantage, and TPR at the fixed FPRs, each with its interval at both levels."""
    confusion = stats.confusion_at(scores, is_member, threshold)
    num_samples = len(scores)

    def measurement(metric: str, value: float, interval: Sequence[Interval]) -> Measurement:
        return Measurement(f"{name}.{metric}", value, interval[0], interval[1], num_samples, Direction.LOWER)

    alphas = (levels.alpha, levels.simultaneous_alpha)
    return (
        measurement("auc", stats.auc(scores, is_member), [stats.auc_interval(scores, is_member, a) for a in alphas]),
        measurement(
            "balanced_accuracy",
            confusion.balanced_accuracy,
            [stats.balanced_accuracy_interval(confusion, a) for a in alphas],
        ),
        measurement("advantage", confusion.advantage, [stats.advantage_interval(confusion, a) for a in alphas]),
        *(
            measurement(
                f"tpr@fpr={fpr:g}",
                stats.tpr_at_fpr(scores, is_member, fpr),
                [stats.tpr_at_fpr_interval(scores, is_member, fpr, a) for a in alphas],
            )
            for fpr in FPRS
        ),
    )


METRICS = ("auc", "balanced_accuracy", "advantage", *(f"tpr@fpr={fpr:g}" for fpr in FPRS))
"""The metrics that every attack reports, in order."""


def _checked_scores(attack: Attack, fitted: FittedAttack, target: Target, audit: AuditData) -> NDArray[np.float64]:
    """Scores of the right shape, finite, and not constant unless what the attack reads is constant too."""
    scores = np.asarray(fitted.score(target, audit), dtype=np.float64)
    if scores.shape != audit.is_member.shape:
        raise AttackError(
            f"{attack.name}: scores have shape {scores.shape}, the audit has {len(audit.is_member)} rows."
        )
    if not np.isfinite(scores).all():
        raise AttackError(f"{attack.name}: {(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite.")
    if len(scores) > 1 and (scores == scores[0]).all() and _signals_vary(attack, target, audit):
        raise AttackError(
            f"{attack.name}: the same score for all {len(scores)} rows, although the model's outputs differ between "
            "them. The attack is broken (saturated or collapsed), which says nothing about the model."
        )
    return scores


def _signals_vary(attack: Attack, target: Target, audit: AuditData) -> bool:
    """Whether what the attack reads differs between rows: its own ``varies`` when it has one, else the logits."""
    own = getattr(attack, "varies", None)
    if own is not None:
        return bool(own(target, audit))
    logits = target.signals(audit).logits_NC
    return bool((logits != logits[0]).any())
