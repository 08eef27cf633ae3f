"""SAMIA: a small transformer on scores, their sensitivity to input noise, and the label (Yuan & Zhang 2022).

N rows, C classes, T tokens of a row, D draws of noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, one_hot, relu

from safecompress.attacks.membership.attacknet import Columns, FittedNet, check_options, train_net
from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError
from safecompress.training import predict_logits

Reading = Literal["full", "paper"]

MAX_TOKENS = 10
"""Tokens that ``full`` reads: on Location-30 all thirty cost five times as much and found no more."""

FLOOR = 1e-2
"""Added to sensitivities before the logarithm: below it a change of a float32 logit is rounding, not response."""


@dataclass(frozen=True)
class Samia:
    """A token for each class: its score, the score's sensitivity, whether it is the label; then self-attention.

    Sensitivity is the mean change of the score under ``draws`` of Gaussian noise on the input, divided by the noise's
    size ``epsilon``. The noise is drawn once, when the attack is fitted, and is the same for all rows.

    ``inputs`` says what the net reads. ``paper``: for every class, in the classes' own order, probability, its
    sensitivity and the label's 1; width 64, three encoder layers of four heads and 128 units, GELU, dropout 0.2, then
    64-1 over all tokens. ``full`` (the default): for the ten largest scores, in descending order, log-probability,
    logarithm of the centred logit's sensitivity and the label's 1; one encoder layer; beside it a branch for the
    one-hot label and the scaled logit log(p_y / (1 - p_y)), which is also added to the net's answer.

    Differs from the paper: fitted on the target's own fitting rows, not on pruned shadow models; one draw of noise for
    all rows, so that a row's score does not depend on its place; one output instead of two; Adam instead of SGD with
    weight decay, the best epoch chosen on held-out fitting rows; columns are standardised once instead of by batch
    norm; and the default ``inputs``.
    """

    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    holdout: float = 0.25
    inputs: Reading = "full"
    draws: int = 10
    epsilon: float = 1e-3
    name: str = field(default="samia", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_options(self, get_args(Reading))
        if not (self.draws >= 1 and 0 < self.epsilon < np.inf):
            raise UsageError(
                "The samia attack needs draws of at least 1 and a finite epsilon above 0; got "
                f"draws={self.draws}, epsilon={self.epsilon}."
            )

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedNet:
        """The attacker net trained on the fitting rows.

        Raises AttackError when a side is too small, or when the rows hold no floats, to which noise could be added.
        """
        if not audit.features.is_floating_point():
            raise AttackError(
                f"The samia attack adds noise to the input, and these rows hold {audit.features.dtype}, not floats. "
                "Leave it out for models that read indices, such as words."
            )
        noise = torch.from_numpy(generator.normal(size=(self.draws, *audit.features.shape[1:])))
        reader = TokenReader.fit(self.inputs, self.epsilon, noise.to(audit.features.dtype), target, audit)
        inputs = reader.read(target, audit)
        tokens, *features = (branch.shape[1] for branch in inputs)

        def build() -> nn.Module:
            return PaperNet(tokens) if self.inputs == "paper" else FullNet(tokens, *features)

        net = train_net(build, inputs, audit.is_member, self, generator=generator)
        return FittedNet(net.double(), reader)


class TokenEncoder(nn.Module):
    """64 numbers (N, 64) that ``layers`` of self-attention make of tokens (N, T, 3)."""

    def __init__(self, num_tokens: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 64)
        layer = nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, dropout=0.2, activation=gelu, batch_first=True)
        self.attend = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.dense = nn.Linear(64 * num_tokens, 64)

    def forward(self, tokens_NT3: Tensor) -> Tensor:
        """ReLU units over all tokens."""
        return relu(self.dense(self.attend(gelu(self.embed(tokens_NT3))).flatten(1)))


class PaperNet(nn.Module):
    """The published net: membership logit (N,) from tokens (N, C, 3)."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.encode = TokenEncoder(num_tokens, layers=3)
        self.out = nn.Linear(64, 1)

    def forward(self, tokens_NC3: Tensor) -> Tensor:
        """The logit of "is a member"."""
        logit_N: Tensor = self.out(self.encode(tokens_NC3)).squeeze(1)
        return logit_N


