"""LiRA: is what the target says of a row likelier under models that trained on it, or under models that did not?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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


MOST_GROUPS = 16
"""Groups of shadows that are taken into one half or the other: fifteen splits, thirty more looks at answers known."""


@dataclass(frozen=True, eq=False)
class ShadowAnswers:
    """What is compared: phi of the target, phi of K shadows (first axis), and which of them trained on each row.

    ``row_axis`` is where rows lie in the first two, counted from the end. ``classes`` are centred log-probabilities of
    all classes, of the target (N, C) and of the shadows (K, N, C), for an attack that reads them.
    """

    target: Floats = field(repr=False)
    shadows: Floats = field(repr=False)
    is_in_KN: Bools = field(repr=False)
    row_axis: int = -1
    classes: tuple[Floats, Floats] | None = field(default=None, repr=False)

    def of(self, numbers: NDArray[np.int64]) -> ShadowAnswers:
        """The same by some of the shadows only."""
        classes = None if self.classes is None else (self.classes[0], self.classes[1][numbers])
        return replace(self, shadows=self.shadows[numbers], is_in_KN=self.is_in_KN[numbers], classes=classes)

    def of_rows(self, places: NDArray[np.int64]) -> ShadowAnswers:
        """The same of some of the rows only."""
        target, shadows = (np.take(phi, places, axis=self.row_axis) for phi in (self.target, self.shadows))
        classes = None if self.classes is None else (self.classes[0][places], self.classes[1][:, places])
        return replace(self, target=target, shadows=shadows, is_in_KN=self.is_in_KN[:, places], classes=classes)


class ComparesWithShadows:
    """What attacks by shadows share: sign and threshold from the fitting rows, and when a constant score is honest.

    An attack gathers ``answers`` and says how to ``rate`` rows by them.
    """

    num_shadows: int

    def answers(self, target: Target, audit: AuditData) -> ShadowAnswers:
        """What target and shadows say of the rows."""
        raise NotImplementedError

    def rate(self, answers: ShadowAnswers) -> Floats:
        """Scores (N,), higher = more likely a member by what shadows say."""
        raise NotImplementedError

    def compare(self, target: Target, audit: AuditData) -> Floats:
        """Scores (N,) by all shadows."""
        return self.rate(self.answers(target, audit))

    def rate_halves(self, answers: ShadowAnswers) -> Floats | None:
        """Scores (S, 2, N) by either half of the shadows; None for fewer than eight shadows.

        A row is NaN in both halves of a split in which it has fewer than two shadows of a kind, with it or without it,
        that it has two of among all shadows. Splits that leave out more than half of the rows are left out.
        """
        needed_N = [np.minimum(side.sum(axis=0), 2) for side in (answers.is_in_KN, ~answers.is_in_KN)]
        scores_SHN = []
        for halves in stats.split_halves(len(answers.shadows), MOST_GROUPS):
            parts = [answers.of(half) for half in halves]
            is_enough_N = np.all(
                [
                    (part.is_in_KN.sum(axis=0) >= needed_N[0]) & ((~part.is_in_KN).sum(axis=0) >= needed_N[1])
                    for part in parts
                ],
                axis=0,
            )
            if 2 * np.count_nonzero(is_enough_N) < len(is_enough_N):
                continue
            scores_HN = np.full((2, len(is_enough_N)), np.nan)
            scores_HN[:, is_enough_N] = [self.rate(part.of_rows(np.flatnonzero(is_enough_N))) for part in parts]
            scores_SHN.append(scores_HN)
        return np.array(scores_SHN) if scores_SHN else None

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

    attack: ComparesWithShadows
    sign: float
    threshold: float | None

    def score(self, target: Target, audit: AuditData) -> Floats:
        """The comparison's scores, turned by the sign."""
        return self.sign * self.attack.compare(target, audit)

    def score_halves(self, target: Target, audit: AuditData) -> Floats | None:
        """The scores by either half of the shadows, turned by the sign; None where they are too few to be split."""
        halves_SHN = self.attack.rate_halves(self.attack.answers(target, audit))
        return None if halves_SHN is None else self.sign * halves_SHN


@dataclass(frozen=True)
class Lira(ComparesWithShadows):
    """The likelihood ratio attack (Carlini et al. 2022) on the scaled logit, with ``num_shadows`` shadows.

    ``mode``: online compares shadows with and without the row (a log likelihood ratio), offline only those without it
    (a z-score). ``variance``: how rows share what they know of their spread, see ``likelihood.lira_online``.
    ``queries``: over how many fixed variants of a row scores are averaged. ``signal``: "label" reads the scaled logit
    of the row's label; "all" adds what the log-probabilities of all classes say (online, of the row itself), both in
    units of their spread over the rows. It is there for training with soft labels, which may hide from the label's
    score. With 8 shadows on Location-30 it found less than the label after seven kinds of training, soft labels among
    them (``benchmarks/results/lira-signals.md``): it stands beside the label, not in its place.

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

    def answers(self, target: Target, audit: AuditData) -> ShadowAnswers:
        """phi of the target (Q, N) and of shadows (K, Q, N)."""
        outputs = target.shadows.outputs(audit, count=self.num_shadows, queries=self.queries)
        phi_QN = np.stack([target.query(audit, query).scaled_logit_N for query in range(self.queries)])
        classes = None
        if self.signal == "all":
            log_p_KNC = np.stack([signals.centred_log_probs_NC for signals in outputs.signals_K])
            classes = target.signals(audit).centred_log_probs_NC, log_p_KNC
        return ShadowAnswers(phi_QN, outputs.scaled_logit_KQN, outputs.is_in_KN, classes=classes)

    def rate(self, answers: ShadowAnswers) -> Floats:
        """The log likelihood ratio (online), or the z-score (offline)."""
        score = likelihood.lira_online if self.mode == "online" else likelihood.lira_offline
        by_label = score(answers.target, answers.shadows, answers.is_in_KN, variance=self.variance)
        if answers.classes is None:
            return by_label
        by_class = likelihood.lira_classes(*answers.classes, answers.is_in_KN)
        return likelihood.sum_of_standard_scores(by_label, by_class)


def phi_and_shadows(target: Target, audit: AuditData, count: int, *, temperature: float = 1.0) -> ShadowAnswers:
    """phi of the target (N,) and of ``count`` shadows (K, N) for the rows themselves.

    Logits are divided by ``temperature`` first.
    """
    outputs = target.shadows.outputs(audit, count=count)
    phi_N, phi_KN = target.signals(audit).scaled_logit_N, outputs.scaled_logit_KQN[:, 0]
    if temperature != 1:
        phi_N = target.signals(audit).at_temperature(temperature).scaled_logit_N
        phi_KN = np.stack([signals.at_temperature(temperature).scaled_logit_N for signals in outputs.signals_K])
    return ShadowAnswers(phi_N, phi_KN, outputs.is_in_KN)


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
