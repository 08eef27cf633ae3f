"""Attacks that compare one signal with a threshold: gap, loss, confidence, entropy, modified entropy. Milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.metrics import stats

MIN_ROWS_PER_CLASS = 20
"""Fewest members, and fewest non-members, from which modified entropy fits a threshold for a class of its own."""


class _ReadsSignal:
    """An attack that is a signal and nothing else: there is nothing to fit but sign and threshold."""

    threshold: ClassVar[float | None] = None

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> Self:
        """Itself."""
        return self


@dataclass(frozen=True)
class Gap(_ReadsSignal):
    """Member if classified right: what the generalisation gap alone gives away (Yeom et al. 2018)."""

    name: str = field(default="gap", init=False)
    access: Access = field(default=Access.LABELS, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """1 where the prediction is right, else 0."""
        return target.signals(audit).is_correct_N.astype(np.float64)

    def varies(self, target: Target, audit: AuditData) -> bool:
        """Right and wrong answers both occur; a model that is always right gives this attack nothing to read."""
        return bool(np.ptp(self.score(target, audit)) > 0)


@dataclass(frozen=True)
class Loss(_ReadsSignal):
    """Member if the loss is small (Yeom et al. 2018); scored by the scaled logit: same order, no saturation."""

    name: str = field(default="loss", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """log(p_y / (1 - p_y))."""
        return target.signals(audit).scaled_logit_N


@dataclass(frozen=True)
class Confidence(_ReadsSignal):
    """Member if the largest probability is large, whatever the label (Salem et al. 2019, third adversary)."""

    name: str = field(default="confidence", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """log(p_max / (1 - p_max))."""
        return target.signals(audit).top_margin_N


@dataclass(frozen=True)
class Entropy(_ReadsSignal):
    """Member if the prediction's entropy is small (Salem et al. 2019)."""

    name: str = field(default="entropy", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """Minus the entropy in nats."""
        return -target.signals(audit).entropy_N


@dataclass(frozen=True)
class ModifiedEntropy:
    """Member if the modified entropy is under its class's threshold (Song & Mittal 2021).

    Differs from the paper: a class with fewer than 20 fitting members or non-members uses the threshold of all classes.
    """

    name: str = field(default="modified_entropy", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> PerClassThreshold:
        """Thresholds by class, each the best for balanced accuracy on the fitting rows."""
        score = -target.signals(audit).modified_entropy_N
        labels = audit.labels.numpy()
        shared = _finite(stats.best_threshold(score, audit.is_member), score)
        thresholds = {}
        for label in np.unique(labels):
            rows = labels == label
            members = int(audit.is_member[rows].sum())
            if min(members, int(rows.sum()) - members) >= MIN_ROWS_PER_CLASS:
                best = stats.best_threshold(score[rows], audit.is_member[rows])
                thresholds[int(label)] = _finite(best, score[rows])
        return PerClassThreshold(thresholds, shared)


@dataclass(frozen=True)
class PerClassThreshold:
    """Modified entropy relative to its class's threshold."""

    thresholds: dict[int, float]
    shared: float
    threshold: float | None = field(default=None, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """Minus the modified entropy, minus the threshold of the row's class."""
        offsets = np.array([self.thresholds.get(int(label), self.shared) for label in audit.labels])
        return np.asarray(-target.signals(audit).modified_entropy_N - offsets)


def _finite(threshold: float, scores: NDArray[np.float64]) -> float:
    """The threshold, or the end of the scores' range where the best rule calls all or none members."""
    return float(np.clip(threshold, scores.min(), scores.max()))
