"""Proposing for many branches at once is the same as rewiring for each alone."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from safecompress.compression.search import Branch, parse_branches, propose
from safecompress.seeding import derive
from safecompress.sparsity import DROP_RULES, GROW_RULES, LayerView, rewire


def layers():
    random, views = np.random.default_rng(0), []
    for name, size, density in (("a.weight", 60, 0.3), ("b.weight", 20, 0.9), ("c.weight", 8, 1.0)):
        mask = np.zeros(size, dtype=bool)
        mask[random.permutation(size)[: round(size * density)]] = True
        drawn = [random.normal(size=size).astype(np.float32) for _ in range(4)]
        weight, fired = np.where(mask, drawn[0], np.float32(0)), mask | (drawn[1] > 1)
        views.append(LayerView(name, weight, mask, drawn[1], drawn[2], fired, drawn[3]))
    return views


def stream(*names):
    return derive(3, "rewire", 1, *names)


ALL = parse_branches([f"{drop}+{grow}" for drop in DROP_RULES.names() for grow in GROW_RULES.names()] + ["keep"])


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_each_proposal_equals_a_rewire_of_its_own(fraction):
    for proposal in propose(layers(), ALL, fraction, stream=stream):
        branch = proposal.branch
        if branch.name == "keep":
            assert dict(proposal.rewiring.moves) == {}
            continue
        alone = rewire(layers(), branch.drop, branch.grow, fraction, stream=stream)
        assert proposal.rewiring.moves.keys() == alone.moves.keys() == {"a.weight", "b.weight", "c.weight"}
        for name, move in alone.moves.items():
            assert np.array_equal(proposal.rewiring.moves[name].dropped, move.dropped)
            assert np.array_equal(proposal.rewiring.moves[name].grown, move.grown)
        assert proposal.rewiring.num_moved == alone.num_moved


def test_proposals_come_in_the_branches_order_and_do_not_depend_on_it():
    forward = propose(layers(), ALL, 0.3, stream=stream)
    backward = propose(layers(), ALL[::-1], 0.3, stream=stream)
    assert [p.branch for p in forward] == list(ALL)
    for one, other in zip(forward, backward[::-1], strict=True):
        for name, move in one.rewiring.moves.items():
            assert np.array_equal(move.grown, other.rewiring.moves[name].grown)


@dataclass(frozen=True)
class CountingDrop:
    calls: list = field(default_factory=list, compare=False, repr=False)
    reads: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, layer, count, *, generator):
        self.calls.append(layer.name)
        return layer.active[:count]


def test_a_drop_rule_scores_a_layer_once_for_all_its_branches():
    drop = CountingDrop()
    branches = [Branch(grow, drop, GROW_RULES.make(grow)) for grow in GROW_RULES.names()]
    proposals = propose(layers(), [*branches, Branch("keep")], 0.3, stream=stream)
    assert drop.calls == ["a.weight", "b.weight", "c.weight"]
    first = proposals[0].rewiring.moves["a.weight"].dropped
    assert all(np.array_equal(p.rewiring.moves["a.weight"].dropped, first) for p in proposals[:-1])


def test_layers_keep_their_counts_and_regrow_nothing_just_dropped():
    for proposal in propose(layers(), ALL, 0.5, stream=stream):
        for layer in layers():
            move = proposal.rewiring.moves.get(layer.name)
            if move is not None:
                assert len(move.dropped) == len(move.grown)
                assert not set(move.dropped) & set(move.grown)
                assert layer.mask[move.dropped].all()
                assert not layer.mask[move.grown].any()
