"""Cross entropy with a term on the entropy of what the model says: of all rows, of sure rows, of wrong rows.

H(p) is the entropy in nats of the softmax p of a row's logits; it lies in [0, log C]. So does every term here, before
its weight: none can outgrow the cross entropy.
"""

# B rows of a batch, C classes.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

from safecompress.ranges import require_within
from safecompress.training.objectives.base import Batch, Objective

_WEIGHT = "0 is plain cross entropy; a negative weight would make the model surer."


def entropy_of(log_p_BC: Tensor) -> Tensor:
    """H(p) of each row (B,), in nats, from log-probabilities; finite where a probability underflows to zero."""
    return -(log_p_BC.exp() * log_p_BC).sum(dim=1)


@dataclass(frozen=True)
class ConfidencePenalty(Objective):
    """CE - weight * mean H(p): pays for every nat of certainty, on all rows (Pereyra et al. 2017)."""

    weight: float = 0.1

    def __post_init__(self) -> None:
        require_within(self, "weight", least=0, advice=_WEIGHT)

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; at least -weight * log C."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        return nll_loss(log_p_BC, batch.labels_B) - self.weight * entropy_of(log_p_BC).mean()


@dataclass(frozen=True)
class ThresholdedEntropy(Objective):
    """CE + weight * mean max(0, threshold - H(p)): only rows under ``threshold`` nats pay (Pereyra et al. 2017).

    The hinge is of each row, not of the mean, and is added: entropy under the threshold costs. At a threshold of log C
    or more every row pays, and the gradient is the confidence penalty's.
    """

    weight: float = 0.1
    threshold: float = 0.5

    def __post_init__(self) -> None:
        require_within(self, "weight", least=0, advice=_WEIGHT)
        require_within(
            self, "threshold", least=0, advice="It is an entropy in nats; the entropy of C classes is at most log C."
        )

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        lacking_B = (self.threshold - entropy_of(log_p_BC)).clamp_min(0)
        return nll_loss(log_p_BC, batch.labels_B) + self.weight * lacking_B.mean()


@dataclass(frozen=True)
class ErrorEntropy(Objective):
    """CE - weight * mean H(p) over the rows classified wrong: unsure where it errs; no term without errors.

    The entropy is *subtracted*: going down the loss raises it. With the other sign wrong predictions become surer, and
    a member that is learnt late stands out by how sure the model was of the wrong class.

    Source: the regulariser on errors in the published code of Zhu et al. 2022. Differs from that code, which gives
    NaN or raises on a batch without errors.
    """

    weight: float = 0.08

    is_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_within(self, "weight", least=0, advice=_WEIGHT)

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; at least -weight * log C."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        wrong_entropy = _mean_over_wrong(entropy_of(log_p_BC), log_p_BC, batch.labels_B)
        return nll_loss(log_p_BC, batch.labels_B) - self.weight * wrong_entropy


@dataclass(frozen=True)
class ErrorUniform(Objective):
    """CE + weight * mean KL(p || u) over the rows classified wrong, u uniform: towards "I do not know"; else no term.

    KL(p || u) = log C - H(p) lies in [0, log C]. The other direction, KL(u || p), grows without bound with the logits:
    one row that is wrong and sure would outweigh the rest of the batch. So the gradient is that of `ErrorEntropy` at
    the same weight; what differs is that the term is zero at its optimum, and the papers' weight.

    Source: the KL to uniform on errors in the published code of Zhu et al. 2022. Differs from that code, whose KL has
    the inverted sign, which rewards distance from uniform.
    """

    weight: float = 0.1

    is_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_within(self, "weight", least=0, advice=_WEIGHT)

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        divergence_B = math.log(log_p_BC.shape[1]) - entropy_of(log_p_BC)
        wrong_divergence = _mean_over_wrong(divergence_B, log_p_BC, batch.labels_B)
        return nll_loss(log_p_BC, batch.labels_B) + self.weight * wrong_divergence


def _mean_over_wrong(values_B: Tensor, log_p_BC: Tensor, labels_B: Tensor) -> Tensor:
    """The mean of ``values_B`` over the rows classified wrong; zero, with a zero gradient, when there are none."""
    is_wrong_B = (log_p_BC.argmax(dim=1) != labels_B).to(values_B)
    return (values_B * is_wrong_B).sum() / is_wrong_B.sum().clamp_min(1)
