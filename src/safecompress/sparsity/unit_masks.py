"""Structured sparsity: masks over whole units, their initial selection, and how a regrown unit is initialised."""

# E entries of a group (units, or blocks of units that share a norm), M numbers that one entry has in a tensor

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import UsageError
from safecompress.seeding import derive
from safecompress.sparsity.allocate import Allocation, count_active
from safecompress.sparsity.initialise import Start
from safecompress.sparsity.layers import SIGNED, LayerView, view_layers
from safecompress.sparsity.pattern import Fill, Move, Rewiring, SparsityPattern
from safecompress.sparsity.rewire import Stream
from safecompress.sparsity.topk import Indices, largest
from safecompress.sparsity.unit_graph import Slice, UnitGroup, unit_groups


def fit_units(model: nn.Module, input_shape: tuple[int, ...], weights: Mapping[str, Tensor]) -> UnitGrouping:
    """The grouping of the parameters ``weights`` by ``model``'s unit groups.

    A group that runs through a parameter which may not be sparse or is frozen stays whole: its units could neither be
    dropped nor grown as one. Raises UsageError when no group is left, and what `unit_groups` raises.
    """
    parameters = dict(model.named_parameters())
    fixed = [name for name, p in parameters.items() if (p.ndim >= 2 and name not in weights) or not p.requires_grad]
    all_groups = unit_groups(model, input_shape)
    groups = tuple(group for group in all_groups if not any(part.name in fixed for part in group.slices))
    if not groups:
        why = "the model has none"
        if all_groups:
            names = ", ".join(fixed)
            why = f"each of the model's {len(all_groups)} groups runs through what is excluded or frozen: {names}"
        raise UsageError(f"No hidden units can be cut, since {why}. Use the shape 'weight' or 'block'.")
    return UnitGrouping({name: tuple(w.shape) for name, w in weights.items()}, groups, _fresh(model, groups, weights))


