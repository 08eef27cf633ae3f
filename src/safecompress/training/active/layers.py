"""The layers of the active engine: each computes its outputs, and from their gradient that of its inputs."""

# F features, W columns: the rows of a batch (the first B), filled up to whole vectors.

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from safecompress.training.active.kernels import Floats, kernels_for

Reads = Literal["features", "relu", "other"]
"""What the inputs of a linear layer are."""


class ChainLayer(Protocol):
    """One step of a chain. It may write into the arrays that it is given."""

    def forward(self, x_FW: Floats, num_rows: int) -> Floats:
        """The outputs (F', W) of the inputs, of which the first ``num_rows`` columns are rows of the batch."""
        ...

    def backward(self, gradient_FW: Floats) -> Floats:
        """The gradient of the inputs of the last `forward`, from that of its outputs."""
        ...


@dataclass(frozen=True, slots=True)
class Numbers:
    """The active weights (K,) and the bias (O,) of a linear layer, and their gradients; a bias may be empty.

    They are slices of the vectors that the optimizer moves, so a layer sees each step.
    """

    weights: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


class SparseLinear:
    """A linear layer whose active weights are ``layer_numbers``; with ``has_relu`` it ends in a ReLU.

    ``by_rows`` (O, I) holds at each active weight its place among them, row by row.

    ``reads`` says what its inputs are: the features, which need no gradient; a ReLU's outputs (and dropout's), whose
    buffer `backward` turns into the gradient before that ReLU; or anything else.
    """

    def __init__(self, by_rows: csr_array, layer_numbers: Numbers, width: int, *, reads: Reads, has_relu: bool) -> None:
        num_out, num_in = by_rows.shape
        by_columns = by_rows.tocsc()
        self._starts, self._columns = by_rows.indptr, by_rows.indices
        self._in_starts, self._in_rows, self._in_places = by_columns.indptr, by_columns.indices, by_columns.data
        self._weights, self._weight_gradient = layer_numbers.weights.numpy(), layer_numbers.weight_gradient.numpy()
        self._bias_gradient = layer_numbers.bias_gradient.numpy()
        self._bias = layer_numbers.bias.numpy() if len(layer_numbers.bias) else np.zeros(num_out, np.float32)
        self._reads, self._has_relu = reads, has_relu
        self._kernels = kernels_for(width)
        self._out_OW = np.zeros((num_out, width), np.float32)
        self._gradient_IW = np.zeros((num_in if reads == "other" else 0, width), np.float32)
        self._x_IW = self._gradient_IW

    def forward(self, x_FW: Floats, num_rows: int) -> Floats:
        """The outputs (O, W) of ``x_FW`` (I, W)."""
        self._x_IW = x_FW
        self._kernels.outputs(
            self._starts, self._columns, self._weights, self._bias, x_FW, self._out_OW, self._has_relu
        )
        return self._out_OW

    def backward(self, gradient_FW: Floats) -> Floats:
        """Fill in the gradients of weights and bias; the gradient (I, W) of the inputs, or no rows of it."""
        at = self._starts, self._columns
        self._kernels.weight_gradient(*at, self._x_IW, gradient_FW, self._weight_gradient, self._bias_gradient)
        is_relu = self._reads == "relu"
        out_IW = self._x_IW if is_relu else self._gradient_IW
        if self._reads != "features":
            at_inputs = self._in_starts, self._in_rows, self._in_places
            self._kernels.input_gradient(*at_inputs, self._weights, gradient_FW, out_IW, is_relu)
        return out_IW


class Elementwise:
    """Any activation that looks at one number at a time; PyTorch differentiates it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module)
        if hasattr(module, "inplace"):
            self._module.inplace = False  # type: ignore[assignment]  # its input is what the gradient is asked for

    def forward(self, x_FW: Floats, num_rows: int) -> Floats:
        """The module's output."""
        self._x_FW = torch.from_numpy(x_FW).requires_grad_()
        with torch.enable_grad():
            self._out_FW: Tensor = self._module(self._x_FW)
        out: Floats = self._out_FW.detach().numpy()
        return out

    def backward(self, gradient_FW: Floats) -> Floats:
        """The gradient, times the module's slope."""
        (gradient,) = torch.autograd.grad(self._out_FW, self._x_FW, torch.from_numpy(gradient_FW))
        return gradient.numpy()


class Dropout:
    """Zeroes a share ``p`` of all numbers and scales the others up; draws what `nn.Dropout` draws for (B, F)."""

    def __init__(self, p: float) -> None:
        self._p = p

    def forward(self, x_FW: Floats, num_rows: int) -> Floats:
        """``x_FW`` times the noise of this step."""
        noise_BF = functional.dropout(torch.ones(num_rows, len(x_FW)), self._p, training=True)
        self._noise_FB = noise_BF.numpy().T
        return self.backward(x_FW)

    def backward(self, gradient_FW: Floats) -> Floats:
        """The gradient times the same noise."""
        gradient_FW[:, : self._noise_FB.shape[1]] *= self._noise_FB
        return gradient_FW
