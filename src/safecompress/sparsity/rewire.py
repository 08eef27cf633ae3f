"""The idea, page one: every layer drops some active weights and grows exactly as many inactive ones.

    fraction of the active weights ──drop rule──> indices off ──as many──> grow rule ──> indices on

The number of active weights of each layer never changes, what was dropped is not regrown in the same rewire, and a
layer moves no more weights than it has free places. Which rules, how many, and when are three separate choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from safecompress.errors import UsageError, suggest
from safecompress.sparsity.drop import DROP_RULES, DropRule
from safecompress.sparsity.grow import GROW_RULES, GrowRule
from safecompress.sparsity.layers import LayerView
from safecompress.sparsity.pattern import Move, Rewiring
from safecompress.sparsity.topk import Indices


class Stream(Protocol):
    """Randomness by name: ``stream("fc1.weight", "drop")`` gives the same generator whenever it is asked."""

    def __call__(self, *names: str) -> np.random.Generator:
        """The generator called ``names``."""
        ...


def rewire(layers: Sequence[LayerView], drop: DropRule, grow: GrowRule, fraction: float, *, stream: Stream) -> Rewiring:
    """The moves of ``drop`` and ``grow`` when each layer may move ``fraction`` (in [0, 1]) of its active weights."""
    dropped = choose_dropped(layers, drop, fraction, stream=stream)
    return Rewiring(
        {
            layer.name: Move(
                dropped[layer.name],
                grow(layer, len(dropped[layer.name]), generator=stream(layer.name, repr(grow))),
            )
            for layer in layers
        }
    )


def choose_dropped(
    layers: Sequence[LayerView], drop: DropRule, fraction: float, *, stream: Stream
) -> Mapping[str, Indices]:
    """Flat indices to switch off, by layer name. Candidates that share a drop rule share this result."""
    return {
        layer.name: drop(layer, num_movable(layer, fraction), generator=stream(layer.name, repr(drop)))
        for layer in layers
    }


def parse_rules(text: str) -> tuple[DropRule, GrowRule]:
    """The drop and the grow rule called ``text``, such as ``magnitude+gradient``. Raises UsageError with all names."""
    names = text.split("+")
    if len(names) != 2:
        raise UsageError(
            f"A rewiring is a drop and a grow rule joined by '+', like 'magnitude+random'; got {text!r}. Drop rules: "
            f"{', '.join(DROP_RULES.names())}. Grow rules: {', '.join(GROW_RULES.names())}."
        )
    for registry, name in zip((DROP_RULES, GROW_RULES), names, strict=True):
        if name not in registry.names():
            raise UsageError(f"Unknown {registry.kind} {name!r} in {text!r}. {suggest(name, registry.names())}")
    return DROP_RULES.make(names[0]), GROW_RULES.make(names[1])


def num_movable(layer: LayerView, fraction: float) -> int:
    """How many weights a layer moves: ``fraction`` of the active ones, at most as many as there are free places."""
    return min(round(fraction * layer.active.size), layer.inactive.size)
