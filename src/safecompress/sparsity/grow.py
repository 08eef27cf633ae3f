"""Which inactive weights to grow: rules that return exactly ``count`` flat indices outside the mask.

A rule sees the mask from before the drop, so what was just dropped can never be regrown in the same rewire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from safecompress.registry import Registry
from safecompress.sparsity.layers import LayerView
from safecompress.sparsity.topk import Indices, largest, smallest


class GrowRule(Protocol):
    """Chooses ``count`` inactive weights of a layer to switch on. ``reads`` names the LayerView arrays it needs."""

    reads: ClassVar[frozenset[str]]

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Flat indices, a subset of ``layer.inactive``; ``count`` is at most its size."""
        ...


def _draw(candidates: Indices, count: int, generator: np.random.Generator) -> Indices:
    """``count`` random ``candidates``, ascending."""
    return np.sort(generator.choice(candidates, count, replace=False, shuffle=False))


@dataclass(frozen=True)
class GrowRandom:
    """Random inactive weights (SET, Mocanu et al. 2018)."""

    reads: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Exactly ``count`` indices."""
        return _draw(layer.inactive, count, generator)


@dataclass(frozen=True)
class GrowRandomUnfired:
    """Random weights that were never active; when these run out, among the rest (ITOP, Liu et al. 2021)."""

    reads: ClassVar[frozenset[str]] = frozenset({"fired"})

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Exactly ``count`` indices."""
        has_fired = layer.signal("fired")[layer.inactive]
        unfired, fired = layer.inactive[~has_fired], layer.inactive[has_fired]
        if unfired.size >= count:
            return _draw(unfired, count, generator)
        return np.sort(np.concatenate([unfired, _draw(fired, count - unfired.size, generator)]))


@dataclass(frozen=True)
class GrowGradient:
    """The largest |gradient| (RigL, Evci et al. 2020, eq. 2)."""

    reads: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Exactly ``count`` indices."""
        return layer.inactive[largest(layer.magnitude("gradient")[layer.inactive], count)]


@dataclass(frozen=True)
class GrowMomentum:
    """The largest |moving average of the gradient| (SNFS, Dettmers & Zettlemoyer 2019).

    Differs from the paper: growth stays inside each layer (the allocation is fixed), and the average is the rule's own,
    because the optimizer's momentum of an inactive weight is zero by construction.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"momentum"})

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Exactly ``count`` indices."""
        return layer.inactive[largest(layer.magnitude("momentum")[layer.inactive], count)]


@dataclass(frozen=True)
class GrowSmallestGradient:
    """The smallest |gradient|: what the papers' code does where it says "gradient"; kept under its own name."""

    reads: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __call__(self, layer: LayerView, count: int, *, generator: np.random.Generator) -> Indices:
        """Exactly ``count`` indices."""
        return layer.inactive[smallest(layer.magnitude("gradient")[layer.inactive], count)]


GROW_RULES: Registry[GrowRule] = Registry(
    "grow rule",
    "safecompress.grow_rules",
    {
        "random": GrowRandom,
        "random-unfired": GrowRandomUnfired,
        "gradient": GrowGradient,
        "momentum": GrowMomentum,
        "smallest-gradient": GrowSmallestGradient,
    },
)
