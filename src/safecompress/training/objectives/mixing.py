"""Mixup: training on points between two rows."""

# B rows of a batch, C classes.

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import log_softmax, nll_loss

from safecompress.errors import UsageError
from safecompress.ranges import require_within
from safecompress.training.objectives.base import Batch, Objective


@dataclass(frozen=True)
class Mixup(Objective):
    """Rows mixed in pairs, share * x + (1 - share) * x', and the cross entropies of their labels mixed alike.

    One ``share`` ~ Beta(alpha, alpha) and one order of partners a step, from PyTorch's global generator (Zhang et al.
    2018, as in its code). A small alpha mixes little. A `LossTrace` of such a training holds the losses of mixed rows.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        require_within(self, "alpha", least=0.01, advice="Without mixing it is the objective cross_entropy.")

    def mix(self, batch: Batch) -> Batch:
        """The batch mixed with its own rows in another order. Raises UsageError for features that are not numbers."""
        if not batch.features.is_floating_point():
            raise UsageError(
                f"Mixup adds rows up, and these features are {batch.features.dtype}: values in between mean nothing. "
                "Give it real numbers, or take another objective."
            )
        share = _draw_share(self.alpha)
        order_B = torch.randperm(len(batch.labels_B)).to(batch.labels_B.device)
        mixed = share * batch.features + (1 - share) * batch.features[order_B]
        return replace(batch, features=mixed, partner_B=batch.labels_B[order_B], share=share)

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; of a batch that is not mixed its cross entropy."""
        log_p_BC = log_softmax(logits_BC, dim=1)
        loss = nll_loss(log_p_BC, batch.labels_B)
        if batch.partner_B is None:
            return loss
        return batch.share * loss + (1 - batch.share) * nll_loss(log_p_BC, batch.partner_B)


def _draw_share(alpha: float) -> float:
    """A draw from Beta(alpha, alpha), in double precision: a small alpha puts it within a rounding of 0 or 1."""
    concentration = torch.tensor(alpha, dtype=torch.float64)
    return float(Beta(concentration, concentration, validate_args=False).sample())
