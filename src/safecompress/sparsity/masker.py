"""Keeps inactive weights at zero: they are zeroed once, then only their gradients are masked, before each step.

With a zero weight, a zero gradient and zero optimizer state, no optimizer here (SGD with momentum and weight decay, the
Adam family, RMSprop) ever moves an inactive weight, so nothing needs repair after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from safecompress.errors import UsageError
from safecompress.sparsity.pattern import Fill, SparsityPattern


class Masker:
    """Masks the gradients of ``model`` in a step pre-hook of ``optimizer``; `assign_` changes the pattern.

    With ``momentum_decay`` it also keeps a moving average of the dense gradients (``momentum``), fed before masking,
    which momentum growth reads. A step that an AMP gradient scaler is about to skip leaves everything as it is. A step
    that is given a closure, as trainers do, has its gradients masked when the closure has made them.
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
        self._has_read = False
        self._early: list[RemovableHandle] = []
        self.assign_(pattern)
        self.momentum: dict[str, Tensor] = {}
        if momentum_decay is not None:
            averages = momentum or {}
            self.momentum = {
                name: averages[name].to(p).clone() if name in averages else torch.zeros_like(p, requires_grad=False)
                for name, p in self._parameters.items()
            }
        self._hook = optimizer.register_step_pre_hook(self._before_step)

    def detach(self) -> None:
        """Remove the hooks from the optimizer and the parameters; the weights stay as they are."""
        for hook in (self._hook, *self._early):
            hook.remove()
        self._early = []

    def mask_early(self, unless: Callable[[], bool]) -> None:
        """Mask gradients as backward makes them, too, for loops that clip them out of our sight before they step.

        What clips then measures active weights only. ``unless`` says when the coming step needs them dense.
        """

        def mask(tensor: Tensor, name: str) -> None:
            if tensor.grad is not None and not unless():
                tensor.grad.mul_(self._float_masks[name])

        for name, parameter in self._parameters.items():
            handle = parameter.register_post_accumulate_grad_hook(partial(mask, name=name))  # type: ignore[no-untyped-call]
            self._early.append(handle)

    @torch.no_grad()
    def assign_(self, pattern: SparsityPattern) -> None:
        """Switch to ``pattern``: +0.0 to every inactive weight and to every parameter-shaped optimizer state of it.

        Newly grown weights thus start at zero with zero moments.
        """
        pairs = dict(zip(pattern.masks, pattern.pairs(self._model), strict=True))
        parameters = {name: parameter for name, (parameter, _) in pairs.items()}
        _check_optimised(parameters, self._optimizer)
        self.pattern = pattern
        self._parameters = parameters
        self._float_masks = {name: mask.to(parameter) for name, (parameter, mask) in pairs.items()}
        for parameter, mask in pairs.values():
            inactive = ~mask.to(parameter.device)
            parameter.masked_fill_(inactive, 0.0)
            for state in self._optimizer.state.get(parameter, {}).values():
                if torch.is_tensor(state) and state.shape == parameter.shape:
                    state.masked_fill_(inactive.to(state.device), 0.0)

    @torch.no_grad()
    def fill_(self, fills: Mapping[str, Fill]) -> None:
        """Write ``fills`` into the model's parameters and buffers; their optimizer state starts at zero."""
        if not fills:
            return
        tensors = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        for name, fill in fills.items():
            fill.write_(tensors[name])
            for state in self._optimizer.state.get(tensors[name], {}).values():
                if torch.is_tensor(state) and state.shape == tensors[name].shape:
                    fill.clear_(state)

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Mask; or, where a closure is yet to make the gradients, give the step one that masks what it made."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._mask_for_step(optimizer)
            return None

        def masked() -> Any:
            loss = closure()
            self._mask_for_step(optimizer)
            return loss

        return ((args[0], masked, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": masked})

    def _mask_for_step(self, optimizer: Optimizer) -> None:
        found_inf = getattr(optimizer, "found_inf", None)  # set by a gradient scaler that lets a fused optimizer skip
        if found_inf is None or not found_inf.any():
            self.mask_gradients_()
        self._has_read = False

    @torch.no_grad()
    def mask_gradients_(self) -> None:
        """Multiply the masked parameters' gradients by their masks. Call it earlier to mask before clipping."""
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        if not self._has_read:
            self._read_dense(gradients)
            self._has_read = True
        if gradients:
            torch._foreach_mul_(list(gradients.values()), [self._float_masks[name] for name in gradients])

    def _read_dense(self, gradients: dict[str, Tensor]) -> None:
        """Feed the average; called once a step, before the gradients are masked."""
        if self._decay is None or not gradients:
            return
        scale = getattr(self._optimizer, "grad_scale", None)  # of gradients that a fused optimizer unscales itself
        dense = list(gradients.values()) if scale is None else torch._foreach_div(list(gradients.values()), scale)
        torch._foreach_lerp_([self.momentum[name] for name in gradients], dense, 1 - self._decay)


def _check_optimised(parameters: Mapping[str, Tensor], optimizer: Optimizer) -> None:
    """Raise UsageError when the optimizer does not hold a masked parameter: its hook would then mask in vain."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, parameter in parameters.items() if id(parameter) not in held]
    if missing:
        raise UsageError(
            f"The optimizer does not hold these sparse parameters: {', '.join(missing)}. Make it from the same model's "
            "parameters() (and after the model was moved to its device)."
        )
