"""What an attack is, how one is simulated on the fitting pool, and how its evidence becomes measurements.

An attack only has to give scores per row (higher = more likely a member), or, for a question that counts successes, a
tally. Orientation, threshold, figures, intervals and the checks that turn a broken attack into an ERROR are the same
for all and live here and with the question.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks.capabilities import capabilities_of
from safecompress.attacks.evidence import Evidence, Ranking, Tally
from safecompress.attacks.questions import MEMBERSHIP, Question
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels, Measurement


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
class HasHalves(Protocol):
    """An attacker whose scores hang on a draw of shadow models."""

    def score_halves(self, target: Target, audit: AuditData) -> NDArray[np.float64] | None:
        """Scores (S, 2, N) by either half of the shadows, for S splits; None where they are too few to be split."""
        ...


@runtime_checkable
class FittedTally(Protocol):
    """An attacker ready to count successes, for questions that take a `Tally`."""

    def tally(self, target: Target, audit: AuditData) -> Tally:
        """On which rows (N,) it succeeds, and which count."""
        ...


@runtime_checkable
class Attack(Protocol):
    """An attack, as a frozen value. What it may say of itself beyond this is in capabilities.py."""

    @property
    def name(self) -> str:
        """The first part of its metrics' names."""
        ...

    @property
    def access(self) -> Access:
        """What it needs to be given."""
        ...

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedAttack | FittedTally:
        """The attacker that has seen ``audit`` with its membership labels."""
        ...


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What one attack found on one model: aggregates, or the reason why there are none.

    ``epsilon`` is a lower limit on ln(TPR / FPR) or ln(TNR / FNR) at the attack's threshold (`epsilon_per_sample`): how
    sure the best of its calls are. It describes, and no requirement bounds it. ``evidence`` is what it found row by
    row, in answer to ``question``; it stays in the process and is never printed, logged or written. ``largest_of`` are
    the results that this one takes the largest figures of, where other attacks run beside it; its own is the first.
    """

    attack: str
    access: Access
    measurements: tuple[Measurement, ...] = ()
    error: str | None = None
    evidence: Evidence | None = field(default=None, repr=False)
    epsilon: float | None = None
    question: Question = MEMBERSHIP
    largest_of: tuple[AttackResult, ...] = field(default=(), repr=False)

    @property
    def ranking(self) -> Ranking | None:
        """The evidence, where it is one of scores; None for a tally and for an attack that broke."""
        return self.evidence if isinstance(self.evidence, Ranking) else None

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """The scores (N,) of a ranking."""
        return None if self.ranking is None else self.ranking.scores_N

    @property
    def is_member(self) -> NDArray[np.bool_] | None:
        """Who is a member (N,), for a ranking."""
        return None if self.ranking is None else self.ranking.truth_N


@dataclass(frozen=True, eq=False)
class Attacker:
    """A fitted attack with its sign and threshold; one attacker can test many candidates."""

    attack: Attack
    fitted: FittedAttack | FittedTally = field(repr=False)
    sign: float = 1.0
    threshold: float = 0.0

    def test(self, target: Target, audit: AuditData, levels: Levels) -> AttackResult:
        """The attack's figures on ``audit``; whatever goes wrong comes back as ``error``, never as a number."""
        name, access = self.attack.name, self.attack.access
        question = capabilities_of(self.attack).question
        try:
            evidence = self._collect(target, audit)
            figures = question.measure(name, evidence, levels)
            epsilon = question.epsilon(evidence, levels.alpha)
            return AttackResult(name, access, figures, None, evidence, epsilon, question)
        except Exception as error:  # an attack that crashes is a finding, whoever wrote it
            return AttackResult(name, access, error=f"{type(error).__name__}: {error}", question=question)

    def _collect(self, target: Target, audit: AuditData) -> Evidence:
        if isinstance(self.fitted, FittedTally):
            return _checked_tally(self.attack, self.fitted.tally(target, audit), audit)
        scores = self.sign * _checked_scores(self.attack, self.fitted, target, audit)
        halves_SHN = self.fitted.score_halves(target, audit) if isinstance(self.fitted, HasHalves) else None
        if halves_SHN is not None:
            halves_SHN = self.sign * _checked_halves(self.attack, halves_SHN, scores)
        return Ranking(scores, audit.is_member, self.threshold, halves_SHN)


@dataclass(frozen=True)
class FailedAttacker:
    """Placeholder for an attack that failed to fit; testing with it always yields an ERROR."""

    attack: Attack
    error: str

    def test(self, target: Target, audit: AuditData, levels: Levels) -> AttackResult:
        """The reason, as a result without numbers."""
        question = capabilities_of(self.attack).question
        return AttackResult(self.attack.name, self.attack.access, error=self.error, question=question)


def simulate_attacker(
    attack: Attack, target: Target, audit: AuditData, *, generator: np.random.Generator
) -> Attacker | FailedAttacker:
    """Fit ``attack`` on ``audit`` (for membership: members and non-members of the fitting pool) and orient it there.

    A real but inverted leak thus counts: the sign that separates the fitting pool is used elsewhere.
    """
    try:
        if attack.access > target.access:
            raise AttackError(
                f"The attack {attack.name!r} needs access to {attack.access.name}, the target grants only "
                f"{target.access.name}. Leave it out, or audit at the higher access."
            )
        fitted = attack.fit(target, audit, generator=generator)
        if isinstance(fitted, FittedTally):
            return Attacker(attack, fitted)
        if fitted.threshold is not None:
            return Attacker(attack, fitted, 1.0, fitted.threshold)
        scores = _checked_scores(attack, fitted, target, audit)
        sign = 1.0 if stats.auc(scores, audit.is_member) >= 0.5 else -1.0
        return Attacker(attack, fitted, sign, stats.best_threshold(sign * scores, audit.is_member))
    except Exception as error:  # see Attacker.test
        return FailedAttacker(attack, f"{type(error).__name__}: {error}")


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


def _checked_halves(
    attack: Attack, halves_SHN: NDArray[np.float64], scores_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The scores by halves of the shadows: of as many rows as there are scores, finite or, in both halves, NaN."""
    is_shaped = halves_SHN.ndim == 3 and halves_SHN.shape[1:] == (2, *scores_N.shape)
    if not is_shaped or np.isinf(halves_SHN).any() or (np.isnan(halves_SHN[:, 0]) != np.isnan(halves_SHN[:, 1])).any():
        raise AttackError(
            f"{attack.name}: scores by halves of the shadows have shape {halves_SHN.shape}. Give finite numbers of "
            f"shape (S, 2, {len(scores_N)}), NaN in both halves for a row without enough shadows, or None for too few."
        )
    return halves_SHN


def _checked_tally(attack: Attack, tally: Tally, audit: AuditData) -> Tally:
    """A tally of all rows of the audit."""
    if not isinstance(tally, Tally) or len(tally.is_hit_N) != len(audit.labels):
        got = f"{len(tally.is_hit_N)} rows" if isinstance(tally, Tally) else f"a {type(tally).__name__}"
        raise AttackError(f"{attack.name}: a tally of {len(audit.labels)} rows was asked for, and it gave {got}.")
    return tally


def _signals_vary(attack: Attack, target: Target, audit: AuditData) -> bool:
    """Whether what the attack reads differs between rows: its own ``varies`` when it has one, else the logits."""
    own = capabilities_of(attack).varies
    if own is not None:
        return bool(own(target, audit))
    logits = target.signals(audit).logits_NC
    return bool((logits != logits[0]).any())
