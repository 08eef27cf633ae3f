"""A chain of linear layers by its non-zero weights: each layer by the kernel that is quickest on this machine."""

# N samples, F features, C classes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from safecompress.export import TaskInfo
from safecompress.runtime.chain import Layer
from safecompress.runtime.kernels import matrix_kernels, vector_kernels
from safecompress.runtime.measure import quickest
from safecompress.runtime.predictor import Floats

FEW, MANY = 8, 64  # rows at which kernels are timed, beside one
MOST_FEW = 16  # up to so many rows take the kernels that were quickest for FEW
MOST = 128  # rows at once: the activations of more fall out of the caches

Kernel = Callable[[Any], Any]


class CsrEngine:
    """The layers of ``chain`` behind the transform of ``task``. Building it takes some milliseconds of timing.

    ``kernels`` holds the names of the kernels chosen, one a layer, by the rows that they were timed at. A NaN or an
    infinity in a sample spreads no further than along the weights that are there.
    """

    name = "csr"

    def __init__(self, chain: Sequence[Layer], task: TaskInfo) -> None:
        self._shift, self._scale = (None if part is None else part.numpy() for part in (task.shift, task.scale))
        self.kernels: dict[int, tuple[str, ...]] = {}
        matrix_offers = [matrix_kernels(layer) for layer in chain]
        with torch.inference_mode():
            self._one = self._choose(1, chain, [vector_kernels(layer) for layer in chain])
            self._few = self._choose(FEW, chain, matrix_offers)
            self._many = self._choose(MANY, chain, matrix_offers)

    @property
    def is_dense(self) -> bool:
        """Whether the dense kernel won in every layer, so that zeros save nothing."""
        return all(name == "dense" for names in self.kernels.values() for name in names)

    def logits(self, samples_N: Floats) -> Floats:
        """Logits (N, C) of raw samples (N, *input_shape)."""
        inputs_N = samples_N if self._shift is None else samples_N - self._shift
        inputs_N = inputs_N if self._scale is None else inputs_N / self._scale
        inputs_NF = inputs_N.reshape(len(inputs_N), -1)
        if len(inputs_NF) == 1:
            return self._logits_of_one(inputs_NF[0])
        parts = [self._logits_of_some(inputs_NF[start : start + MOST]) for start in range(0, len(inputs_NF), MOST)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def describe(self) -> str:
        """The kernels in a few words: ``1 row spmv+spmv+dense, 8 rows spmm+spmm+dense, 64 rows bag+bag+bag``."""
        return ", ".join(f"{num} row{'s' * (num > 1)} {'+'.join(names)}" for num, names in self.kernels.items())

    def _logits_of_one(self, activations_F: Floats) -> Floats:
        for kernel in self._one:
            activations_F = kernel(activations_F)
        return activations_F[None]

    def _logits_of_some(self, inputs_NF: Floats) -> Floats:
        with torch.inference_mode():
            activations_FN = torch.from_numpy(inputs_NF).t().contiguous()
            for kernel in self._few if len(inputs_NF) <= MOST_FEW else self._many:
                activations_FN = kernel(activations_FN)
            logits_NC: Floats = activations_FN.t().contiguous().numpy()
        return logits_NC

    def _choose(self, num_rows: int, chain: Sequence[Layer], offers: Sequence[Mapping[str, Kernel]]) -> list[Kernel]:
        noise = np.random.default_rng(0)
        names = []
        for layer, offered in zip(chain, offers, strict=True):
            shape = (layer.weight_OF.shape[1], num_rows)
            inputs_FN = np.maximum(noise.standard_normal(shape, dtype=np.float32), 0)
            names.append(_quickest(offered, inputs_FN[:, 0] if num_rows == 1 else torch.from_numpy(inputs_FN)))
        self.kernels[num_rows] = tuple(names)
        return [offered[name] for offered, name in zip(offers, names, strict=True)]


def _quickest(offered: Mapping[str, Kernel], activations: Any) -> str:
    """The name of the kernel that takes least time for ``inputs``, among those that run here at all."""
    calls = {}
    for name, kernel in offered.items():
        try:
            kernel(activations)
        except (RuntimeError, NotImplementedError):  # this build of PyTorch lacks it
            continue
        calls[name] = lambda kernel=kernel: kernel(activations)
    return next(iter(quickest(calls)))
