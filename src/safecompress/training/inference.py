"""Logits of a frozen model, in batches, in evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from safecompress.training.layout import laid_out


@torch.inference_mode()
def predict_logits(model: nn.Module, features: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Logits (N, C) on the CPU for ``features`` (N, ...); every row goes through the same one forward pass."""
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model(laid_out(batch.to(device))).cpu() for batch in torch.split(features, batch_size)])


@torch.no_grad()
def reestimate_batch_norm_(model: nn.Module, features: Tensor, *, batch_size: int = 128) -> None:
    """Re-estimate running means and variances from ``features`` (a random sample of train rows), as after a cut.

    Every batch weighs the same (a cumulative average). Dropout rests, so no random numbers are drawn. A model without
    batch norm is left as it is.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
        for batch in torch.split(features, batch_size):
            if len(batch) > 1:
                model(laid_out(batch.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every module is back in its own mode (a frozen batch norm stays frozen)."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in was_training.items():
            module.training = mode
