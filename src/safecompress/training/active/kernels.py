"""Loops over active weights, compiled by Numba: a layer's outputs, its gradients, and the optimizer's step.

Activations are feature-major: one row for each feature, one column for each row of the batch. Every active weight then
multiplies a whole contiguous row, in vector instructions of whatever width the processor has.

What is compiled is kept beside this file, or in the user's cache folder where this one cannot be written
(``NUMBA_CACHE_DIR`` names another), so that one process compiles and the others load.
"""

# I inputs, O outputs of the layer; W columns (a batch of B, filled up to whole vectors); K active weights; P numbers.

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int32]

_USUAL = 128
"""Columns of a batch of the default size."""

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "contract"},  # sums in any order; NaN and infinity as ever
}


def _compiled(signature: str, function: Callable[..., None]) -> Callable[..., None]:
    try:
        kernel: Callable[..., None] = numba.njit(signature, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder can be written: this process compiles for itself
        kernel = numba.njit(signature, **_OPTIONS)(function)
    return kernel


def _outputs(fixed: int) -> Callable[..., None]:
    def outputs(
        starts: Places, columns: Places, weights_K: Floats, bias_O: Floats, x_IW: Floats, out_OW: Floats, has_relu: bool
    ) -> None:
        """``out`` = weights times ``x`` plus bias. Row o has the weights ``starts[o]`` to ``starts[o + 1]``."""
        width = fixed if fixed else x_IW.shape[1]
        for o in range(out_OW.shape[0]):
            out = out_OW[o]
            bias = bias_O[o]
            for c in range(width):
                out[c] = bias
            k, end = starts[o], starts[o + 1]
            while k + 4 <= end:  # four at a time: a load and a store of the sum for four products
                w0, w1, w2, w3 = weights_K[k], weights_K[k + 1], weights_K[k + 2], weights_K[k + 3]
                x0, x1, x2, x3 = x_IW[columns[k]], x_IW[columns[k + 1]], x_IW[columns[k + 2]], x_IW[columns[k + 3]]
                for c in range(width):
                    out[c] += w0 * x0[c] + w1 * x1[c] + w2 * x2[c] + w3 * x3[c]
                k += 4
            while k < end:
                w0, x0 = weights_K[k], x_IW[columns[k]]
                for c in range(width):
                    out[c] += w0 * x0[c]
                k += 1
            if has_relu:
                for c in range(width):
                    out[c] = max(out[c], np.float32(0))  # NaN stays

    return outputs


def _input_gradient(fixed: int) -> Callable[..., None]:
    def input_gradient(
        starts: Places,
        out_rows: Places,
        places: Places,
        weights_K: Floats,
        gradient_OW: Floats,
        out_IW: Floats,
        has_relu: bool,
    ) -> None:
        """``out`` = transposed weights times ``gradient``. Column i has ``places[starts[i]]`` to ``[starts[i + 1]]``.

        With ``has_relu``, ``out`` holds the inputs, outputs of a ReLU: where they are zero, so is the gradient.
        """
        width = fixed if fixed else out_IW.shape[1]
        sums = np.empty(width, np.float32)
        for i in range(out_IW.shape[0]):
            out = out_IW[i]
            for c in range(width):
                sums[c] = np.float32(0)
            k, end = starts[i], starts[i + 1]
            while k + 4 <= end:
                w0, w1 = weights_K[places[k]], weights_K[places[k + 1]]
                w2, w3 = weights_K[places[k + 2]], weights_K[places[k + 3]]
                g0, g1 = gradient_OW[out_rows[k]], gradient_OW[out_rows[k + 1]]
                g2, g3 = gradient_OW[out_rows[k + 2]], gradient_OW[out_rows[k + 3]]
                for c in range(width):
                    sums[c] += w0 * g0[c] + w1 * g1[c] + w2 * g2[c] + w3 * g3[c]
                k += 4
            while k < end:
                w0, g0 = weights_K[places[k]], gradient_OW[out_rows[k]]
                for c in range(width):
                    sums[c] += w0 * g0[c]
                k += 1
            if has_relu:
                for c in range(width):
                    out[c] = np.float32(0) if out[c] <= 0 else sums[c]
            else:
                for c in range(width):
                    out[c] = sums[c]

    return input_gradient


def _weight_gradient(fixed: int) -> Callable[..., None]:
    def weight_gradient(
        starts: Places, columns: Places, x_IW: Floats, gradient_OW: Floats, weights_K: Floats, bias_O: Floats
    ) -> None:
        """The gradients of active ``weights`` and of ``bias``, which is empty for a layer that has none."""
        width = fixed if fixed else x_IW.shape[1]
        for o in range(gradient_OW.shape[0]):
            gradient = gradient_OW[o]
            if bias_O.shape[0]:
                total = np.float32(0)
                for c in range(width):
                    total += gradient[c]
                bias_O[o] = total
            k, end = starts[o], starts[o + 1]
            while k + 4 <= end:  # four at a time: one load of the gradient for four products
                x0, x1, x2, x3 = x_IW[columns[k]], x_IW[columns[k + 1]], x_IW[columns[k + 2]], x_IW[columns[k + 3]]
                s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for c in range(width):
                    g = gradient[c]
                    s0 += g * x0[c]
                    s1 += g * x1[c]
                    s2 += g * x2[c]
                    s3 += g * x3[c]
                weights_K[k], weights_K[k + 1], weights_K[k + 2], weights_K[k + 3] = s0, s1, s2, s3
                k += 4
            while k < end:
                x0 = x_IW[columns[k]]
                s0 = np.float32(0)
                for c in range(width):
                    s0 += gradient[c] * x0[c]
                weights_K[k] = s0
                k += 1

    return weight_gradient


def _adam(
    active_P: Floats, gradient: Floats, mean: Floats, mean_square: Floats, rates: NDArray[np.float64], has_decay: bool
) -> None:
    """One step of Adam or, with ``has_decay``, AdamW; all arrays are (P,) and change in place, but the gradient.

    ``rates``: the learning rate, both betas, epsilon, the weight decay, and the bias corrections of both means.
    """
    rate, beta1, beta2, epsilon, decay, correction1, correction2 = rates
    step, root = np.float32(rate / correction1), np.float32(1 / np.sqrt(correction2))
    share1, share2, keep2 = np.float32(1 - beta1), np.float32(1 - beta2), np.float32(beta2)
    shrink = np.float32(1 - rate * decay) if has_decay else np.float32(1)
    pull, least = np.float32(0 if has_decay else decay), np.float32(epsilon)
    for p in range(active_P.shape[0]):
        number = active_P[p] * shrink
        g = gradient[p] + pull * number
        mean[p] += share1 * (g - mean[p])
        mean_square[p] = keep2 * mean_square[p] + share2 * g * g
        active_P[p] = number - step * mean[p] / (np.sqrt(mean_square[p]) * root + least)


def _sgd(active_P: Floats, gradient: Floats, buffer: Floats, rates: NDArray[np.float64], is_first: bool) -> None:
    """One step of SGD; all arrays are (P,) and change in place, but the gradient. An empty ``buffer``: no momentum.

    ``rates``: the learning rate, the momentum, the weight decay, and 1 for Nesterov's look ahead.
    """
    rate, momentum, decay = np.float32(rates[0]), np.float32(rates[1]), np.float32(rates[2])
    if not buffer.shape[0]:
        for p in range(active_P.shape[0]):
            active_P[p] -= rate * (gradient[p] + decay * active_P[p])
        return
    share = np.float32(0) if is_first else momentum
    ahead, own = (momentum, np.float32(1)) if rates[3] else (np.float32(1), np.float32(0))
    for p in range(active_P.shape[0]):
        g = gradient[p] + decay * active_P[p]
        buffer[p] = share * buffer[p] + g
        active_P[p] -= rate * (ahead * buffer[p] + own * g)


class Kernels(NamedTuple):
    """The products of a layer, compiled."""

    outputs: Callable[..., None]
    input_gradient: Callable[..., None]
    weight_gradient: Callable[..., None]


@functools.cache
def kernels_for(width: int) -> Kernels:
    """The products for arrays of so many columns. Of the usual batch the compiler knows it, which saves a tenth."""
    fixed = width if width == _USUAL else 0
    return Kernels(
        _compiled("void(i4[::1], i4[::1], f4[::1], f4[::1], f4[:, ::1], f4[:, ::1], b1)", _outputs(fixed)),
        _compiled("void(i4[::1], i4[::1], i4[::1], f4[::1], f4[:, ::1], f4[:, ::1], b1)", _input_gradient(fixed)),
        _compiled("void(i4[::1], i4[::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1])", _weight_gradient(fixed)),
    )


adam = _compiled("void(f4[::1], f4[::1], f4[::1], f4[::1], f8[::1], b1)", _adam)
sgd = _compiled("void(f4[::1], f4[::1], f4[::1], f8[::1], b1)", _sgd)
