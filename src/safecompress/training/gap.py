"""The gradient of the attacker's gap: how much lower a model's loss is on its members than on other rows."""

# N rows, C classes.

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from safecompress.errors import TrainingError, UsageError
from safecompress.training.inference import evaluating
from safecompress.training.layout import laid_out

Rows = tuple[Tensor, Tensor]
"""Features (N, ...) as the model reads them, and labels (N,)."""


def gap_gradient(
    model: nn.Module, member_rows: Rows, nonmember_rows: Rows, tracked: Iterable[str], *, batch_size: int = 1024
) -> dict[str, Tensor]:
    """The gradient of (mean loss of non-members - mean loss of members) for the parameters ``tracked``, on the CPU.

    The loss is cross entropy, whatever the model is trained towards: it is what attacks on the loss read. The model
    is in evaluation mode meanwhile, as it is when it is attacked: without dropout, and with the running statistics of
    batch norm, which in training mode would differ between the two sets of rows and take in both. Gradients that lie at
    the parameters stay, no random number is drawn, and inactive weights have a gradient as well. A parameter that
    plays no part has zeros.

    Raises UsageError when one of the sets has no rows, and TrainingError for a gap that is not a finite number.
    """
    given = {"member_rows": member_rows, "nonmember_rows": nonmember_rows}
    empty = [name for name, (_, labels) in given.items() if not len(labels)]
    if empty:
        raise UsageError(f"The gap lies between members and non-members, and {' and '.join(empty)} has no rows.")
    names, parameters = list(tracked), dict(model.named_parameters())
    chosen = [parameters[name] for name in names]
    total = [torch.zeros_like(parameter, requires_grad=False) for parameter in chosen]
    device = next(model.parameters()).device
    with evaluating(model), torch.enable_grad():
        for sign, (features, labels) in ((1, nonmember_rows), (-1, member_rows)):
            for x, y in zip(torch.split(features, batch_size), torch.split(labels, batch_size), strict=True):
                logits_NC = model(laid_out(x.to(device)))
                loss = cross_entropy(logits_NC, y.to(device), reduction="sum") * (sign / len(labels))
                for sum_, part in zip(total, torch.autograd.grad(loss, chosen, allow_unused=True), strict=True):
                    if part is not None:
                        sum_ += part
    if not all(bool(gradient.isfinite().all()) for gradient in total):
        raise TrainingError(
            "The gradient of the gap between members and non-members is not finite. Training diverged: lower the "
            "learning rate, or check the features' scale (normalise them)."
        )
    return {name: gradient.cpu() for name, gradient in zip(names, total, strict=True)}
