"""RelaxLoss: the training loss is held at a target instead of being driven to zero."""

# B rows of a batch, C classes.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

from safecompress.ranges import require_within
from safecompress.training.objectives.base import Batch, Objective


@dataclass(frozen=True)
class RelaxLoss(Objective):
    """Descent while a batch's loss is above ``target``; under it ascent in even epochs, flattening in odd ones.

    With L the batch's mean cross entropy: even epochs minimise |L - target|, which is descent above the target and
    ascent under it. Odd epochs minimise L above the target; under it the cross entropy against the row's own posterior
    made flat: p_y stays on the true class, each other class gets (1 - p_y) / (C - 1). That label is a constant: no
    gradient goes through it, so certainty of the truth stays as it is and its rivals become equal. Epochs count from 0.

    Source: Chen, Yu and Fritz 2022, algorithm 1. In this the published code has two versions: for tables all rows are
    flattened, as here; for images only rows classified wrong, with an ascent on all rows beside. Differs from both,
    whose gradient runs through the flat label too, and which can cap its p_y (option ``upper``).
    """

    target: float = 1.0

    is_mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_within(
            self,
            "target",
            least=0,
            advice="It is a mean cross entropy in nats: 0 is plain training, and guessing among C classes costs log C.",
        )

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        loss = nll_loss(log_p_BC, batch.labels_B)
        if batch.epoch % 2 == 0:
            return (loss - self.target).abs()
        if loss > self.target:
            return loss
        return -(_flattened(log_p_BC, batch.labels_B) * log_p_BC).sum(dim=1).mean()


@torch.no_grad()
def _flattened(log_p_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Each row's posterior with the same probability of its label, and the rest in equal parts."""
    truth_B1 = log_p_BC.exp().gather(1, labels_B.unsqueeze(1))
    rest_B1 = (1 - truth_B1) / (log_p_BC.shape[1] - 1)
    return rest_B1.expand_as(log_p_BC).scatter(1, labels_B.unsqueeze(1), truth_B1)
