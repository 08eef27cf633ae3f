"""The first pattern of a sparse model: how many weights each layer keeps, and which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import Tensor, nn

from safecompress.errors import UsageError, suggest
from safecompress.seeding import derive
from safecompress.sparsity.allocate import Allocation, count_active
from safecompress.sparsity.layers import flat_array
from safecompress.sparsity.pattern import SparsityPattern
from safecompress.sparsity.topk import largest


class Start(StrEnum):
    """What the sparse model starts from: fresh weights under a random mask, or the largest weights of the trained dense
    model, or of the model as it begins, for one that begins with pretrained weights.
    """

    SCRATCH = "scratch"
    DENSE = "dense"
    PRETRAINED = "pretrained"

    @classmethod
    def _missing_(cls, thing: object) -> None:
        raise UsageError(f"Unknown start {thing!r}. {suggest(str(thing), cls)}")


def initial_pattern(
    weights: Mapping[str, Tensor], density: float, *, allocation: Allocation, start: Start, seed: int
) -> SparsityPattern:
    """A pattern with exactly round(density x N) active weights, shared out by ``allocation``.

    ``Start.SCRATCH`` draws each layer's active weights at random, the others keep each layer's largest |weight|.
    Raises UsageError for a density outside (0, 1] or too small for one weight a layer.
    """
    counts = allocation(weights, count_active(weights, density))
    masks = {}
    for name, weight in weights.items():
        flat = torch.zeros(weight.numel(), dtype=torch.bool)
        if start is not Start.SCRATCH:
            kept = largest(flat_array(weight.abs()), counts[name])
        else:
            kept = derive(seed, "initialise", name).choice(weight.numel(), counts[name], replace=False, shuffle=False)
        flat[torch.from_numpy(kept)] = True
        masks[name] = flat.reshape(weight.shape)
    return SparsityPattern(masks)


@torch.no_grad()
def rescale_(model: nn.Module, pattern: SparsityPattern) -> None:
    """Scale each unit's fresh weights by sqrt(fan-in / active fan-in), so that signals keep their size when most inputs
    are cut. Without it a net of density 0.1 may not leave chance level at all.

    Source: Evci et al. 2022, "Gradient flow in sparse neural networks and how lottery tickets win", section 3.1.
    """
    for parameter, mask in pattern.pairs(model):
        active = mask.flatten(1).sum(1).clamp(min=1)
        factor = (mask[0].numel() / active).sqrt().to(parameter)
        parameter.mul_(factor.view(-1, *[1] * (parameter.ndim - 1)))