class FullNet(nn.Module):
    """Membership logit (N,): the scaled logit, corrected by what tokens (N, T, 3), label and scaled logit say."""

    def __init__(self, num_tokens: int, num_label_features: int) -> None:
        super().__init__()
        self.encode = TokenEncoder(num_tokens, layers=1)
        self.label = nn.Sequential(nn.Linear(num_label_features, 64), nn.ReLU())
        self.fused = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, tokens_NT3: Tensor, label_NL: Tensor) -> Tensor:
        """The logit of "is a member"; the first column of ``label_NL`` is the scaled logit."""
        joined = torch.cat([self.encode(tokens_NT3), self.label(label_NL)], dim=1)
        logit_N: Tensor = self.fused(joined).squeeze(1) + self.weight * label_NL[:, 0]
        return logit_N


@dataclass(frozen=True, eq=False)
class TokenReader:
    """Turns a target's answers to rows and to their noisy copies into tokens, with columns standardised."""

    reading: Reading
    epsilon: float
    noise: Tensor = field(repr=False)
    columns: tuple[Columns, ...]

    @classmethod
    def fit(cls, reading: Reading, epsilon: float, noise: Tensor, target: Target, audit: AuditData) -> TokenReader:
        """The reader whose columns have mean 0 and deviation 1 on these rows."""
        values, _ = _values(reading, epsilon, noise, target, audit)
        return cls(reading, epsilon, noise, tuple(Columns.fit(branch) for branch in values))

    def read(self, target: Target, audit: AuditData) -> tuple[Tensor, ...]:
        """Tokens (N, T, 3) of score, sensitivity, label; ``full``: also scaled logit and one-hot label (N, 1 + C)."""
        values, is_label_NT = _values(self.reading, self.epsilon, self.noise, target, audit)
        read = [columns.read(branch) for columns, branch in zip(self.columns, values, strict=True)]
        tokens_NT3 = torch.stack([*read[:2], torch.from_numpy(is_label_NT).float()], dim=2)
        if self.reading == "paper":
            return (tokens_NT3,)
        signals = target.signals(audit)
        label_NC = one_hot(torch.from_numpy(signals.labels_N), signals.logits_NC.shape[1])
        return tokens_NT3, torch.cat([read[2], label_NC.float()], dim=1)


def _values(
    reading: Reading, epsilon: float, noise: Tensor, target: Target, audit: AuditData
) -> tuple[tuple[Floats, ...], NDArray[np.bool_]]:
    """Scores (N, T), sensitivities (N, T), for ``full`` the scaled logit (N, 1); whose class is the label's (N, T)."""
    signals = target.signals(audit)
    is_label_NC = signals.labels_N[:, None] == np.arange(signals.logits_NC.shape[1])
    if reading == "paper":
        sensitivity_NC = _mean_changes(target, audit, noise * epsilon, _probs) / epsilon
        return (_probs(signals), sensitivity_NC), is_label_NC
    sensitivity_NC = _mean_changes(target, audit, noise * epsilon, _centred) / epsilon
    # stable: equal scores keep the order of their classes
    order_NT = np.argsort(-signals.log_probs_NC, axis=1, kind="stable")[:, :MAX_TOKENS]
    scores_NT, sensitivities_NT = (
        np.take_along_axis(values, order_NT, axis=1)
        for values in (signals.log_probs_NC, np.log(sensitivity_NC + FLOOR))
    )
    return (scores_NT, sensitivities_NT, signals.scaled_logit_N[:, None]), np.take_along_axis(is_label_NC, order_NT, 1)


def _mean_changes(target: Target, audit: AuditData, noise: Tensor, of: Callable[[Signals], Floats]) -> Floats:
    """How far ``of`` the answers (N, C) moves under each draw of ``noise`` (D, ...), on average over the draws."""
    before_NC = of(target.signals(audit))
    total_NC = np.zeros_like(before_NC)
    for draw in noise:  # past the target's cache, where the draws would push out what other attacks share
        logits_NC = predict_logits(target.model, audit.features + draw).double().numpy()
        total_NC += np.abs(of(Signals(logits_NC, target.signals(audit).labels_N)) - before_NC)
    return np.asarray(total_NC / len(noise))


def _probs(signals: Signals) -> Floats:
    return np.asarray(np.exp(signals.log_probs_NC))


def _centred(signals: Signals) -> Floats:
    """Logits less their mean: what they say of the classes, without the constant that the softmax ignores."""
    return np.asarray(signals.logits_NC - signals.logits_NC.mean(axis=1, keepdims=True))
