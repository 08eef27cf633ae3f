"""Keep dead weights dead: dormant weights are zeroed once, then only their gradients are masked, before each step.

With a zero weight, a zero gradient and zero optimizer state, no optimizer here (SGD with momentum and weight decay, the
Adam family, RMSprop) ever moves a dormant weight, so nothing needs repair after the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from safecompress.errors import UsageError
from safecompress.sparsity.pattern import SparsityPattern


class Masker:
    """Masks the gradients of ``model`` in a step pre-hook of ``optimizer``; `assign_` changes the pattern.

    With ``momentum_decay`` it also keeps a moving average of the dense gradients (``momentum``), fed before masking,
    which momentum growth reads.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        pattern: SparsityPattern,
        *,
        momentum_decay: float | None = None,
        momentum: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._decay = momentum_decay
        self.pattern = pattern
        self._parameters = [parameter for parameter, _ in pattern.pairs(model)]
        _check_optimised(self._parameters, pattern.masks, optimizer)
        self.momentum: dict[str, Tensor] = {}
        if momentum_decay is not None:
            given = momentum or {}
            self.momentum = {
                name: given[name].to(p).clone() if name in given else torch.zeros_like(p, requires_grad=False)
                for name, p in zip(pattern.masks, self._parameters, strict=True)
            }
        self.assign_(pattern)
        self._hook = optimizer.register_step_pre_hook(self._before_step)

    def detach(self) -> None:
        """Take the hook off the optimizer; the weights stay as they are."""
        self._hook.remove()

    @torch.no_grad()
    def assign_(self, pattern: SparsityPattern) -> None:
        """Switch to ``pattern``: +0.0 to every dormant weight and to every parameter-shaped optimizer state of it.

        Newly grown weights thus start at zero with zero moments.
        """
        self.pattern = pattern
        self._float_masks = []
        for parameter, mask in pattern.pairs(self._model):
            dormant = ~mask.to(parameter.device)
            parameter.masked_fill_(dormant, 0.0)
            for state in self._optimizer.state.get(parameter, {}).values():
                if torch.is_tensor(state) and state.shape == parameter.shape:
                    state.masked_fill_(dormant.to(state.device), 0.0)
            self._float_masks.append(mask.to(parameter))

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.mask_gradients_()

    @torch.no_grad()
    def mask_gradients_(self) -> None:
        """Multiply the masked parameters' gradients by their masks. Call it earlier to mask before clipping."""
        grads: list[Tensor] = []
        masks: list[Tensor] = []
        for parameter, mask in zip(self._parameters, self._float_masks, strict=True):
            if parameter.grad is not None:
                grads.append(parameter.grad)
                masks.append(mask)
        if self._decay is not None and len(grads) == len(self._parameters):
            torch._foreach_lerp_(list(self.momentum.values()), grads, 1 - self._decay)
        if grads:
            torch._foreach_mul_(grads, masks)


def _check_optimised(parameters: Iterable[Tensor], names: Iterable[str], optimizer: Optimizer) -> None:
    """Raise UsageError when the optimizer does not hold a masked parameter: its hook would then mask in vain."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, parameter in zip(names, parameters, strict=True) if id(parameter) not in held]
    if missing:
        raise UsageError(
            f"The optimizer does not hold these sparse parameters: {', '.join(missing)}. Make it from the same model's "
            "parameters() (and after the model was moved to its device)."
        )
