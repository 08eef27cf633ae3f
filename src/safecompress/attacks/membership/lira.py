"""LiRA: is what the target says of a row likelier under models that trained on it, or under models that did not?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from safecompress.attacks.membership import likelihood
from safecompress.attacks.membership.likelihood import VARIANCES, Bools, Variance
from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import UsageError, suggest
from safecompress.metrics import stats

Mode = Literal["online", "offline"]

MODES = ("online", "offline")
"""Shadows with and without the row, or only those without it."""

Signal = Literal["label", "all"]

SIGNALS = ("label", "all")
"""What of a model's answer is compared: the scaled logit of the row's label, or every class's log-probability too."""

_SIGN_ALPHA = 0.001


class ShadowAttack(Protocol):
    """An attack whose score is a comparison of the target with its shadows."""

    def compare(self, target: Target, audit: AuditData) -> Floats:
        """Scores (N,), higher = more likely a member by what shadows say."""
        ...


class ComparesWithShadows:
    """What attacks by shadows share: sign and threshold from the fitting rows, and when a constant score is honest."""

    num_shadows: int

    def compare(self, target: Target, audit: AuditData) -> Floats:
        """Scores (N,), higher = more likely a member by what shadows say."""
        raise NotImplementedError

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedComparison:
        """The comparison with the threshold that is best for balanced accuracy on the fitting rows.

        The threshold is fitted although a likelihood ratio has a natural one: where the target is not quite what its
        shadows are, all scores shift together, and only rows with known membership show by how much. The sign is not
        fitted: shadows know which way training moves a row, and a small leak on a small pool would come out inverted by
        noise now and then. It turns only where the fitting rows refute it: their AUC's interval at 99.9 % lies under
        one half.
        """
        scores = self.compare(target, audit)
        is_inverted = stats.auc_interval(scores, audit.is_member, _SIGN_ALPHA).high < 0.5
        scores = -scores if is_inverted else scores
        best = stats.best_threshold(scores, audit.is_member)
        threshold = float(np.clip(best, scores.min(), scores.max()))  # it may be infinite: nobody, or everybody
        return FittedComparison(self, -1.0 if is_inverted else 1.0, threshold)

    def varies(self, target: Target, audit: AuditData) -> bool:
        """Whether target and shadows differ by more on some rows than on others: else there is nothing to compare."""
        outputs = target.shadows.outputs(audit, count=self.num_shadows)
        gap_KN = target.signals(audit).scaled_logit_N - outputs.scaled_logit_KQN[:, 0]
        return bool((gap_KN != gap_KN[0, 0]).any())


@dataclass(frozen=True)
class FittedComparison:
    """A comparison with its sign; calls rows at or above ``threshold`` members."""

    attack: ShadowAttack
    sign: float
    threshold: float | None

    def score(self, target: Target, audit: AuditData) -> Floats:
        """The comparison's scores, turned by the sign."""
        return self.sign * self.attack.compare(target, audit)


@dataclass(frozen=True)
class Lira(ComparesWithShadows):
    """The likelihood ratio attack (Carlini et al. 2022) on the scaled logit, with ``num_shadows`` shadows.

    ``mode``: online compares shadows with and without the row (a log likelihood ratio), offline only those without it
    (a z-score). ``variance``: how rows share what they know of their spread, see ``likelihood.lira_online``.
    ``queries``: over how many fixed variants of a row scores are averaged. ``signal``: "label" reads the scaled logit
    of the row's label; "all" adds what the log-probabilities of all classes say (online, of the row itself), both in
    units of their spread over the rows. The latter finds more where training softens labels, .03 AUC on Location-30
    where other models' probabilities are the labels, and less where labels are plain.

    Scoring raises AttackError for rows with fewer than two shadows on a side that the mode reads. Differs from the
    paper: ``variance`` is shrunken by default, where the paper has per-sample variances from 64 shadows on.
    """

    num_shadows: int = 16
    mode: Mode = "online"
    variance: Variance = "shrunken"
    queries: int = 1
    signal: Signal = "label"
    name: str = field(default="lira", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        require_num_shadows(self.name, self.num_shadows, 4)
        require_mode(self.name, self.mode)
        if self.variance not in VARIANCES:
            raise UsageError(f"The variance of lira is {self.variance!r}. {suggest(str(self.variance), VARIANCES)}")
        if self.signal not in SIGNALS:
            raise UsageError(f"The signal of lira is {self.signal!r}. {suggest(str(self.signal), SIGNALS)}")
        if self.signal == "all" and self.mode == "offline":
            raise UsageError('lira reads all classes online only. Use mode="online", or signal="label".')
        if self.queries < 1:
            raise UsageError(f"lira asks each row {self.queries} times. Give queries of at least 1: the row itself.")

    def compare(self, target: Target, audit: AuditData) -> Floats:
        """The log likelihood ratio (online), or the z-score (offline)."""
        outputs = target.shadows.outputs(audit, count=self.num_shadows, queries=self.queries)
        phi_QN = np.stack([target.query(audit, query).scaled_logit_N for query in range(self.queries)])
        score = likelihood.lira_online if self.mode == "online" else likelihood.lira_offline
        by_label = score(phi_QN, outputs.scaled_logit_KQN, outputs.is_in_KN, variance=self.variance)
        if self.signal == "label":
            return by_label
        log_p_NC = target.signals(audit).centred_log_probs_NC
        log_p_KNC = np.stack([signals.centred_log_probs_NC for signals in outputs.signals_K])
        by_class = likelihood.lira_classes(log_p_NC, log_p_KNC, outputs.is_in_KN)
        return likelihood.sum_of_standard_scores(by_label, by_class)


def phi_and_shadows(
    target: Target, audit: AuditData, count: int, *, temperature: float = 1.0
) -> tuple[Floats, Floats, Bools]:
    """phi of the target (N,) and of ``count`` shadows (K, N) for the rows themselves, and who is in (K, N).

    Logits are divided by ``temperature`` first.
    """
    outputs = target.shadows.outputs(audit, count=count)
    phi_N, phi_KN = target.signals(audit).scaled_logit_N, outputs.scaled_logit_KQN[:, 0]
    if temperature != 1:
        phi_N = target.signals(audit).at_temperature(temperature).scaled_logit_N
        phi_KN = np.stack([signals.at_temperature(temperature).scaled_logit_N for signals in outputs.signals_K])
    return phi_N, phi_KN, outputs.is_in_KN


def require_num_shadows(name: str, num_shadows: int, least: int) -> None:
    """Raise UsageError unless there are at least ``least`` shadows."""
    if num_shadows < least:
        raise UsageError(
            f"{name} has num_shadows={num_shadows} and needs at least {least}: half of them train on a row, half do "
            "not. 16 is usual, 64 is strong."
        )


def require_mode(name: str, mode: str) -> None:
    """Raise UsageError unless ``mode`` is one of ``MODES``."""
    if mode not in MODES:
        raise UsageError(f"The mode of {name} is {mode!r}. {suggest(str(mode), MODES)}")
