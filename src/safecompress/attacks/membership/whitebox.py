"""The papers' white-box attacker: a net on scores, loss, label and the last layer's gradient (Nasr et al. 2019).

N rows, C classes, H inputs of the last linear layer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from safecompress.attacks.lastlayer import gradient_norms, logit_gradients
from safecompress.attacks.membership.attacknet import Columns, FittedNet, check_options, train_net
from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import UsageError, suggest

Reading = Literal["full", "paper"]
Gradients = Literal["last", "all"]

DROPOUT = 0.2
FACTORS_DROPOUT = 0.6
"""At the factors' branch, whose hundreds of columns a net memorises from some hundred rows."""

MATRIX_ROWS = 128
"""How many gradient matrices exist at once when rows are scored."""

SMALLEST_NORM = 1e-12
"""Added to norms before the logarithm: below it a gradient is nothing."""


@dataclass(frozen=True)
class WhiteBox:
    """Four branches: scores C-128-64, loss 1-128-64, label C-128-64, last-layer gradient; fused 256-256-128-64-1.

    The gradient of the loss for the last layer's weights is the outer product of p - onehot(y) and h, the layer's
    input; both come from the forward pass that gives the scores. ``gradients="all"`` adds the norms of the gradients
    for all layers, which take a backward pass for every row (``inputs="full"`` only).

    ``inputs`` says what the branches read. ``paper``: probabilities, cross entropy, one-hot label, and the C x H
    gradient through conv 5x5, batch norm, pooling and 256-128-64. ``full`` (the default): log-probabilities in
    descending order, the scaled logit log(p_y / (1 - p_y)), one-hot label, and the gradient's two factors beside the
    logarithms of their norms, through 128-64; the same information in C + H numbers instead of C x H.

    A model whose logits do not come straight from a linear layer is read as if a bias were added to them: h is 1, and
    the gradient p - onehot(y).

    Differs from the paper: the best epoch is chosen on held-out fitting rows, never on the rows it is reported on; and
    the default ``inputs``, whose factors' branch has a dropout of 0.6 at its entrance.
    """

    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    holdout: float = 0.25
    inputs: Reading = "full"
    gradients: Gradients = "last"
    name: str = field(default="whitebox", init=False)
    access: Access = field(default=Access.WEIGHTS, init=False)
    tier: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_options(self, get_args(Reading))
        if self.gradients not in get_args(Gradients):
            raise UsageError(f"The whitebox attack's gradients: {suggest(self.gradients, get_args(Gradients))}")
        if self.inputs == "paper" and self.gradients == "all":
            raise UsageError(
                'The whitebox attack got inputs="paper" with gradients="all", but the paper\'s net has no branch for '
                'the other layers. Choose inputs="full", or gradients="last".'
            )

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedNet:
        """The attacker net trained on the fitting rows. Raises AttackError when a side is too small."""
        reader = BranchReader.fit(self.inputs, self.gradients, target, audit)
        inputs = reader.read(target, audit)
        scores, _, label, *gradient = (branch.shape[1] for branch in inputs)

        def build() -> WhiteBoxNet:
            if self.inputs == "paper":
                return WhiteBoxNet(scores, label, MatrixBranch(*gradient))
            return WhiteBoxNet(scores, label, _branch(*gradient, 128, 64, entrance=FACTORS_DROPOUT))

        net = train_net(build, inputs, audit.is_member, self, generator=generator)
        return FittedNet(net.double(), reader)


class WhiteBoxNet(nn.Module):
    """Membership logit (N,) from scores (N, C), loss (N, 1), one-hot label (N, C) and what ``gradient`` reads."""

    def __init__(self, num_scores: int, num_classes: int, gradient: nn.Module) -> None:
        super().__init__()
        self.scores = _branch(num_scores, 128, 64)
        self.loss = _branch(1, 128, 64, dropout=0.0)  # one number: to drop it is to drop the branch
        self.label = _branch(num_classes, 128, 64)
        self.gradient = gradient
        self.fused = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, scores_NC: Tensor, loss_N1: Tensor, label_NC: Tensor, *gradient: Tensor) -> Tensor:
        """The logit of "is a member"."""
        branches = [self.scores(scores_NC), self.loss(loss_N1), self.label(label_NC), self.gradient(*gradient)]
        logit_N: Tensor = self.fused(torch.cat(branches, dim=1)).squeeze(1)
        return logit_N


