"""Propose: from one trained model, the rewirings that each branch would make, as index lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from safecompress.compression.search.branch import Branch
from safecompress.sparsity import UNGROUPED, Grouping, LayerView, Move, Rewiring, choose_dropped
from safecompress.sparsity.rewire import Stream


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a branch would move; ``keep`` moves nothing."""

    branch: Branch
    rewiring: Rewiring = field(repr=False)


def propose(
    layers: Sequence[LayerView],
    branches: Sequence[Branch],
    fraction: float,
    *,
    stream: Stream,
    fold: Grouping = UNGROUPED,
) -> list[Proposal]:
    """One proposal per branch. A layer is scored once per rule: branches that share a drop rule share its result.

    The rules choose among what ``fold`` makes of the layers: weights, blocks or units.
    """
    folded = fold.fold(layers)
    rules = dict.fromkeys(branch.drop for branch in branches if branch.drop is not None)
    dropped = {drop: choose_dropped(folded, drop, fraction, stream=stream) for drop in rules}
    proposals = []
    for branch in branches:
        moves = {}
        if branch.drop is not None and branch.grow is not None:
            for layer in folded:
                off = dropped[branch.drop][layer.name]
                on = branch.grow(layer, len(off), generator=stream(layer.name, repr(branch.grow)))
                moves[layer.name] = Move(off, on)
        proposals.append(Proposal(branch, fold.unfold(Rewiring(moves), layers, stream=stream)))
    return proposals
