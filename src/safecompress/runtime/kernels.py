"""Ways to compute one linear layer with its ReLU. Stock SciPy and PyTorch; the clock chooses between them.

Activations are kept feature-major, (features, rows), so that a weight meets one stretch of memory:

- ``bag``: a unit is a bag of inputs, so that a layer is one weighted ``embedding_bag`` over the rows of activations.
  Its kernel (FBGEMM, made for recommenders) keeps the sums of a unit in registers.
- ``spmm``: an int32 CSR matrix times a matrix (MKL).
- ``spmv``: an int32 CSR matrix times one row (SciPy).
- ``dense``: all weights, zeros included.

A zero weight is never multiplied but in ``dense``.
"""

# N rows, F features, O units of a layer

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from safecompress.runtime.chain import Layer
from safecompress.runtime.predictor import Floats

try:
    from scipy.sparse._sparsetools import csr_matvec
except ImportError:  # private; the public product computes the same, and takes a fifth longer at one row
    csr_matvec = None

VectorKernel = Callable[[Floats], Floats]
"""From the activations (F,) of one row to those of the next layer (O,)."""
MatrixKernel = Callable[[Tensor], Tensor]
"""From the activations (F, N) of N rows to those of the next layer (O, N)."""


def vector_kernels(link: Layer) -> dict[str, VectorKernel]:
    """The ways to compute ``link`` for one row."""
    weight_OF, bias_O, zeros_O = link.weight_OF, link.bias_O, np.zeros_like(link.bias_O)
    matrix = _csr(weight_OF)
    matvec = csr_matvec or _public_matvec(matrix)
    parts = (*matrix.shape, matrix.indptr, matrix.indices, matrix.data)

    def activate(sums_O: Floats) -> Floats:
        return np.maximum(sums_O, zeros_O, out=sums_O) if link.has_relu else sums_O

    def spmv(inputs_F: Floats) -> Floats:
        sums_O = bias_O.copy()
        matvec(*parts, inputs_F, sums_O)
        return activate(sums_O)

    def dense(inputs_F: Floats) -> Floats:
        sums_O: Floats = weight_OF @ inputs_F
        sums_O += bias_O
        return activate(sums_O)

    return {"spmv": spmv, "dense": dense}


def matrix_kernels(link: Layer) -> dict[str, MatrixKernel]:
    """The ways to compute ``link`` for several rows; some may be missing from this build of PyTorch."""
    matrix, weight_OF = _csr(link.weight_OF), torch.from_numpy(link.weight_OF)
    bias_O1 = torch.from_numpy(link.bias_O)[:, None]
    starts, indices, values = map(torch.from_numpy, (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "sparse CSR support is in beta state"
        sparse_OF = torch.sparse_csr_tensor(starts, indices, values, size=matrix.shape)

    def activate(sums_ON: Tensor) -> Tensor:
        return sums_ON.relu_() if link.has_relu else sums_ON

    def bag(inputs_FN: Tensor) -> Tensor:
        sums_ON = functional.embedding_bag(
            indices, inputs_FN, starts, mode="sum", per_sample_weights=values, include_last_offset=True
        )
        return activate(sums_ON.add_(bias_O1))

    def spmm(inputs_FN: Tensor) -> Tensor:
        return activate(torch.addmm(bias_O1, sparse_OF, inputs_FN))

    def dense(inputs_FN: Tensor) -> Tensor:
        return activate(torch.addmm(bias_O1, weight_OF, inputs_FN))

    return {"bag": bag, "spmm": spmm, "dense": dense}


def _csr(weight_OF: Floats) -> sparse.csr_array:
    matrix = sparse.csr_array(weight_OF)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def _public_matvec(matrix: sparse.csr_array) -> Callable[..., None]:
    def matvec(*arguments: Floats) -> None:
        *_, inputs_F, sums_O = arguments
        sums_O += matrix @ inputs_F

    return matvec
