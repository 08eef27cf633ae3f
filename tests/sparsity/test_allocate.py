"""Allocation: exact totals, ERK by hand, the cap, global magnitude by brute force, tiny densities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress.errors import UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import (
    ALLOCATIONS,
    AllocateErk,
    AllocateGlobalMagnitude,
    AllocateUniform,
    Start,
    initial_pattern,
    rescale_,
)
from safecompress.sparsity.allocate import count_active
from safecompress.sparsity.pattern import SparsityPattern


def of_shapes(*shapes, seed=0):
    with seeded(seed, "weights"):
        return {f"layer{index}": torch.randn(shape) for index, shape in enumerate(shapes)}


SHAPES = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple), min_size=1, max_size=5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALLOCATIONS.names())
@given(shapes=SHAPES, density=st.floats(1e-3, 1))
def test_counts_sum_to_the_exact_total_and_fit_their_layers(name, shapes, density):
    weights = of_shapes(*shapes)
    total = sum(w.numel() for w in weights.values())
    if round(density * total) < len(shapes):
        with pytest.raises(UsageError, match="than the model's"):
            count_active(weights, density)
        return
    counts = ALLOCATIONS.make(name)(weights, count_active(weights, density))
    assert list(counts) == list(weights)
    assert sum(counts.values()) == round(density * total)
    smallest = 0 if name == "global-magnitude" else 1
    assert all(smallest <= counts[layer] <= weights[layer].numel() for layer in weights)


def test_uniform_by_hand():
    weights = of_shapes((10, 10), (5, 4), (2, 3, 3, 3))
    # a quarter of 100, 20 and 54: 25, 5 and 13.5; 174/4 = 43.5 rounds to 44
    assert AllocateUniform()(weights, 44) == {"layer0": 25, "layer1": 5, "layer2": 14}


def test_erk_by_hand():
    # raw densities: 20/100, 24/80, 26/1440 (the kernel: 16 + 4 + 3 + 3 over 16 x 4 x 3 x 3 = 576)
    weights = of_shapes((10, 10), (4, 20), (16, 4, 3, 3))
    # raw counts are the sums of dimensions: 20, 24 and 26, so 35 active weights are 10, 12 and 13
    assert AllocateErk()(weights, 35) == {"layer0": 10, "layer1": 12, "layer2": 13}
    # twice as many: 20, 24 and 26; with power 0 every layer has the same density
    assert AllocateErk()(weights, 70) == {"layer0": 20, "layer1": 24, "layer2": 26}
    assert AllocateErk(power_scale=0)(weights, 189) == AllocateUniform()(weights, 189)


def test_erk_caps_a_layer_at_full_and_solves_again():
    # sums 5, 20, 40: 65 shares; of 40 active weights the first layer's share 3.08 fits ...
    weights = of_shapes((2, 3), (10, 10), (20, 20))
    assert AllocateErk()(weights, 39) == {"layer0": 3, "layer1": 12, "layer2": 24}
    # ... of 106, its share 8.15 exceeds its 6 weights: full, and 100 are left for 20 : 40
    assert AllocateErk()(weights, 106) == {"layer0": 6, "layer1": 33, "layer2": 67}
    # of 406 the second would have 133 of 100: full too, and the last takes 300
    assert AllocateErk()(weights, 406) == {"layer0": 6, "layer1": 100, "layer2": 300}
    assert AllocateErk()(weights, 506) == {"layer0": 6, "layer1": 100, "layer2": 400}


@pytest.mark.slow
@given(SHAPES, st.floats(0.01, 1))
def test_erk_keeps_the_ratio_of_uncapped_layers(shapes, density):
    weights = of_shapes(*shapes)
    num_active = round(density * sum(w.numel() for w in weights.values()))
    if num_active < len(shapes):
        return
    counts = AllocateErk()(weights, num_active)
    units = {n: counts[n] / sum(w.shape) for n, w in weights.items() if 1 < counts[n] < w.numel()}
    slack = {n: (len(shapes) + 1) / sum(weights[n].shape) for n in units}  # roundings, and layers raised to one weight
    for a in units:
        for b in units:
            assert abs(units[a] - units[b]) <= slack[a] + slack[b]


def test_tiny_densities_leave_one_weight_in_every_layer():
    weights = of_shapes((2, 2), (3, 3), (100, 100))
    assert AllocateErk()(weights, 3) == {"layer0": 1, "layer1": 1, "layer2": 1}
    assert AllocateUniform()(weights, 4) == {"layer0": 1, "layer1": 1, "layer2": 2}
    assert sum(AllocateErk()(weights, 10).values()) == 10


@pytest.mark.slow
@settings(max_examples=50)
@given(SHAPES, st.floats(0.01, 1), st.integers(0, 3))
def test_global_magnitude_equals_brute_force(shapes, density, seed):
    weights = of_shapes(*shapes, seed=seed)
    num_active = max(len(weights), round(density * sum(w.numel() for w in weights.values())))
    ranked = sorted((-abs(float(v)), n) for n, w in weights.items() for v in w.reshape(-1))
    for name in weights:  # each layer's largest comes first, whatever the others are
        ranked.remove(next(pair for pair in ranked if pair[1] == name))
    kept = ranked[: num_active - len(weights)]
    expected = {n: 1 + sum(owner == n for _, owner in kept) for n in weights}
    assert AllocateGlobalMagnitude()(weights, num_active) == expected


def test_global_magnitude_by_hand_with_ties():
    weights = {"a": torch.tensor([[3.0, -3.0]]), "b": torch.tensor([[3.0, 1.0]])}
    assert AllocateGlobalMagnitude()(weights, 2) == {"a": 1, "b": 1}  # not 2 and 0: no layer is left dead
    assert AllocateGlobalMagnitude()(weights, 3) == {"a": 2, "b": 1}


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, float("nan")])
def test_a_density_outside_its_range_is_refused(density):
    with pytest.raises(UsageError, match=r"density.*\(0, 1\]"):
        count_active(of_shapes((4, 4)), density)


def test_a_density_too_small_for_one_weight_a_layer_names_the_smallest_that_works():
    weights = of_shapes((10, 10), (10, 10))
    with pytest.raises(UsageError, match=r"keeps 1.*200 weights,.*model's 2.*least 0.01"):
        count_active(weights, 0.005)
    assert count_active(weights, 0.01) == 2


# --- the first pattern


def net(seed=0):
    with seeded(seed, "net"):
        return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))


def first_pattern(weights, density=0.25, start=Start.SCRATCH, seed=0, allocation="erk"):
    return initial_pattern(weights, density, allocation=ALLOCATIONS.make(allocation), start=start, seed=seed)


@pytest.mark.parametrize("start", Start)
def test_the_first_pattern_has_the_exact_count_in_each_layer(start):
    weights = of_shapes((12, 8), (3, 5, 3, 3))
    pattern = first_pattern(weights, 0.3, start)
    counts = AllocateErk()(weights, round(0.3 * (96 + 135)))
    assert {n: int(m.sum()) for n, m in pattern.masks.items()} == counts
    assert all(m.dtype is torch.bool and m.shape == weights[n].shape for n, m in pattern.masks.items())


def test_a_start_from_scratch_draws_by_layer_and_seed():
    weights = of_shapes((20, 20), (20, 20))
    pattern = first_pattern(weights)
    assert pattern.digest() == first_pattern(weights).digest() != first_pattern(weights, seed=1).digest()
    assert not torch.equal(pattern.masks["layer0"], pattern.masks["layer1"])
    # a layer's draw depends on its name, not on which layers stand beside it
    alone = first_pattern({"layer1": weights["layer1"]})
    assert torch.equal(alone.masks["layer1"], pattern.masks["layer1"])


def test_a_start_from_the_dense_model_keeps_its_largest_weights():
    weights = of_shapes((10, 10))
    mask = first_pattern(weights, 0.1, Start.DENSE).masks["layer0"]
    kept, cut = weights["layer0"][mask].abs(), weights["layer0"][~mask].abs()
    assert kept.numel() == 10 and kept.min() > cut.max()


def test_global_magnitude_and_a_dense_start_keep_the_largest_of_the_whole_model():
    weights = {name: w * (index + 1) for index, (name, w) in enumerate(of_shapes((9, 9), (9, 9)).items())}
    masks = first_pattern(weights, 0.2, Start.DENSE, allocation="global-magnitude").masks
    kept = torch.cat([weights[n][m].abs() for n, m in masks.items()])
    cut = torch.cat([weights[n][~m].abs() for n, m in masks.items()])
    assert kept.numel() == round(0.2 * 162) and kept.min() > cut.max()


def test_bfloat16_weights_can_be_ranked():
    weights = {name: w.bfloat16() for name, w in of_shapes((8, 8)).items()}
    assert first_pattern(weights, 0.25, Start.DENSE, allocation="global-magnitude").num_active == 16


def test_rescale_by_hand():
    model = nn.Sequential(nn.Linear(4, 3))
    nn.init.ones_(model[0].weight)
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    rescale_(model, SparsityPattern({"0.weight": mask}))
    # one input of four: sqrt(4/1); all of them: 1; none: counted as one, so that nothing is infinite
    assert model[0].weight.tolist() == [[2.0] * 4, [1.0] * 4, [2.0] * 4]


def test_rescale_counts_a_kernel_s_whole_fan_in():
    model = nn.Sequential(nn.Conv2d(2, 2, 3, bias=False))
    nn.init.ones_(model[0].weight)
    mask = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    mask[0].view(-1)[:2] = True
    mask[1] = True
    rescale_(model, SparsityPattern({"0.weight": mask}))
    assert model[0].weight[0].unique().tolist() == [3.0] and model[0].weight[1].unique().tolist() == [1.0]


def test_rescaled_units_keep_their_variance():
    with seeded(0, "variance"):
        model = nn.Sequential(nn.Linear(400, 300, bias=False))
        inputs = torch.randn(200, 400)
        before = model(inputs).std().item()
        pattern = first_pattern(dict(model.named_parameters()), 0.1)
        rescale_(model, pattern)
        pattern.apply_(model)
        assert model(inputs).std().item() == pytest.approx(before, rel=0.05)


def test_a_generator_of_its_own_draws_the_first_pattern():
    """Global random state neither matters nor moves."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = first_pattern(of_shapes((20, 20)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.default_rng(3).random()
    assert first_pattern(of_shapes((20, 20))).digest() == first.digest()