def _fresh(model: nn.Module, unit_groups: Sequence[UnitGroup], weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The values of biases, norms and their statistics in a new network, by name; biases begin at zero."""
    values = {}
    for part in (part for group in unit_groups for part in group.slices if part.name not in weights):
        owner, _, held = part.name.rpartition(".")
        layer = copy.deepcopy(model.get_submodule(owner)).cpu()
        if held != "bias":
            layer.reset_parameters()  # type: ignore[operator]  # a norm or PReLU: its reset draws nothing
        tensor = getattr(layer, held).detach().float()
        values[part.name] = (torch.zeros_like(tensor) if held == "bias" else tensor).numpy()
    return values


@dataclass(frozen=True, eq=False)
class UnitGrouping:
    """Each folded layer is a group of units, each entry a unit (or the units that share a norm's statistics).

    A weight is active when the unit that it makes and the unit that it reads are, so a mask is the outer product of two
    lists of active units; inputs and outputs of the network are always active. Rules see the L2 norm of all active
    weights that make, carry or read a unit (all positive, so that `DropSet` is `DropMagnitude` here), the gradient's
    and the momentum's likewise, and whether it was ever active. The number of active units of each group stays, so
    every parameter keeps its count of weights.

    A grown unit must be able to learn, and from zero on both sides it could not. So the weights that make it are drawn
    afresh (He et al. 2015: standard deviation sqrt(2 / active fan-in)), those that read it begin at zero: the network's
    function does not change at that moment, and the readers learn from the first step. Its bias and its entries in
    norms, statistics included, begin as in a new network: while it was inactive, its variance went to zero and weight
    decay shrank its scale, neither of which says anything of the new unit. What a dropped unit leaves there is kept
    until then, since nothing reads it.

    ``shapes`` are those of the sparse parameters, ``fresh`` the initial values of all others.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    groups: tuple[UnitGroup, ...] = field(repr=False)
    fresh: Mapping[str, np.ndarray] = field(repr=False)

    def initial(
        self, weights: Mapping[str, Tensor], density: float, *, allocation: Allocation, start: Start, seed: int
    ) -> SparsityPattern:
        """One share of active units in all groups, the largest whose weights do not exceed round(density x N).

        So the density is met from below, and ``allocation`` is not used. Every group keeps at least one entry.
        `Start.SCRATCH` draws the active units at random, the others keep those of largest norm. Raises UsageError when
        even one entry in each group makes too many weights.
        """
        counts = self._counts(count_active(weights, density), density)
        everything = {name: torch.ones(shape, dtype=torch.bool) for name, shape in self.shapes.items()}
        views = self.fold(view_layers(weights, everything)) if start is not Start.SCRATCH else ()
        norms = {view.name: view.weight for view in views}
        living = {}
        for group in self.groups:
            alive, count = np.zeros(_num_entries(group), dtype=bool), counts[group.name]
            if start is not Start.SCRATCH:
                alive[largest(norms[group.name], count)] = True
            else:
                generator = derive(seed, "initialise", group.name)
                alive[generator.choice(alive.size, count, replace=False, shuffle=False)] = True
            living[group.name] = alive
        return SparsityPattern({name: torch.from_numpy(mask) for name, mask in self._masks(living).items()})

    def fold(self, layers: Sequence[LayerView]) -> Sequence[LayerView]:
        """One view for each group of units, of the views of all sparse parameters."""
        by_name = {layer.name: layer for layer in layers}
        return [
            LayerView(
                group.name,
                weight=self._norms(group, by_name, "weight"),
                mask=self._any(group, by_name, "mask"),
                fired=self._any(group, by_name, "fired") if _has(layers, "fired") else None,
                norms={name: self._norms(group, by_name, name) for name in SIGNED if _has(layers, name)},
            )
            for group in self.groups
        ]

    def unfold(self, rewiring: Rewiring, layers: Sequence[LayerView], *, stream: Stream) -> Rewiring:
        """Moves of all weights of the units that are dropped and grown, and the initial values of the grown ones."""
        if not rewiring.moves:
            return rewiring
        by_name = {layer.name: layer for layer in layers}
        living = {group.name: self._any(group, by_name, "mask") for group in self.groups}
        for name, move in rewiring.moves.items():
            living[name][move.dropped] = False
            living[name][move.grown] = True
        masks = self._masks(living)
        moves = {}
        for layer in layers:
            mask = masks[layer.name].reshape(-1)
            moves[layer.name] = Move(np.flatnonzero(layer.mask & ~mask), np.flatnonzero(mask & ~layer.mask))
        fills = {
            part.name: self._fill(part, _units(group, rewiring.moves[group.name].grown), masks, group, stream)
            for group in self.groups
            if rewiring.moves[group.name].grown.size
            for part in group.slices
            if part.role != "reads"
        }
        return Rewiring(moves, fills)

    def _fill(
        self, part: Slice, units: Tensor, masks: Mapping[str, np.ndarray], group: UnitGroup, stream: Stream
    ) -> Fill:
        """The initial values of the grown ``units`` in one parameter or buffer that makes or carries them."""
        rows = part.places(units).numpy()
        if part.name not in masks:
            return Fill(rows, self.fresh[part.name][rows])
        mask = masks[part.name].reshape(len(masks[part.name]), -1)[rows]
        row, column = np.nonzero(mask)
        deviation = np.sqrt(2 / mask.sum(axis=1).clip(min=1))[row]
        numbers = deviation * stream(group.name, "recruit", part.name).standard_normal(row.size)
        row_length = math.prod(self.shapes[part.name][1:])
        return Fill(rows[row] * row_length + column, numbers.astype(np.float32))

    def _counts(self, budget: int, density: float) -> dict[str, int]:
        """Active entries of each group."""
        sizes = {group.name: _num_entries(group) for group in self.groups}

        def at(share: Fraction) -> dict[str, int]:
            return {name: max(1, math.floor(share * size)) for name, size in sizes.items()}

        def num_weights(share: Fraction) -> int:
            return self._num_weights(at(share))

        shares = sorted({Fraction(count, size) for size in sizes.values() for count in range(1, size + 1)})
        place = bisect_right(shares, budget, key=num_weights)
        if not place:
            total, least = sum(map(math.prod, self.shapes.values())), num_weights(shares[0])
            raise UsageError(
                f"density {density} keeps {budget} of {total} weights, and one living unit (or block of units that "
                f"share a norm) in each of the {len(sizes)} groups already has {least}. Use at least "
                f"{math.ceil(1e4 * least / total) / 1e4:g}."
            )
        return at(shares[place - 1])

    def _num_weights(self, counts: Mapping[str, int]) -> int:
        """Active weights when each group has as many active entries."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        for group in self.groups:
            for part in self._sparse(group):
                shapes[part.name][part.dim] = counts[group.name] * group.block * part.width
        return sum(map(math.prod, shapes.values()))

    def _masks(self, living: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outer products, in the parameters' shapes."""
        masks = {name: np.ones(shape, dtype=bool) for name, shape in self.shapes.items()}
        for group in self.groups:
            for part in self._sparse(group):
                places = np.repeat(living[group.name], group.block * part.width)
                masks[part.name] &= places.reshape(-1, *[1] * (len(self.shapes[part.name]) - part.dim - 1))
        return masks

    def _sparse(self, group: UnitGroup) -> Iterator[Slice]:
        return (part for part in group.slices if part.name in self.shapes)

    def _per_entry(self, group: UnitGroup, part: Slice, flat: np.ndarray) -> np.ndarray:
        """The numbers (E, M) of each entry in the parameter of ``part``, of which ``flat`` is a flat array."""
        tensor = torch.from_numpy(flat).reshape(self.shapes[part.name])
        return part.per_unit(tensor).reshape(_num_entries(group), -1).numpy()

    def _any(self, group: UnitGroup, views: Mapping[str, LayerView], name: str) -> np.ndarray:
        """Which entries (E,) have a True in the arrays called ``name``."""
        parts = [self._per_entry(group, part, views[part.name].signal(name)) for part in self._sparse(group)]
        return np.asarray(np.logical_or.reduce([numbers_EM.any(axis=1) for numbers_EM in parts]))

    def _norms(self, group: UnitGroup, views: Mapping[str, LayerView], name: str) -> np.ndarray:
        """L2 norms (E,) over all active weights of the arrays called ``name``."""
        total_E = np.zeros(_num_entries(group))
        for part in self._sparse(group):
            layer = views[part.name]
            living_EM = self._per_entry(group, part, layer.signal(name) * layer.mask)
            total_E += np.square(living_EM).sum(axis=1, dtype=np.float64)
        return np.asarray(np.sqrt(total_E), dtype=np.float32)


def _has(layers: Sequence[LayerView], name: str) -> bool:
    return all(getattr(layer, name) is not None for layer in layers)


def _num_entries(group: UnitGroup) -> int:
    return group.size // group.block


def _units(group: UnitGroup, entries: Indices) -> Tensor:
    """The units of ``entries``."""
    return torch.from_numpy((entries[:, None] * group.block + np.arange(group.block)).reshape(-1))
