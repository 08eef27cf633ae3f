"""The active weights of a model as one vector, and the way from dense tensors to it and back."""

# P active numbers of the model: weights that the pattern keeps, and all biases.

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from safecompress.sparsity import SparsityPattern


class FlatLayout:
    """Where each active number of ``model`` lies in a vector (P,), parameter after parameter, row-major in each."""

    def __init__(self, model: nn.Module, pattern: SparsityPattern) -> None:
        self.shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        masks = dict(pattern.pairs(model))
        self.places = {
            name: masks[parameter].flatten().nonzero().flatten()
            if parameter in masks
            else torch.arange(parameter.numel())
            for name, parameter in model.named_parameters()
        }
        ends = accumulate((len(places) for places in self.places.values()), initial=0)
        self.slices = {name: slice(*ends) for name, ends in zip(self.places, pairwise(ends), strict=True)}

    def gather(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The vector (P,) of the active numbers in the tensors ``tensors``, by parameter name."""
        return torch.cat([tensors[name].reshape(-1)[places] for name, places in self.places.items()])

    def scatter(self, flat_P: Tensor) -> dict[str, Tensor]:
        """Dense tensors by parameter name with ``flat_P`` at the active places, and zero elsewhere."""
        dense = {name: torch.zeros(shape, dtype=flat_P.dtype) for name, shape in self.shapes.items()}
        for name, places in self.places.items():
            dense[name].view(-1)[places] = flat_P[self.slices[name]]
        return dense

    def by_rows(self, name: str) -> csr_array:
        """The active places of the matrix ``name``; each holds its rank among them, in row-major order."""
        places, shape = self.places[name].numpy(), self.shapes[name]
        starts = np.searchsorted(places, np.arange(shape[0] + 1) * shape[1])
        ranks = np.arange(len(places), dtype=np.int32)
        return csr_array((ranks, (places % shape[1]).astype(np.int32), starts.astype(np.int32)), shape=tuple(shape))

    def gather_optimizer(self, tensors_by_key: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An optimizer's state of the vector, by name, from that of each parameter, keyed ``parameter/name``.

        The number of steps taken is one for all. Raises KeyError where a parameter has no state.
        """
        names = dict.fromkeys(key.rpartition("/")[2] for key in tensors_by_key)
        states = {}
        for name in names:
            tensors = {parameter: tensors_by_key[f"{parameter}/{name}"] for parameter in self.shapes}
            is_dense = all(tensor.shape == self.shapes[key] for key, tensor in tensors.items())
            states[name] = self.gather(tensors) if is_dense else next(iter(tensors.values())).clone()
        return states

    def scatter_optimizer(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `gather_optimizer` takes, of the vector's ``states``."""
        count = sum(map(len, self.places.values()))
        dense: dict[str, Tensor] = {}
        for name, state in states.items():
            is_flat = state.shape == (count,)
            tensors = self.scatter(state) if is_flat else {parameter: state.clone() for parameter in self.shapes}
            dense |= {f"{parameter}/{name}": tensor for parameter, tensor in tensors.items()}
        return {f"{parameter}/{name}": dense[f"{parameter}/{name}"] for parameter in self.shapes for name in states}