class MatrixBranch(nn.Module):
    """The paper's gradient branch: (N, 64) from gradients (C, H), each built from its factors when it is needed."""

    def __init__(self, num_outer: int, num_inner: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv2d(1, 1, kernel_size=5, padding=2), nn.BatchNorm2d(1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)
        )  # pooling rounds up: without a linear layer there is a single column
        self.dense = _branch((num_outer + 1) // 2 * ((num_inner + 1) // 2), 256, 128, 64)

    def forward(self, outer_NC: Tensor, inner_NH: Tensor) -> Tensor:
        """A batch in training is one portion (batch norm counts over it); rows to be scored go in portions."""
        size = len(outer_NC) if self.training else MATRIX_ROWS
        portions = zip(torch.split(outer_NC, size), torch.split(inner_NH, size), strict=True)
        return torch.cat([self._portion(outer_BC, inner_BH) for outer_BC, inner_BH in portions])

    def _portion(self, outer_BC: Tensor, inner_BH: Tensor) -> Tensor:
        matrices = outer_BC[:, None, :, None] * inner_BH[:, None, None, :]
        out: Tensor = self.dense(self.convolve(matrices).flatten(1))
        return out


def _branch(*widths: int, dropout: float = DROPOUT, entrance: float | None = None) -> nn.Sequential:
    """Linear layers of these widths, each with dropout before it and ReLU behind it."""
    layers = nn.Sequential()
    for place, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        share = dropout if place or entrance is None else entrance
        layers.extend([nn.Dropout(share), nn.Linear(width_in, width_out), nn.ReLU()])
    return layers


@dataclass(frozen=True, eq=False)
class BranchReader:
    """Turns what the target says into the branches' inputs; ``full`` has columns standardised on the fitting rows."""

    reading: Reading
    gradients: Gradients
    columns: tuple[Columns, ...]

    @classmethod
    def fit(cls, reading: Reading, gradients: Gradients, target: Target, audit: AuditData) -> BranchReader:
        """The reader whose columns have mean 0 and deviation 1 on these rows; ``paper`` leaves them as they are."""
        make = Columns.unchanged if reading == "paper" else Columns.fit
        return cls(reading, gradients, tuple(make(values) for values in _values(reading, gradients, target, audit)))

    def read(self, target: Target, audit: AuditData) -> tuple[Tensor, ...]:
        """Float32 inputs: scores (N, C), loss (N, 1), one-hot label (N, C), then the gradient branch's."""
        values = _values(self.reading, self.gradients, target, audit)
        scores, loss, *gradient = (columns.read(branch) for columns, branch in zip(self.columns, values, strict=True))
        signals = target.signals(audit)
        label = one_hot(torch.from_numpy(signals.labels_N), signals.logits_NC.shape[1])
        return scores, loss, label.float(), *gradient


def _values(reading: Reading, gradients: Gradients, target: Target, audit: AuditData) -> tuple[Floats, ...]:
    """What all branches but the label's read, before standardisation."""
    signals = target.signals(audit)
    outer_NC, inner_NH = gradient_factors(signals)
    if reading == "paper":
        return np.exp(signals.log_probs_NC), signals.loss_N[:, None], outer_NC, inner_NH
    factors = [outer_NC, inner_NH, _log_norms(outer_NC), _log_norms(inner_NH)]
    if gradients == "all":
        norms_NL = gradient_norms(target.model, audit.features, audit.labels)
        factors.append(np.log(norms_NL + SMALLEST_NORM))
    scores = np.sort(signals.log_probs_NC, axis=1)[:, ::-1]
    return scores, signals.scaled_logit_N[:, None], np.concatenate(factors, axis=1)


def gradient_factors(signals: Signals) -> tuple[Floats, Floats]:
    """p - onehot(y) (N, C) and h (N, H), whose outer product is the last layer's gradient; h is 1 without a layer."""
    outer_NC = logit_gradients(signals)
    if signals.hidden_NH is None:
        return outer_NC, np.ones((len(outer_NC), 1))
    return outer_NC, signals.hidden_NH.astype(np.float64)


def _log_norms(columns: Floats) -> Floats:
    norms_N = np.asarray(np.linalg.norm(columns, axis=1), dtype=np.float64)
    return np.log(norms_N[:, None] + SMALLEST_NORM)
