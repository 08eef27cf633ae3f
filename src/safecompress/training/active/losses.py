"""The loss of a batch and its gradient for the logits: by formula where one is known, else PyTorch differentiates.

For nets as small as the active engine's, differentiating takes as long as the rest of the step.
"""

# B rows of a batch, C classes.

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from safecompress.training.objectives.base import Batch, CrossEntropy, Objective
from safecompress.training.objectives.cross_fit import CrossFit, taught_by


def loss_and_gradient(objective: Objective, logits_BC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss, a scalar, and its gradient (B, C)."""
    formula = _FORMULAS.get(type(objective))  # a subclass may have another loss
    return _differentiated(objective, logits_BC, batch) if formula is None else formula(objective, logits_BC, batch)


def _differentiated(objective: Objective, logits_BC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    logits_BC = logits_BC.detach().requires_grad_()
    with torch.enable_grad():
        loss = objective(logits_BC, batch)
        (gradient_BC,) = torch.autograd.grad(loss, logits_BC)
    return loss.detach(), gradient_BC


def _cross_entropy(objective: Objective, logits_BC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The gradient is softmax minus the labels, over B."""
    log_p_BC = logits_BC.detach().log_softmax(1)
    loss = nll_loss(log_p_BC, batch.labels_B)
    gradient_BC = log_p_BC.exp_()
    gradient_BC.scatter_add_(1, batch.labels_B[:, None], gradient_BC.new_full((len(gradient_BC), 1), -1.0))
    return loss, gradient_BC.div_(len(gradient_BC))


def _cross_fit(objective: Objective, logits_BC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The gradient is softmax minus the target, over B."""
    assert isinstance(objective, CrossFit)
    target_BC = taught_by(batch, logits_BC)
    if objective.share != 1:
        places_B1 = batch.labels_B[:, None]
        target_BC.mul_(objective.share)
        target_BC.scatter_add_(1, places_B1, target_BC.new_full(places_B1.shape, 1 - objective.share))
    log_p_BC = logits_BC.detach().log_softmax(1)
    loss = -(target_BC * log_p_BC).sum() / len(target_BC)
    return loss, log_p_BC.exp_().sub_(target_BC).div_(len(target_BC))


_FORMULAS: dict[type[Objective], Callable[[Objective, Tensor, Batch], tuple[Tensor, Tensor]]] = {
    CrossEntropy: _cross_entropy,
    CrossFit: _cross_fit,
}
