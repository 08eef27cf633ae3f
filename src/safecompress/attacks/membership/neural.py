"""The papers' black-box attacker: a two-branch net on prediction scores and label (Nasr, Shokri, Houmansadr 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from safecompress.attacks.membership.attacknet import Columns, FittedNet, check_options, train_net
from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData


@dataclass(frozen=True)
class Neural:
    """Two branches, scores C-1024-512-64 and label C-512-64, fused 128-256-64-1; ReLU, sigmoid, BCE, Adam 1e-3.

    ``holdout`` of the fitting rows are kept from training and choose the epoch; training stops when they have not
    improved for ``patience`` epochs. The target's forward pass runs once, whatever the number of epochs.

    ``inputs`` says what the branches read. ``paper``: probabilities, and the one-hot label. ``full`` (the default):
    log-probabilities in descending order, and the one-hot label beside the scaled logit log(p_y / (1 - p_y)); the same
    access, but what a net would have to learn from thousands of rows (which score is the label's) is given to it.

    Differs from the paper: the best epoch is chosen on held-out fitting rows, never on the rows it is reported on; and
    the default ``inputs``, without which this attack finds less than the plain loss does.
    """

    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    holdout: float = 0.25
    inputs: Literal["full", "paper"] = "full"
    name: str = field(default="neural", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_options(self, READINGS)

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedNet:
        """The attacker net trained on the fitting rows. Raises AttackError when a side is too small."""
        reader = SignalReader.fit(self.inputs, target.signals(audit))
        inputs = reader.read(target, audit)
        widths = [branch.shape[1] for branch in inputs]
        return FittedNet(
            train_net(lambda: NeuralNet(*widths), inputs, audit.is_member, self, generator=generator), reader
        )


class NeuralNet(nn.Module):
    """Membership logit (N,) from scores (N, S) and label features (N, L)."""

    def __init__(self, num_scores: int, num_label_features: int) -> None:
        super().__init__()
        self.scores = nn.Sequential(
            nn.Linear(num_scores, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU()
        )
        self.label = nn.Sequential(nn.Linear(num_label_features, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU())
        self.fused = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, scores_NS: Tensor, label_NL: Tensor) -> Tensor:
        """The logit of "is a member"."""
        joined = torch.cat([self.scores(scores_NS), self.label(label_NL)], dim=1)
        logit: Tensor = self.fused(joined).squeeze(1)
        return logit


def _paper(signals: Signals) -> tuple[Floats, Floats]:
    return np.exp(signals.log_probs_NC), np.empty((len(signals.labels_N), 0))


def _full(signals: Signals) -> tuple[Floats, Floats]:
    return np.sort(signals.log_probs_NC, axis=1)[:, ::-1], signals.scaled_logit_N[:, None]


READINGS: dict[str, Callable[[Signals], tuple[Floats, Floats]]] = {"full": _full, "paper": _paper}
"""Scores (N, C) and further label features (N, 0 or 1) that the two branches read, before standardisation."""


@dataclass(frozen=True, eq=False)
class SignalReader:
    """Turns signals into the two branches' inputs, with columns standardised on the fitting rows (``full`` only)."""

    reading: str
    scores: Columns
    extra: Columns

    @classmethod
    def fit(cls, reading: str, signals: Signals) -> SignalReader:
        """The reader whose columns have mean 0 and deviation 1 on ``signals``."""
        make = Columns.unchanged if reading == "paper" else Columns.fit
        return cls(reading, *(make(values) for values in READINGS[reading](signals)))

    def read(self, target: Target, audit: AuditData) -> tuple[Tensor, Tensor]:
        """Float32 inputs of the scores branch (N, S) and of the label branch (N, L)."""
        signals = target.signals(audit)
        scores, extra = READINGS[self.reading](signals)
        label = one_hot(torch.from_numpy(signals.labels_N), signals.logits_NC.shape[1])
        return self.scores.read(scores), torch.cat([label.float(), self.extra.read(extra)], dim=1)
