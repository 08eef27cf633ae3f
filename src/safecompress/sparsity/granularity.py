"""Which weights are dropped and grown together: each alone, blocks of a row, or all that belong to one unit.

A granularity is one more axis beside how many, which and when. Fitted to a model it gives a `Grouping`: layers of
weights fold into layers with one entry for each group, drop and grow rules choose among these as they would among
weights, and their choices unfold into moves of weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import UsageError
from safecompress.registry import Registry
from safecompress.seeding import derive
from safecompress.sparsity.allocate import AllocateErk, Allocation, count_active, round_counts
from safecompress.sparsity.drop import DropRule
from safecompress.sparsity.grow import GROW_RULES, GrowRule
from safecompress.sparsity.initialise import Start, initial_pattern
from safecompress.sparsity.layers import SIGNED, LayerView, flat_array
from safecompress.sparsity.pattern import Move, Rewiring, SparsityPattern
from safecompress.sparsity.rewire import Stream
from safecompress.sparsity.topk import Indices, largest
from safecompress.sparsity.unit_masks import fit_units


class Grouping(Protocol):
    """A granularity fitted to the weights of one model."""

    def initial(
        self, weights: Mapping[str, Tensor], density: float, *, allocation: Allocation, start: Start, seed: int
    ) -> SparsityPattern:
        """The first pattern. Raises UsageError for a density outside (0, 1] or too small for the granularity."""
        ...

    def fold(self, layers: Sequence[LayerView]) -> Sequence[LayerView]:
        """Layers with one entry for each group, of the ``layers`` of weights; all that rules see."""
        ...

    def unfold(self, rewiring: Rewiring, layers: Sequence[LayerView], *, stream: Stream) -> Rewiring:
        """The moves of weights for ``rewiring``, the moves of folded layers; ``layers`` are those that were folded."""
        ...


class Granularity(Protocol):
    """Which weights of a model are dropped and grown together.

    ``hides`` names the signals (gradients, momentum) that carry no information on inactive groups, so that no grow rule
    may read them; ``is_allocated`` says whether an allocation shares the weights out over the layers.
    """

    hides: ClassVar[frozenset[str]]
    is_allocated: ClassVar[bool]

    def fit(self, model: nn.Module, input_shape: tuple[int, ...] | None, weights: Mapping[str, Tensor]) -> Grouping:
        """The grouping of the parameters ``weights`` of ``model``, which maps (N, *input_shape) to logits."""
        ...


@dataclass(frozen=True)
class EachWeight:
    """Every weight for itself."""

    hides: ClassVar[frozenset[str]] = frozenset()
    is_allocated: ClassVar[bool] = True

    def fit(self, model: nn.Module, input_shape: tuple[int, ...] | None, weights: Mapping[str, Tensor]) -> Grouping:
        """The grouping that changes nothing."""
        return UNGROUPED


@dataclass(frozen=True)
class Blocks:
    """Blocks of ``width`` neighbours on the input side of one unit: 1 x 4 blocks, as sparse kernels read them.

    A kernel (O, I, *K) counts as the matrix (O, I x prod(K)), and a block never straddles two rows. A weight whose rows
    the width does not divide keeps single weights: a first convolution reads 27 numbers as a rule, holds little of a
    network, and would otherwise keep every other layer from having blocks. Where no weight has blocks, UsageError.

    Rules see a block as one weight: the L2 norm, with the sign of the block's sum, so that `DropSet` tells two sides;
    gradient and momentum as L2 norms; fired if any of it was. So `DropTaylor` ranks by |w| |g|, which bounds the
    block's first-order change from above (Cauchy-Schwarz).

    The allocation is the one for single weights; each layer's share is then rounded to whole blocks, and largest
    remainders make the number of blocks exact.

    Source: Gray et al. 2017 and Narang et al. 2017 (block-sparse weights). Differs from the papers, whose blocks are
    square: four neighbours of a row are what a processor reads at once.
    """

    width: int = 4

    hides: ClassVar[frozenset[str]] = frozenset()
    is_allocated: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or isinstance(self.width, bool) or self.width < 2:
            raise UsageError(
                f"Blocks: width must be a whole number of at least 2, got {self.width!r}. Blocks of one weight are the "
                "shape 'weight'."
            )

    def fit(self, model: nn.Module, input_shape: tuple[int, ...] | None, weights: Mapping[str, Tensor]) -> Grouping:
        """The grouping into each weight's blocks."""
        rows = {name: weight[0].numel() for name, weight in weights.items()}
        if all(length % self.width for length in rows.values()):
            raise UsageError(
                f"No weight can have blocks of {self.width}: its rows must be a multiple of that long, and theirs are "
                f"{', '.join(f'{name} {length}' for name, length in rows.items())}. Use another width."
            )
        return BlockGrouping({name: 1 if length % self.width else self.width for name, length in rows.items()})


