"""The papers' white-box attacker: a net on scores, loss, label and gradients (Nasr et al. 2019).

N rows, C classes, H inputs of the last linear layer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from safecompress.attacks.lastlayer import gradient_norms, logit_gradients
from safecompress.attacks.membership.attacknet import Columns, FittedNet, Inputs, check_options, train_net
from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError, suggest

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
    """Four branches: scores C-128-64, loss 1-128-64, label C-128-64, gradients; fused 256-256-128-64-1.

    The gradient of the loss for the last layer's weights is the outer product of p - onehot(y) and h, the layer's
    input; both come from the forward pass that gives the scores. ``gradients="all"`` (the default) adds the logarithms
    of the gradient's norms for every parameter tensor, which take a backward pass for every row
    (``inputs="full"`` only). A model that has no gradient for a row alone is read as with ``"last"``.

    The search tests its finalists in every round, so there it reads ``"last"`` (``in_search``): on a small perceptron a
    backward pass for every row takes 25 times the forward pass, on a deep convolutional network 12 times. The verdict
    reads each row once or twice, which is less than an epoch of training.

    ``inputs`` says what the branches read. ``paper``: probabilities, cross entropy, one-hot label, and the C x H
    gradient through conv 5x5, batch norm, pooling and 256-128-64. ``full`` (the default): log-probabilities in
    descending order, the scaled logit log(p_y / (1 - p_y)), one-hot label, and the gradient's two factors beside the
    logarithms of their norms, through 128-64; the same information in C + H numbers instead of C x H.

    Where something stands behind the last linear layer (a softmax, a wrapper), ``full`` reads what the layer gives
    beside what the model answers: whoever has the weights leaves the rest out. A model without such a layer is read as
    if a bias were added to its logits: h is 1, and the gradient p - onehot(y).

    Differs from the paper: the best epoch is chosen on held-out fitting rows, never on the rows it is reported on; and
    the default ``inputs``, whose branch of gradients has a dropout of 0.6 at its entrance, and has the other layers'
    gradients as norms.
    """

    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    holdout: float = 0.25
    inputs: Reading = "full"
    gradients: Gradients = "all"
    name: str = field(default="whitebox", init=False)
    access: Access = field(default=Access.WEIGHTS, init=False)
    tier: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_options(self, get_args(Reading))
        if self.gradients not in get_args(Gradients):
            raise UsageError(f"The whitebox attack's gradients: {suggest(self.gradients, get_args(Gradients))}")
        if self.inputs == "paper":  # whose net has no branch for the other layers
            object.__setattr__(self, "gradients", "last")

    @property
    def in_search(self) -> WhiteBox:
        """The attack that tests finalists of a search in this one's place."""
        return replace(self, gradients="last")

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedNet:
        """The attacker net trained on the fitting rows. Raises AttackError when a side is too small."""
        reader, inputs = BranchReader.fit(self.inputs, self.gradients, target, audit)
        scores, loss, label, *gradient = (branch.shape[1] for branch in inputs)

        def build() -> WhiteBoxNet:
            if self.inputs == "paper":
                return WhiteBoxNet((scores, loss, label), MatrixBranch(*gradient))
            return WhiteBoxNet((scores, loss, label), _branch(*gradient, 128, 64, entrance=FACTORS_DROPOUT))

        net = train_net(build, inputs, audit.is_member, self, generator=generator)
        return FittedNet(net.double(), reader)


class WhiteBoxNet(nn.Module):
    """Membership logit (N,) from scores (N, C), loss (N, 1), one-hot label (N, C) and what ``gradient`` reads.

    ``widths`` are the numbers of columns of the first three.
    """

    def __init__(self, widths: tuple[int, int, int], gradient: nn.Module) -> None:
        super().__init__()
        scores, loss, label = widths
        self.scores = _branch(scores, 128, 64)
        self.loss = _branch(loss, 128, 64, dropout=0.0)  # one number: to drop it is to drop the branch
        self.label = _branch(label, 128, 64)
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
    def fit(
        cls, reading: Reading, gradients: Gradients, target: Target, audit: AuditData
    ) -> tuple[BranchReader, Inputs]:
        """The reader whose columns have mean 0 and deviation 1 on these rows, and what it reads of them.

        ``paper`` leaves the columns as they are. A model without a gradient for a row alone is read as with ``"last"``.
        """
        try:
            values = _values(reading, gradients, target, audit)
        except AttackError:
            if gradients == "last":
                raise
            return cls.fit(reading, "last", target, audit)
        make = Columns.unchanged if reading == "paper" else Columns.fit
        reader = cls(reading, gradients, tuple(map(make, values)))
        return reader, reader._standardised(values, target, audit)

    def read(self, target: Target, audit: AuditData) -> Inputs:
        """Float32 inputs: scores (N, C), loss (N, 1), one-hot label (N, C), then the gradient branch's.

        Where something stands behind the last linear layer, scores and loss are twice as many.
        """
        return self._standardised(_values(self.reading, self.gradients, target, audit), target, audit)

    def _standardised(self, branches: tuple[Floats, ...], target: Target, audit: AuditData) -> Inputs:
        scores, loss, *gradient = (columns.read(branch) for columns, branch in zip(self.columns, branches, strict=True))
        signals = target.signals(audit)
        label = one_hot(torch.from_numpy(signals.labels_N), signals.logits_NC.shape[1])
        return scores, loss, label.float(), *gradient


def _values(reading: Reading, gradients: Gradients, target: Target, audit: AuditData) -> tuple[Floats, ...]:
    """What all branches but the label's read, before standardisation."""
    signals = target.signals(audit)
    outer_NC, inner_NH = gradient_factors(signals)
    if reading == "paper":
        return np.exp(signals.log_probs_NC), signals.loss_N[:, None], outer_NC, inner_NH
    views, factors = [signals], [outer_NC, inner_NH, _log_norms(outer_NC), _log_norms(inner_NH)]
    if signals.head is not None:
        views.append(signals.head)
        head_NC = logit_gradients(signals.head)
        factors += [head_NC, _log_norms(head_NC)]
    if gradients == "all":
        norms_NL = gradient_norms(target.model, audit.features, audit.labels)
        factors.append(np.log(norms_NL + SMALLEST_NORM))
    scores = [np.sort(view.log_probs_NC, axis=1)[:, ::-1] for view in views]
    losses = [view.scaled_logit_N[:, None] for view in views]
    return tuple(np.concatenate(branch, axis=1) for branch in (scores, losses, factors))


def gradient_factors(signals: Signals) -> tuple[Floats, Floats]:
    """p - onehot(y) (N, C) and h (N, H), whose outer product is the last layer's gradient; h is 1 without a layer."""
    outer_NC = logit_gradients(signals)
    if signals.hidden_NH is None:
        return outer_NC, np.ones((len(outer_NC), 1))
    return outer_NC, signals.hidden_NH.astype(np.float64)


def _log_norms(columns: Floats) -> Floats:
    norms_N = np.asarray(np.linalg.norm(columns, axis=1), dtype=np.float64)
    return np.log(norms_N[:, None] + SMALLEST_NORM)
