"""Mixed precision: forward and backward passes in sixteen bits where that is safe; weights and losses stay float32."""

# B rows of a batch, C classes.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from safecompress.errors import UsageError

AmpName = Literal["none", "bf16", "fp16"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Amp:
    """Runs a model under ``torch.autocast`` and, for fp16, scales losses so that small gradients do not vanish.

    Logits come back in float32: every objective is computed in float32. What the scaler of fp16 has learnt (how far it
    may scale) goes into the TrainingState, so that a resumed training scales as an uninterrupted one does. Raises
    UsageError for fp16 without a GPU.
    """

    def __init__(self, amp: AmpName, device: torch.device, learnt: Mapping[str, Tensor] | None = None) -> None:
        check_amp(amp, device)
        self._device, self._type = device.type, _TYPES.get(amp)
        self._scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None
        if self._scaler is not None and learnt:
            numbers = {"scale": learnt["scale"].item(), "_growth_tracker": int(learnt["growth_tracker"].item())}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **numbers})

    def forward(self, model: nn.Module, features: Tensor) -> Tensor:
        """The model's logits (B, C)."""
        if self._type is None:
            logits_BC: Tensor = model(features)
            return logits_BC
        with torch.autocast(self._device, self._type):
            logits_BC = model(features)
        return logits_BC.float()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``, scaled for fp16, to the parameters' own."""
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale_(self, optimizer: Optimizer, parameters: Iterable[Tensor]) -> bool:
        """Take the scale off the gradients; whether they are finite, so that the step will be taken."""
        if self._scaler is None:
            return True
        self._scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))

    @torch.no_grad()
    def unscale_gradients_(self, parameters: Iterable[Tensor]) -> bool:
        """The same for gradients that no optimizer will use; a scale that is down to 1 can be lowered no more."""
        if self._scaler is None:
            return True
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_div_(gradients, self._scaler.get_scale())
        is_finite = bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
        return is_finite or self._scaler.get_scale() <= 1

    def lower(self) -> None:
        """Halve the scale."""
        if self._scaler is not None:
            self._scaler.update(self._scaler.get_scale() / 2)

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer's step; fp16 skips one whose gradients overflowed, and scales less from then on."""
        if self._scaler is None:
            optimizer.step()
            return
        self._scaler.step(optimizer)
        self._scaler.update()

    def capture(self) -> dict[str, Tensor]:
        """What the scaler has learnt, by name; empty without one."""
        if self._scaler is None:
            return {}
        numbers = self._scaler.state_dict()
        return {
            "scale": torch.tensor(numbers["scale"], dtype=torch.float64),
            "growth_tracker": torch.tensor(numbers["_growth_tracker"]),
        }


def check_amp(amp: AmpName, device: torch.device) -> None:
    """Raise UsageError when ``device`` cannot train in this precision."""
    if amp == "fp16" and device.type != "cuda":
        raise UsageError(
            f"amp = 'fp16' scales losses on a CUDA device, and this training runs on {device.type!r}. Use "
            "amp = 'bf16', which needs no scaling, or 'none'; on a CPU 'none' is the fastest."
        )
