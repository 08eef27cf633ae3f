"""Schedules, patterns and moves: by hand, and what a digest may and may not depend on."""

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.errors import ModelError, UsageError
from safecompress.sparsity import SCHEDULES, ConstantSchedule, CosineSchedule, Move, Rewiring, SparsityPattern

MASK = torch.tensor([[True, False, True], [False, False, True]])


def test_density_and_counts_by_hand():
    pattern = SparsityPattern({"a": MASK, "b": torch.ones(2, 1, dtype=torch.bool)})
    assert (pattern.num_active, pattern.num_weights, pattern.density) == (5, 8, 5 / 8)
    assert pattern.layer_densities() == {"a": 0.5, "b": 1.0}
    assert SparsityPattern({}).density == 1.0


def test_the_digest_is_the_same_on_every_machine():
    # name, shape, and the bits 101001 filled up to a byte: 0xa4
    by_hand = hashlib.sha256(b"fc.weight(2, 3)\xa4").hexdigest()
    assert SparsityPattern({"fc.weight": MASK}).digest() == by_hand


def test_the_digest_ignores_order_and_layout_and_sees_everything_else():
    other = torch.tensor([[True, True]])
    digest = SparsityPattern({"a": MASK, "b": other}).digest()
    assert SparsityPattern({"b": other.clone(), "a": MASK.t().contiguous().t()}).digest() == digest
    flipped = MASK.clone()
    flipped[1, 2] = False
    different = [
        {"a": flipped, "b": other},
        {"a": MASK.reshape(3, 2), "b": other},
        {"c": MASK, "b": other},
        {"a": MASK},
        {"a": other, "b": MASK},
    ]
    assert len({digest, *(SparsityPattern(masks).digest() for masks in different)}) == 6


def test_apply_assigns_plus_zero_and_nothing_else():
    model = nn.Linear(3, 2)
    weight = torch.tensor([[-1.0, -2.0, float("inf")], [float("nan"), -0.0, 5.0]])
    model.weight.data.copy_(weight)
    bias = model.bias.detach().clone()
    SparsityPattern({"weight": MASK}).apply_(model)
    assert model.weight.tolist() == [[-1.0, 0.0, math.inf], [0.0, 0.0, 5.0]]
    assert not torch.signbit(model.weight[~MASK]).any()
    assert torch.equal(model.bias, bias)


def test_a_pattern_of_another_model_is_refused():
    with pytest.raises(ModelError, match=r"mask 'weight'.*shape \(2, 3\),.*\(3, 2\)"):
        SparsityPattern({"weight": MASK}).apply_(nn.Linear(2, 3))
    with pytest.raises(ModelError, match="no such parameter"):
        SparsityPattern({"head.weight": MASK}).apply_(nn.Linear(3, 2))


def test_moves_make_a_new_pattern_and_leave_the_old_one():
    pattern = SparsityPattern({"a": MASK.clone(), "b": MASK.clone()})
    rewiring = Rewiring({"a": Move(np.array([0, 5]), np.array([1, 3]))})
    after = rewiring.applied_to(pattern)
    assert after.masks["a"].tolist() == [[False, True, True], [True, False, False]]
    assert torch.equal(pattern.masks["a"], MASK) and torch.equal(after.masks["b"], MASK)
    assert rewiring.num_moved == 2
    assert after.num_active == pattern.num_active


def test_a_cosine_by_hand():
    schedule = CosineSchedule(start=0.5, end=0.1)
    assert [round(schedule(p), 12) for p in (0, 1 / 3, 0.5, 1)] == [0.5, 0.4, 0.3, 0.1]
    assert schedule(-1) == 0.5 and schedule(2) == pytest.approx(0.1)
    assert CosineSchedule() == CosineSchedule(0.5, 0.005)  # METHOD: from 0.5 to 0.005
    falling = [CosineSchedule()(p) for p in np.linspace(0, 1, 50)]
    assert falling == sorted(falling, reverse=True) and min(falling) >= 0.005


def test_a_constant_is_constant():
    assert {ConstantSchedule(0.2)(p) for p in (0, 0.5, 1)} == {0.2}


@pytest.mark.parametrize(
    "table", [{"name": "constant", "fraction": 1.1}, {"name": "cosine", "start": -0.1}, {"name": "cosine", "end": 2}]
)
def test_a_fraction_outside_zero_to_one_is_refused(table):
    with pytest.raises(UsageError, match=r"must lie in \[0, 1\]"):
        SCHEDULES.make(table)
