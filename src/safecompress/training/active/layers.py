"""The layers of the active engine: each computes its outputs, and from their gradient that of its inputs."""

# F features, W columns: the rows of a batch (the first B), filled up to whole vectors.

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from safecompress.training.active import kernels


class Layer(Protocol):
    """One step of a chain. It may write into the tensors that it is given."""

    def forward(self, x_FW: Tensor, num_rows: int) -> Tensor:
        """The outputs (F', W) of the inputs, of which the first ``num_rows`` columns are rows of the batch."""
        ...

    def backward(self, gradient_FW: Tensor) -> Tensor:
        """The gradient of the inputs of the last `forward`, from that of its outputs."""
        ...


class SparseLinear:
    """A linear layer of which the weights ``is_active`` (O, I) are stored; its numbers lie in vectors of the owner.

    ``weights`` and ``bias`` (empty for none) are what it computes with, ``weight_gradient`` and ``bias_gradient`` what
    `backward` fills in. The first layer of a chain needs no ``has_input_gradient``.
    """

    def __init__(
        self,
        is_active: Tensor,
        width: int,
        numbers: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, Tensor],
        *,
        has_input_gradient: bool,
    ) -> None:
        num_out, num_in = is_active.shape
        rows, columns = is_active.numpy().nonzero()
        order = np.lexsort((rows, columns))
        self._starts = _starts(rows, num_out)
        self._columns = columns.astype(np.int32)
        self._in_starts = _starts(columns, num_in)
        self._in_rows, self._in_places = rows[order].astype(np.int32), order.astype(np.int32)
        self._weights, bias = (tensor.numpy() for tensor in numbers)
        self._weight_gradient, self._bias_gradient = (tensor.numpy() for tensor in gradients)
        self._bias = bias if bias.size else np.zeros(num_out, np.float32)
        self._out = torch.zeros(num_out, width)
        self._in_gradient = torch.zeros(num_in, width) if has_input_gradient else torch.zeros(0, width)
        self._x = self._out.numpy()

    def forward(self, x_FW: Tensor, num_rows: int) -> Tensor:
        """The outputs (O, W) of ``x_FW`` (I, W)."""
        self._x = x_FW.numpy()
        kernels.outputs(self._starts, self._columns, self._weights, self._bias, self._x, self._out.numpy())
        return self._out

    def backward(self, gradient_FW: Tensor) -> Tensor:
        """Fill in the gradients of weights and bias; the gradient (I, W) of the inputs, or no rows of it."""
        gradient = gradient_FW.numpy()
        kernels.weight_gradient(
            self._starts, self._columns, self._x, gradient, self._weight_gradient, self._bias_gradient
        )
        if len(self._in_gradient):
            kernels.input_gradient(
                self._in_starts, self._in_rows, self._in_places, self._weights, gradient, self._in_gradient.numpy()
            )
        return self._in_gradient


class Relu:
    """Zero below zero, in place."""

    def forward(self, x_FW: Tensor, num_rows: int) -> Tensor:
        """``x_FW`` without what is negative."""
        self._out = x_FW.relu_()
        return self._out

    def backward(self, gradient_FW: Tensor) -> Tensor:
        """The gradient where the output is above zero."""
        return torch.ops.aten.threshold_backward(gradient_FW, self._out, 0)  # type: ignore[no-any-return]


class Elementwise:
    """Any activation that looks at one number at a time; PyTorch differentiates it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module)
        if hasattr(module, "inplace"):
            self._module.inplace = False  # type: ignore[assignment]  # its input is what the gradient is asked for

    def forward(self, x_FW: Tensor, num_rows: int) -> Tensor:
        """The module's output."""
        self._x = x_FW.detach().requires_grad_()
        with torch.enable_grad():
            self._out: Tensor = self._module(self._x)
        return self._out.detach()

    def backward(self, gradient_FW: Tensor) -> Tensor:
        """The gradient, times the module's slope."""
        return torch.autograd.grad(self._out, self._x, gradient_FW)[0]


class Dropout:
    """Zeroes a share ``p`` of all numbers and scales the others up; draws what `nn.Dropout` draws for (B, F)."""

    def __init__(self, p: float) -> None:
        self._p = p

    def forward(self, x_FW: Tensor, num_rows: int) -> Tensor:
        """``x_FW`` times the noise of this step."""
        self._noise_FB = functional.dropout(torch.ones(num_rows, len(x_FW)), self._p, training=True).T
        x_FW[:, :num_rows].mul_(self._noise_FB)
        return x_FW

    def backward(self, gradient_FW: Tensor) -> Tensor:
        """The gradient times the same noise."""
        gradient_FW[:, : self._noise_FB.shape[1]].mul_(self._noise_FB)
        return gradient_FW


def _starts(sorted_or_not: np.ndarray, count: int) -> np.ndarray:
    """Where each of ``count`` groups begins once equal numbers lie together, and the end."""
    sizes = np.bincount(sorted_or_not, minlength=count)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
