"""A SparsityPattern: which weights of a model are active. A value: rewiring makes a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.sparsity.topk import Indices


@dataclass(frozen=True, slots=True, eq=False)
class SparsityPattern:
    """Masks by parameter name; True is active. ``density`` counts the masked parameters only (biases stay dense)."""

    masks: Mapping[str, Tensor] = field(repr=False)

    @property
    def num_weights(self) -> int:
        """How many weights could be active: the denominator of ``density``."""
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def num_active(self) -> int:
        """How many weights are active."""
        return sum(int(mask.count_nonzero()) for mask in self.masks.values())

    @property
    def density(self) -> float:
        """Share of weights kept, in [0, 1]; 1 when nothing is masked."""
        return self.num_active / self.num_weights if self.num_weights else 1.0

    def layer_densities(self) -> dict[str, float]:
        """Density of each masked parameter."""
        return {name: float(mask.float().mean()) for name, mask in self.masks.items()}

    def digest(self) -> str:
        """SHA-256 over names, shapes and masks: equal for equal patterns on any machine."""
        sha = hashlib.sha256()
        for name, mask in sorted(self.masks.items()):
            sha.update(f"{name}{tuple(mask.shape)}".encode())
            sha.update(np.packbits(mask.cpu().numpy()).tobytes())
        return sha.hexdigest()

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Assign +0.0 to every inactive weight of ``model`` (a multiplication would leave -0.0 and change digests)."""
        for parameter, mask in self.pairs(model):
            parameter.masked_fill_(~mask.to(parameter.device), 0.0)

    def pairs(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each masked parameter of ``model`` with its mask. Raises ModelError where the two do not fit."""
        parameters = dict(model.named_parameters())
        for name, mask in self.masks.items():
            if name not in parameters or parameters[name].shape != mask.shape:
                got = tuple(parameters[name].shape) if name in parameters else "no such parameter"
                raise ModelError(
                    f"The pattern's mask {name!r} has shape {tuple(mask.shape)}, the model has {got}. "
                    "Use the pattern with the model it was made for."
                )
            yield parameters[name], mask


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """What one rewire does to one parameter: flat indices switched off and, exactly as many, switched on."""

    dropped: Indices = field(repr=False)
    grown: Indices = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """Numbers (n,) to write at flat ``places`` (n,) of one parameter or buffer."""

    places: Indices = field(repr=False)
    numbers: np.ndarray = field(repr=False)

    @torch.no_grad()
    def write_(self, tensor: Tensor) -> None:
        """Write the numbers into ``tensor``, whatever its layout."""
        where = (torch.from_numpy(along) for along in np.unravel_index(self.places, tuple(tensor.shape)))
        tensor.index_put_(tuple(along.to(tensor.device) for along in where), torch.from_numpy(self.numbers).to(tensor))

    def clear_(self, tensor: Tensor) -> None:
        """Write zeros at the same places."""
        Fill(self.places, np.zeros_like(self.numbers)).write_(tensor)


@dataclass(frozen=True, slots=True, eq=False)
class Rewiring:
    """The moves of one rewire, by parameter name: a candidate as index lists, not as a copy of the model.

    ``values`` are the initial values of grown weights (zero where there are none), by name in the state dict.
    """

    moves: Mapping[str, Move] = field(repr=False)
    values: Mapping[str, Fill] = field(default_factory=dict, repr=False)

    @property
    def num_moved(self) -> int:
        """How many weights change place."""
        return sum(len(move.dropped) for move in self.moves.values())

    def applied_to(self, pattern: SparsityPattern) -> SparsityPattern:
        """The pattern after the moves; every parameter keeps its count."""
        masks = dict(pattern.masks)
        for name, move in self.moves.items():
            mask = masks[name].clone()
            flat = mask.view(-1)
            flat[torch.from_numpy(move.dropped).to(mask.device)] = False
            flat[torch.from_numpy(move.grown).to(mask.device)] = True
            masks[name] = mask
        return SparsityPattern(masks)
