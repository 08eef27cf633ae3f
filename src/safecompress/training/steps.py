"""What every step of a training does last: the learning rate is set, the gradient is clipped, the optimizer moves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safecompress.sparsity import Masker
from safecompress.training.amp import Amp


def take_step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    amp: Amp | None,
    masker: Masker | None,
    clip_norm: float,
) -> None:
    """One step of the optimizer with the gradients that lie at ``parameters``.

    A ``clip_norm`` above 0 is the longest that the gradient may be, all parameters taken together and without inactive
    weights: they are masked first, or they would shorten the step of the others.
    """
    if clip_norm and (amp is None or amp.unscale_(optimizer, parameters)):
        if masker is not None:
            masker.mask_gradients_()
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    if amp is None:
        optimizer.step()
    else:
        amp.step(optimizer)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