@dataclass(frozen=True)
class Units:
    """Whole units: hidden neurons and channels, with all weights that make or read them. See `unit_masks.UnitGrouping`.

    An inactive unit is zero on both sides: what reads it multiplies a gradient of zero into its incoming weights, and
    its output is no function of the input. So its gradient does not show how it would do, and growing by gradient or
    momentum would be a random draw in disguise: only rules that do not read them may grow units.
    """

    hides: ClassVar[frozenset[str]] = frozenset(SIGNED)
    is_allocated: ClassVar[bool] = False

    def fit(self, model: nn.Module, input_shape: tuple[int, ...] | None, weights: Mapping[str, Tensor]) -> Grouping:
        """The grouping into the model's unit groups."""
        if input_shape is None:
            raise UsageError(
                "The shape 'unit' follows a sample through the model to see which weights make and read a unit. Say "
                "how large a sample is, without the batch: input_shape=(1, 8, 8)."
            )
        return fit_units(model, tuple(input_shape), weights)


SHAPES: Registry[Granularity] = Registry(
    "shape", "safecompress.shapes", {"weight": EachWeight, "block": Blocks, "unit": Units}
)


def check_granularity(
    granularity: Granularity,
    allocation: Allocation,
    grow_rules: Iterable[GrowRule],
    drop_rules: Iterable[DropRule] = (),
) -> None:
    """Raise UsageError, with what works, when a rule or the allocation does not go with ``granularity``.

    Where entries are blocks or units, a rule that reads the sign of a gradient is refused here, before any training.
    """
    grow_rules = tuple(dict.fromkeys(grow_rules))
    blind = [rule for rule in grow_rules if rule.reads & granularity.hides]
    if blind:
        refused, hidden = ", ".join(map(repr, blind)), " or ".join(sorted(granularity.hides))
        works = " or ".join(repr(name) for name in GROW_RULES.names() if not _reads(name) & granularity.hides)
        raise UsageError(
            f"The shape {granularity!r} cannot grow by {refused}: what is inactive has no {hidden} that says how it "
            f"would do. Grow by {works}, in every branch; the default branches grow by gradient too, so name others, "
            'such as branches = ["magnitude+random", "threshold+random", "keep"].'
        )
    if not granularity.is_allocated and allocation != AllocateErk():
        raise UsageError(
            f"The shape {granularity!r} keeps one share of all groups of units and asks no allocation, got "
            f"{allocation!r}. Leave it out."
        )
    if not isinstance(granularity, EachWeight):
        for rule in (*grow_rules, *dict.fromkeys(drop_rules)):
            _refuse_signs(rule)


def _refuse_signs(rule: DropRule | GrowRule) -> None:
    """Raise UsageError when ``rule`` reads signs that norms do not have; found out on eight entries."""
    sizes = np.arange(8, dtype=np.float32)
    mask = np.arange(8) % 2 == 0
    entries = LayerView("any layer", sizes, mask, fired=mask, norms=dict.fromkeys(SIGNED, sizes))
    try:
        with contextlib.suppress(ArithmeticError, LookupError, TypeError, ValueError):  # its own trouble with so few
            rule(entries, 1, generator=np.random.default_rng(0))
    except UsageError as error:
        raise UsageError(f"{rule!r}: {error}") from error


def _reads(name: str) -> frozenset[str]:
    reads: frozenset[str] = getattr(GROW_RULES.factory(name), "reads", frozenset())
    return reads


