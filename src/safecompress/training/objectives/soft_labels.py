"""Cross entropy against labels that are less than certain: the truth keeps the most, the others share the rest."""

# B rows of a batch, C classes.

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from safecompress.ranges import require_within
from safecompress.training.objectives.base import Batch, Objective
from safecompress.training.objectives.regularisers import entropy_of


@dataclass(frozen=True)
class LabelSmoothing(Objective):
    """Cross entropy against (1 - amount) * label + amount / C on every class (Szegedy et al. 2016, section 7)."""

    amount: float = 0.1

    def __post_init__(self) -> None:
        require_within(
            self, "amount", least=0, most=0.99, advice="0 is plain cross entropy; at 1 the labels would say nothing."
        )

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; at least the entropy of a smoothed label."""
        return cross_entropy(logits_BC, batch.labels_B, label_smoothing=self.amount)


@dataclass(frozen=True)
class HighEntropyLabels(Objective):
    """KL(t || p) - entropy_weight * mean H(p), t labels whose entropy is ``share`` of log C (HAMP).

    t gives q to the true class and (1 - q) / (C - 1) to each other one, with the q >= 1/C that solves
    H(t) = share * log C (`top_probability`).

    Source: Chen and Pattabiraman 2024, the training half of HAMP. Its other half, outputs replaced at test time by
    those of random rows in the same order, changes what is served, not what is learnt, and is not part of this: who
    holds the weights does without it. Differs from the published code, which steps q down by 0.01
    until the entropy is reached, and divides the KL by C too: its alpha is worth C times that in ``entropy_weight``.
    """

    share: float = 0.8
    entropy_weight: float = 0.01

    def __post_init__(self) -> None:
        require_within(
            self, "share", least=0.01, most=0.99, advice="0 is plain cross entropy; at 1 the labels would say nothing."
        )
        require_within(self, "entropy_weight", least=0, advice="A negative weight would make the model surer.")

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; at least -entropy_weight * log C."""
        num_classes = logits_BC.shape[1]
        top = top_probability(self.share, num_classes)
        other = (1 - top) / (num_classes - 1)
        log_p_BC = log_softmax(logits_BC, dim=1)
        crossed = (top - other) * nll_loss(log_p_BC, batch.labels_B) - other * log_p_BC.sum(dim=1).mean()
        divergence = crossed - self.share * math.log(num_classes)
        return divergence - self.entropy_weight * entropy_of(log_p_BC).mean()


@functools.cache
def top_probability(share: float, num_classes: int) -> float:
    """The q in (1/C, 1) for which a label of q and C - 1 equal rests has entropy share * log C, for 0 < share < 1.

    The entropy falls from log C at q = 1/C to 0 at q = 1, so bisection finds it, to the last bit but one.
    """
    wanted = share * math.log(num_classes)
    low, high = 1 / num_classes, 1.0
    for _ in range(60):
        top = (low + high) / 2
        rest = 1 - top
        if rest > 0 and -top * math.log(top) - rest * math.log(rest / (num_classes - 1)) > wanted:
            low = top
        else:
            high = top
    return (low + high) / 2
