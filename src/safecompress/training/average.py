"""A moving average of the weights, which is tested and shipped; training moves another copy of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from safecompress.sparsity import SparsityPattern


class WeightAverage:
    """The exponential moving average of a model's weights and statistics over its steps (Polyak, Juditsky 1992).

    ``begin`` is where it stands. An inactive weight is zero in the average, too: a dropped one at once, a grown one
    starts from zero as it does in training. Step t keeps min(``keep``, (t + 1) / (t + 10)) of it, so that it is not
    slow to leave the fresh weights. Whole numbers among the buffers are not averaged: the latest counts.
    """

    @torch.no_grad()
    def __init__(
        self, model: nn.Module, begin: Mapping[str, Tensor], keep: float, pattern: SparsityPattern | None
    ) -> None:
        self._keep = keep
        self._latest = model.state_dict()  # the model's own tensors, not copies
        self._names = [name for name, tensor in self._latest.items() if tensor.is_floating_point()]
        self._averages = [begin[name].to(self._latest[name], copy=True) for name in self._names]
        masks = {} if pattern is None else pattern.masks
        for name, average in zip(self._names, self._averages, strict=True):
            if name in masks:
                average.masked_fill_(~masks[name].to(average.device), 0.0)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights as they are after the step with this index."""
        kept = min(self._keep, (step + 1) / (step + 10))
        torch._foreach_lerp_(self._averages, [self._latest[name] for name in self._names], 1 - kept)

    def averaged(self) -> dict[str, Tensor]:
        """A state dict of the model with the averages in their places."""
        return {**self._latest, **dict(zip(self._names, self._averages, strict=True))}