@dataclass(frozen=True)
class Ungrouped:
    """Every entry is a weight: folds and unfolds nothing."""

    def initial(
        self, weights: Mapping[str, Tensor], density: float, *, allocation: Allocation, start: Start, seed: int
    ) -> SparsityPattern:
        """Exactly round(density x N) weights."""
        return initial_pattern(weights, density, allocation=allocation, start=start, seed=seed)

    def fold(self, layers: Sequence[LayerView]) -> Sequence[LayerView]:
        """The layers themselves."""
        return layers

    def unfold(self, rewiring: Rewiring, layers: Sequence[LayerView], *, stream: Stream) -> Rewiring:
        """The moves themselves."""
        return rewiring


UNGROUPED = Ungrouped()


@dataclass(frozen=True, eq=False)
class BlockGrouping:
    """Each entry is a block of ``widths[name]`` weights of one row; 1 where single weights are kept."""

    widths: Mapping[str, int] = field(repr=False)

    def initial(
        self, weights: Mapping[str, Tensor], density: float, *, allocation: Allocation, start: Start, seed: int
    ) -> SparsityPattern:
        """As many blocks as the allocation's weights make, give or take half a block in all.

        `Start.SCRATCH` draws each layer's blocks at random, the others keep those of largest norm.
        """
        counts = self._counts(weights, allocation(weights, count_active(weights, density)), density)
        masks = {}
        for name, weight in weights.items():
            width = self.widths[name]
            alive = np.zeros(weight.numel() // width, dtype=bool)
            if start is not Start.SCRATCH:
                kept = largest(_norms(flat_array(weight), width), counts[name])
            else:
                kept = derive(seed, "initialise", name).choice(alive.size, counts[name], replace=False, shuffle=False)
            alive[kept] = True
            masks[name] = torch.from_numpy(np.repeat(alive, width)).reshape(weight.shape)
        return SparsityPattern(masks)

    def _counts(self, weights: Mapping[str, Tensor], active: Mapping[str, int], density: float) -> dict[str, int]:
        """Entries by layer; ``active`` are the weights that each should have."""
        blocked = {name: width for name, width in self.widths.items() if width > 1}
        exact = {name: active[name] / width for name, width in blocked.items()}
        total = round(sum(exact.values()))
        if total < len(blocked):
            least = sum(blocked.values()) / sum(weights[name].numel() for name in blocked)
            raise UsageError(
                f"density {density} keeps {total} blocks, fewer than the {len(blocked)} layers that have blocks. Use "
                f"at least {least:.2g}, or smaller blocks."
            )
        sizes = {name: weights[name].numel() // width for name, width in blocked.items()}
        return {**active, **round_counts(exact, sizes, total)}

    def fold(self, layers: Sequence[LayerView]) -> Sequence[LayerView]:
        """Layers of blocks."""
        return [self._folded(layer, self.widths[layer.name]) for layer in layers]

    def _folded(self, layer: LayerView, width: int) -> LayerView:
        if width == 1:
            return layer
        norms = _norms(layer.weight, width)
        return LayerView(
            layer.name,
            weight=np.where(layer.weight.reshape(-1, width).sum(axis=1) < 0, -norms, norms),
            mask=_any(layer.mask, width),
            fired=None if layer.fired is None else _any(layer.fired, width),
            norms={name: _norms(array, width) for name, array in layer.signed.items()},
        )

    def unfold(self, rewiring: Rewiring, layers: Sequence[LayerView], *, stream: Stream) -> Rewiring:
        """Moves of all weights of each chosen block."""
        return Rewiring(
            {
                name: Move(_spread(move.dropped, self.widths[name]), _spread(move.grown, self.widths[name]))
                for name, move in rewiring.moves.items()
            }
        )


def _norms(flat: np.ndarray, width: int) -> np.ndarray:
    """L2 norms (n / width,) of the blocks of ``flat`` (n,)."""
    return np.asarray(np.linalg.norm(flat.reshape(-1, width), axis=1))


def _any(flat: np.ndarray, width: int) -> np.ndarray:
    """Which blocks of ``flat`` (n,) hold a True, (n / width,)."""
    return np.asarray(flat.reshape(-1, width).any(axis=1))


def _spread(blocks: Indices, width: int) -> Indices:
    """Flat indices of all weights of ``blocks``, ascending when they are."""
    return (blocks[:, None] * width + np.arange(width)).reshape(-1)
