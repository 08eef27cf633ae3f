"""The papers' black-box attacker: a two-branch net on prediction scores and label (Nasr, Shokri, Houmansadr 2018)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError, suggest
from safecompress.seeding import seeded


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

    def __post_init__(self) -> None:
        counts_fit = self.epochs >= 1 and self.patience >= 1 and self.batch_size >= 2
        if not (counts_fit and 0 < self.learning_rate < np.inf and 0 < self.holdout < 1):
            raise UsageError(
                "The neural attack needs epochs and patience of at least 1, batch_size of at least 2, a finite "
                f"learning_rate above 0 and holdout in (0, 1); got epochs={self.epochs}, patience={self.patience}, "
                f"batch_size={self.batch_size}, learning_rate={self.learning_rate}, holdout={self.holdout}."
            )
        if self.inputs not in READINGS:
            raise UsageError(f"The neural attack's inputs: {suggest(self.inputs, READINGS)}")

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedNeural:
        """The attacker net trained on the fitting rows. Raises AttackError when a side is too small."""
        signals = target.signals(audit)
        reader = Reader.fit(self.inputs, signals)
        inputs = reader.read(signals)
        is_member = torch.from_numpy(audit.is_member.astype(np.float32))
        fit_rows, held_rows = _split_holdout(audit.is_member, self.holdout, generator)
        with seeded(int(generator.integers(2**62))):
            net = AttackNet(*(branch.shape[1] for branch in inputs))
            optimizer = torch.optim.Adam(net.parameters(), lr=self.learning_rate, fused=True)
            best_loss, best_state, stale = np.inf, copy.deepcopy(net.state_dict()), 0
            for _ in range(self.epochs):
                order = fit_rows[torch.randperm(len(fit_rows))]
                for rows in torch.tensor_split(order, max(1, round(len(order) / self.batch_size))):
                    optimizer.zero_grad(set_to_none=True)
                    loss = binary_cross_entropy_with_logits(net(*(x[rows] for x in inputs)), is_member[rows])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                with torch.no_grad():
                    held = net(*(x[held_rows] for x in inputs))
                    held_loss = float(binary_cross_entropy_with_logits(held, is_member[held_rows]))
                if held_loss < best_loss:
                    best_loss, best_state, stale = held_loss, copy.deepcopy(net.state_dict()), 0
                else:
                    stale += 1
                    if stale >= self.patience:
                        break
        net.load_state_dict(best_state)
        return FittedNeural(net.eval(), reader)


class AttackNet(nn.Module):
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


@dataclass(frozen=True, eq=False)
class FittedNeural:
    """The trained attacker; calls rows with probability at least one half members."""

    net: AttackNet = field(repr=False)
    reader: Reader = field(repr=False)
    threshold: float | None = field(default=0.0, init=False)

    @torch.no_grad()
    def score(self, target: Target, audit: AuditData) -> Floats:
        """The net's membership logit."""
        logits: Floats = self.net(*self.reader.read(target.signals(audit))).double().numpy()
        return logits


def _paper(signals: Signals) -> tuple[Floats, Floats]:
    return np.exp(signals.log_probs_NC), np.empty((len(signals.labels_N), 0))


def _full(signals: Signals) -> tuple[Floats, Floats]:
    return np.sort(signals.log_probs_NC, axis=1)[:, ::-1], signals.scaled_logit_N[:, None]


READINGS: dict[str, Callable[[Signals], tuple[Floats, Floats]]] = {"full": _full, "paper": _paper}
"""Scores (N, C) and further label features (N, 0 or 1) that the two branches read, before standardisation."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Turns signals into the two branches' inputs, with columns standardised on the fitting rows (``full`` only)."""

    reading: str
    shift: tuple[Floats, Floats] = field(repr=False)
    scale: tuple[Floats, Floats] = field(repr=False)

    @classmethod
    def fit(cls, reading: str, signals: Signals) -> Reader:
        """The reader whose columns have mean 0 and deviation 1 on ``signals``."""
        scores, extra = READINGS[reading](signals)
        if reading == "paper":
            return cls(reading, (np.zeros(1), np.zeros(0)), (np.ones(1), np.ones(0)))
        return cls(reading, (scores.mean(0), extra.mean(0)), (_deviation(scores), _deviation(extra)))

    def read(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """Float32 inputs of the scores branch (N, S) and of the label branch (N, L)."""
        scores, extra = (
            torch.from_numpy(((values - shift) / scale).astype(np.float32))
            for values, shift, scale in zip(READINGS[self.reading](signals), self.shift, self.scale, strict=True)
        )
        label = one_hot(torch.from_numpy(signals.labels_N), signals.logits_NC.shape[1])
        return scores, torch.cat([label.float(), extra], dim=1)


def _deviation(values: Floats) -> Floats:
    """Standard deviations by column; 1 where a column differs by no more than the rounding of its mean."""
    deviation = values.std(axis=0)
    return np.where(deviation > 1e-12 * np.abs(values).max(axis=0), deviation, 1.0)


def _split_holdout(is_member: np.ndarray, holdout: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Row indices to fit and to hold out: the same share of members and of non-members."""
    fit: list[np.ndarray] = []
    held: list[np.ndarray] = []
    for side in (True, False):
        rows = generator.permutation(np.flatnonzero(is_member == side))
        cut = round(holdout * len(rows))
        held.append(rows[:cut])
        fit.append(rows[cut:])
    if min(len(part) for part in [*fit, *held]) < 2:
        raise AttackError(
            f"The fitting pool ({int(is_member.sum())} members, {int((~is_member).sum())} non-members) is too "
            f"small for the neural attack: it needs at least 2 of each to fit and 2 to hold out (holdout {holdout:g}). "
            "Give member_fit and nonmember_fit more rows."
        )
    return torch.from_numpy(np.concatenate(fit)), torch.from_numpy(np.concatenate(held))
