"""Shapes: blocks by hand and under ties, units as outer products, and recruits that change nothing and learn."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.errors import ModelError, UsageError
from safecompress.models import ModelSpec
from safecompress.seeding import derive, seeded
from safecompress.sparsity import (
    ALLOCATIONS,
    DROP_RULES,
    GROW_RULES,
    SHAPES,
    UNGROUPED,
    AllocateErk,
    AllocateUniform,
    Blocks,
    DropLeak,
    DropMagnitude,
    DropRandomSmall,
    DropSet,
    DropTaylor,
    EachWeight,
    Fill,
    GrowGradient,
    GrowRandom,
    GrowRandomUnfired,
    LayerView,
    Rewiring,
    SparseTraining,
    Start,
    Units,
    check_granularity,
    find_maskable,
    initial_pattern,
    rescale_,
    rewire,
    view_layers,
)
from safecompress.sparsity.allocate import count_active
from safecompress.sparsity.topk import smallest
from safecompress.sparsity.unit_graph import unit_groups

STREAM = partial(derive, 0, "rewire", 0)
OF_SIZES = [name for name in DROP_RULES.names() if name != "leak"]
"""Drop rules that read no signs, so that they go with every granularity."""
BLIND = [name for name in GROW_RULES.names() if GROW_RULES.make(name).reads & Units.hides]


def of_shapes(*shapes, seed=0):
    with seeded(seed, "weights"):
        return {f"layer{index}": torch.randn(shape) for index, shape in enumerate(shapes)}


def begin(fold, weights, density, start=Start.SCRATCH, seed=0, allocation="erk"):
    return fold.initial(weights, density, allocation=ALLOCATIONS.make(allocation), start=start, seed=seed)


def rewired(fold, layers, drop, grow, fraction, stream=STREAM):
    return fold.unfold(rewire(fold.fold(layers), drop, grow, fraction, stream=stream), layers, stream=stream)


def test_the_names():
    assert SHAPES.names() == ["block", "unit", "weight"]
    assert SHAPES.make("block") == SHAPES.make({"name": "block", "width": 4}) == Blocks()
    assert (SHAPES.make("weight"), SHAPES.make("unit")) == (EachWeight(), Units())


# --- each weight


@pytest.mark.parametrize("start", Start)
def test_each_weight_is_what_there_was_before_there_were_shapes(start):
    weights = of_shapes((12, 8), (3, 5, 3, 3))
    fold = EachWeight().fit(nn.Linear(1, 1), None, weights)
    pattern = begin(fold, weights, 0.3, start, seed=4)
    plain = initial_pattern(weights, 0.3, allocation=AllocateErk(), start=start, seed=4)
    assert fold is UNGROUPED and pattern.digest() == plain.digest()
    layers = view_layers(weights, pattern.masks)
    rewiring = Rewiring({})
    assert fold.fold(layers) is layers and fold.unfold(rewiring, layers, stream=STREAM) is rewiring


# --- blocks


def folds(width=4, **shapes):
    return Blocks(width).fit(nn.Linear(1, 1), None, {name: torch.zeros(shape) for name, shape in shapes.items()})


def test_blocks_of_eight_numbers_by_hand():
    #                   0     1     2    3    4    5     6    7
    weight = np.array([3.0, -4.0, 0.6, 0.8, 0.0, 0.0, -1.0, 0.0])
    mask = np.array([1, 1, 1, 1, 0, 0, 1, 1], dtype=bool)
    gradient = np.array([0.0, 1.0, 0.0, 0.0, 8.0, -6.0, 0.0, -2.0])
    fired = np.array([1, 1, 1, 1, 0, 0, 1, 1], dtype=bool)
    layer = LayerView("fc", weight, mask, gradient, gradient / 2, fired, gradient * 3)
    fold = folds(2, fc=(2, 4))
    (view,) = fold.fold([layer])
    assert view.name == "fc"
    assert view.weight.tolist() == [-5.0, 1.0, 0.0, -1.0]  # the norm, with the sign of the sum
    assert view.mask.tolist() == view.fired.tolist() == [True, True, False, True]
    assert view.norms["gradient"].tolist() == [1.0, 0.0, 10.0, 2.0]
    assert view.norms["momentum"].tolist() == [0.5, 0.0, 5.0, 1.0]
    assert view.norms["gap_gradient"].tolist() == [3.0, 0.0, 30.0, 6.0]
    # a third of three blocks goes: the smallest, of a tie the first; the only inactive block comes
    move = rewired(fold, [layer], DropMagnitude(), GrowGradient(), 1 / 3).moves["fc"]
    assert (move.dropped.tolist(), move.grown.tolist()) == ([2, 3], [4, 5])
    # SET sees one positive block and two negative ones: of two, one each would be .67 and 1.33
    rest = DropSet()(view, 2, generator=STREAM("lot"))
    assert rest.tolist() == [1, 3]


def test_a_kernel_counts_as_a_matrix_and_odd_rows_keep_single_weights():
    fold = folds(4, matrix=(3, 8), kernel=(2, 4, 3, 3), stem=(2, 3, 3, 3))
    assert dict(fold.widths) == {"matrix": 4, "kernel": 4, "stem": 1}
    layer = LayerView("stem", np.ones(54), np.ones(54, dtype=bool))
    assert fold.fold([layer])[0] is layer


def test_where_nothing_has_blocks_the_rows_are_told():
    with pytest.raises(UsageError, match=r"blocks of 4.*layer0 3, layer1 6.*another width"):
        Blocks().fit(nn.Linear(1, 1), None, of_shapes((8, 3), (4, 6)))


@pytest.mark.parametrize("width", [0, 1, -4, 2.0, True, "4"])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UsageError, match=r"width.*least 2"):
        Blocks(width)


def blocks_of(mask, width):
    """The living blocks of ``mask``; fails unless each is whole and inside one row."""
    rows = mask.reshape(mask.shape[0], -1, width)
    assert torch.equal(rows.all(2), rows.any(2))
    return int(rows.all(2).sum())


ROWS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ALLOCATIONS.names())
@settings(max_examples=40)
@given(rows=ROWS, density=st.floats(0.02, 1), start=st.sampled_from(Start), odd=st.booleans())
def test_first_blocks_are_whole_and_exactly_as_many_as_the_allocation_makes(allocation, rows, density, start, odd):
    weights = of_shapes(*((out, 4 * into) for out, into in rows), *([(5, 7)] if odd else []))
    total = sum(w.numel() for w in weights.values())
    fold = Blocks().fit(nn.Linear(1, 1), None, weights)
    if round(density * total) < len(weights):
        return
    active = ALLOCATIONS.make(allocation)(weights, count_active(weights, density))
    blocks = round(sum(active[f"layer{index}"] for index in range(len(rows))) / 4)
    if blocks < len(rows):
        with pytest.raises(UsageError, match=r"the \d+ layers"):
            begin(fold, weights, density, start, allocation=allocation)
        return
    pattern = begin(fold, weights, density, start, allocation=allocation)
    found = [blocks_of(pattern.masks[f"layer{index}"], 4) for index in range(len(rows))]
    assert sum(found) == blocks and min(found) >= 1
    assert abs(pattern.num_active - round(density * total)) <= 2
    if odd:
        assert int(pattern.masks[f"layer{len(rows)}"].sum()) == active[f"layer{len(rows)}"]


def test_a_dense_start_keeps_the_blocks_of_largest_norm():
    weights = of_shapes((6, 16))
    mask = begin(Blocks().fit(nn.Linear(1, 1), None, weights), weights, 0.25, Start.DENSE).masks["layer0"]
    norms, kept = weights["layer0"].reshape(-1, 4).norm(dim=1), mask.reshape(-1, 4).all(1)
    assert kept.sum() == 6 and norms[kept].min() > norms[~kept].max()


@pytest.mark.slow
@settings(max_examples=60)
@given(
    drop=st.sampled_from(OF_SIZES),
    grow=st.sampled_from(GROW_RULES.names()),
    width=st.sampled_from([2, 4]),
    blocks=st.integers(1, 30),
    fraction=st.floats(0, 1),
    ties=st.booleans(),
    seed=st.integers(0, 3),
)
def test_blocks_move_whole_as_many_as_they_should_and_none_comes_back(drop, grow, width, blocks, fraction, ties, seed):
    random = derive(seed, "blocks")
    size = 30 * width
    mask = np.repeat(np.isin(np.arange(30), random.permutation(30)[:blocks]), width)
    draw = (lambda: random.integers(-1, 2, size).astype(float)) if ties else (lambda: random.normal(size=size))
    fired = np.repeat(mask[::width] | (random.random(30) < 0.3), width)
    layer = LayerView("fc", draw() * mask, mask, draw(), draw(), fired)
    fold = folds(width, fc=(3, 10 * width))
    move = rewired(fold, [layer], DROP_RULES.make(drop), GROW_RULES.make(grow), fraction).moves["fc"]
    count = min(round(fraction * blocks), 30 - blocks)
    assert len(move.dropped) == len(move.grown) <= count * width
    assert drop == "threshold" or len(move.dropped) == count * width
    assert mask[move.dropped].all() and not mask[move.grown].any()
    for chosen in (move.dropped, move.grown):
        assert np.array_equal(chosen.reshape(-1, width) % width, np.tile(np.arange(width), (len(chosen) // width, 1)))
        assert len(np.unique(chosen)) == len(chosen)


# --- units

NETWORKS = {
    "mlp": ModelSpec("mlp", {"hidden": (24, 16)}, (1, 4, 4), 5),
    "resnet": ModelSpec("resnet", {"blocks": (1, 1, 1), "widths": (8, 8, 16)}, (3, 8, 8), 5),
    "vgg": ModelSpec("vgg", {"widths": (8, 12), "depths": (1, 3), "hidden": (16,)}, (3, 8, 8), 5),
    "group norm": ModelSpec("resnet", {"blocks": (1, 1), "widths": (16, 32), "norm": "group"}, (3, 8, 8), 5),
}


def fitted(name, density=0.3, start=Start.SCRATCH, seed=0):
    """A network cut to its first pattern, and the fold."""
    spec = NETWORKS[name]
    with seeded(seed, "model"):
        model = spec.build()
    weights = find_maskable(model)
    fold = Units().fit(model, spec.input_shape, weights)
    pattern = begin(fold, weights, density, start, seed=seed)
    rescale_(model, pattern)
    pattern.apply_(model)
    return model, fold, pattern


def samples(name, count=12):
    with seeded(1, "samples"):
        return torch.randn(count, *NETWORKS[name].input_shape), torch.randint(0, 5, (count,))


def views_of(model, pattern, **signals):
    return view_layers(dict(model.named_parameters()), pattern.masks, **signals)


def living_units(fold, pattern):
    """Which units of each group live by the slow way; fails unless every mask is the outer product of them."""
    alive = {}
    for group in fold.groups:
        parts = [part for part in group.slices if part.name in pattern.masks]
        lives = [part.per_unit(pattern.masks[part.name]).any(1) for part in parts]
        assert all(torch.equal(one, lives[0]) for one in lives)
        alive[group.name] = lives[0]
    for name, mask in pattern.masks.items():
        sides = [torch.ones(size, dtype=torch.bool) for size in mask.shape[:2]]
        for group in fold.groups:
            for part in group.slices:
                if part.name == name:
                    sides[part.dim] = alive[group.name].repeat_interleave(part.width)
        outer = sides[0][:, None] & sides[1][None, :]
        assert torch.equal(mask, outer.reshape(*outer.shape, *[1] * (mask.ndim - 2)).expand_as(mask))
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("name", NETWORKS)
def test_masks_are_outer_products_of_living_units_before_and_after_a_rewire(name, start):
    model, fold, pattern = fitted(name, start=start)
    before = living_units(fold, pattern)
    layers = views_of(model, pattern, fired=pattern.masks)
    rewiring = rewired(fold, layers, DropMagnitude(), GrowRandomUnfired(), 0.5)
    after_pattern = rewiring.applied_to(pattern)
    after = living_units(fold, after_pattern)
    assert {n: int(units.sum()) for n, units in after.items()} == {n: int(units.sum()) for n, units in before.items()}
    assert after_pattern.layer_densities() == pattern.layer_densities()
    for group in fold.groups:
        movable = round(0.5 * int(before[group.name].sum()) / group.block)
        assert int((after[group.name] & ~before[group.name]).sum()) == movable * group.block
    for layer_name, move in rewiring.moves.items():
        flat = pattern.masks[layer_name].reshape(-1).numpy()
        assert len(move.dropped) == len(move.grown)
        assert flat[move.dropped].all() and not flat[move.grown].any()


@pytest.mark.parametrize("density", [0.15, 0.35, 0.8, 1.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_share_of_units_meets_the_density_from_below_as_closely_as_whole_units_can(name, density):
    model, fold, _ = fitted(name, 1.0)
    weights = find_maskable(model)
    budget = count_active(weights, density)
    pattern = begin(fold, weights, density)
    living = living_units(fold, pattern)
    counts = {group.name: int(living[group.name].sum()) // group.block for group in fold.groups}
    sizes = {group.name: group.size // group.block for group in fold.groups}
    assert pattern.num_active <= budget
    # slowly: every share at which some group gains a unit, from small to large
    best = None
    for share in sorted({(count / size, count, size) for size in sizes.values() for count in range(1, size + 1)}):
        tried = {n: max(1, share[1] * size // share[2]) for n, size in sizes.items()}
        if fold._num_weights(tried) <= budget:
            best = tried
    assert counts == best


def test_an_mlp_by_hand():
    """Of 16 x 24 + 24 x 16 + 16 x 5 = 848 weights 254 may live: at 1/2, 12 and 8 units have 12(16 + 8) + 40 = 328."""
    _, fold, pattern = fitted("mlp")
    assert {n: int(units.sum()) for n, units in living_units(fold, pattern).items()} == {"body.0": 10, "body.2": 6}
    assert pattern.num_active == 10 * 16 + 6 * 10 + 5 * 6 == 250


def test_too_few_weights_for_one_unit_a_group_names_the_smallest_density():
    model, fold, _ = fitted("resnet", 1.0)
    with pytest.raises(UsageError, match=r"6 groups already has \d+. Use"):
        begin(fold, find_maskable(model), 0.005)
    least = sum(begin(fold, find_maskable(model), 0.02).masks[n].sum() for n in find_maskable(model))
    assert least <= 0.02 * sum(w.numel() for w in find_maskable(model).values())


def test_a_dense_start_keeps_the_units_of_largest_norm():
    spec = NETWORKS["mlp"]
    with seeded(0, "model"):
        model = spec.build()
    weights = find_maskable(model)
    fold = Units().fit(model, spec.input_shape, weights)
    units = living_units(fold, begin(fold, weights, 0.3, Start.DENSE))["body.0"]
    norms = (weights["body.0.weight"].square().sum(1) + weights["body.2.weight"].square().sum(0)).detach()
    assert norms[units].min() > norms[~units].max()


def test_what_rules_see_of_a_unit_by_hand():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    weights = find_maskable(model)
    fold = Units().fit(model, (2,), weights)
    numbers = {"0.weight": torch.tensor([[3.0, 0.0], [0.0, 0.0], [1.0, 2.0]]), "2.weight": torch.tensor([[-4.0, 0, 2]])}
    masks = {"0.weight": torch.tensor([[1, 1], [0, 0], [1, 1]]).bool(), "2.weight": torch.tensor([[1, 0, 1]]).bool()}
    gradient = {name: torch.full_like(tensor, 2.0) for name, tensor in numbers.items()}
    fired = {name: torch.ones_like(mask) for name, mask in masks.items()}
    (view,) = fold.fold(view_layers(numbers, masks, gradient=gradient, fired=fired))
    assert view.name == "0" and view.mask.tolist() == [True, False, True] and view.fired.tolist() == [True] * 3
    assert view.weight.tolist() == [5.0, 0.0, 3.0]
    assert view.norms == {"gradient": pytest.approx([12**0.5, 0, 12**0.5])}
    rewiring = rewired(fold, view_layers(numbers, masks), DropMagnitude(), GrowRandom(), 0.5)
    assert {n: (m.dropped.tolist(), m.grown.tolist()) for n, m in rewiring.moves.items()} == {
        "0.weight": ([4, 5], [2, 3]),
        "2.weight": ([2], [1]),
    }
    assert rewiring.values["0.weight"].places.tolist() == [2, 3] and "2.weight" not in rewiring.values


def test_keep_moves_no_unit():
    model, fold, pattern = fitted("mlp")
    rewiring = fold.unfold(Rewiring({}), views_of(model, pattern), stream=STREAM)
    assert dict(rewiring.moves) == dict(rewiring.values) == {}


def fill_(model, rewiring):
    tensors = model.state_dict()
    for name, fill in rewiring.values.items():
        fill.write_(tensors[name])


def train_a_bit(model, pattern, name, steps=3, optimizer=None):
    inputs, labels = samples(name)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        for parameter, mask in pattern.pairs(model):
            parameter.grad.mul_(mask)
        optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_recruiting_changes_no_output(name, mode):
    """The units that go change it; those that come do not, whatever their norms and biases were."""
    model, fold, pattern = fitted(name)
    train_a_bit(model, pattern, name)
    rewiring = rewired(fold, views_of(model, pattern), DropMagnitude(), GrowRandom(), 0.5)
    after = rewiring.applied_to(pattern)
    assert rewiring.values and rewiring.num_moved
    dropped, recruited = copy.deepcopy(model), copy.deepcopy(model)
    for network in (dropped, recruited):
        after.apply_(network)
        network.train(mode == "train")
    fill_(recruited, rewiring)
    inputs, _ = samples(name)
    with torch.no_grad():
        assert torch.equal(dropped(inputs), recruited(inputs))
    assert any(not torch.equal(a, b) for a, b in zip(dropped.parameters(), recruited.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_recruits_learn(name):
    model, fold, pattern = fitted(name)
    rewiring = rewired(fold, views_of(model, pattern), DropMagnitude(), GrowRandom(), 0.5)
    after = rewiring.applied_to(pattern)
    before, now = living_units(fold, pattern), living_units(fold, after)
    after.apply_(model)
    fill_(model, rewiring)

    def reading(group):
        (part, *_) = group.with_role("reads")
        weight = dict(model.named_parameters())[part.name].detach()
        mask = after.masks[part.name]
        return (part.per_unit(weight * mask).abs().sum(1))[now[group.name] & ~before[group.name]]

    recruited = [group for group in fold.groups if (now[group.name] & ~before[group.name]).any()]
    heard = [group for group in recruited if group.with_role("reads")[0].name == "head.weight"]
    assert heard and all(not reading(group).any() for group in heard)
    train_a_bit(model, after, name, steps=6)
    for group in recruited:
        assert (reading(group) > 0).float().mean() > 0.6  # a unit may be silent on all of twelve samples


def test_recruits_begin_at_the_scale_of_their_fan_in_and_all_else_anew():
    spec = ModelSpec("vgg", {"widths": (64,), "depths": (3,), "hidden": (64,)}, (1, 4, 4), 5)
    with seeded(0, "model"):
        model = spec.build()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.fill_(9)  # what training may have made of biases, norms and their statistics
    weights = find_maskable(model)
    fold = Units().fit(model, spec.input_shape, weights)
    pattern = begin(fold, weights, 0.25)
    rewiring = rewired(fold, views_of(model, pattern), DropMagnitude(), GrowRandom(), 0.5)
    after = rewiring.applied_to(pattern)
    kernel = "body.3.weight"
    recruits = after.masks[kernel].flatten(1).any(1) & ~pattern.masks[kernel].flatten(1).any(1)
    (fan_in,) = after.masks[kernel].flatten(1).sum(1)[recruits].unique().tolist()
    fill = rewiring.values[kernel]
    assert len(fill.places) == fan_in * int(recruits.sum())
    assert fill.numbers.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
    fill_(model, rewiring)
    tensors = model.state_dict()
    begun = {"3.bias": 0, "4.weight": 1, "4.bias": 0, "4.running_mean": 0, "4.running_var": 1}
    for name, number in begun.items():
        tensor = tensors[f"body.{name}"]
        assert tensor[recruits].unique().tolist() == [number], name
        assert tensor[~recruits].unique().tolist() == [9], name


def test_recruits_draw_by_name():
    model, fold, pattern = fitted("vgg")
    layers = views_of(model, pattern)
    first, again = (rewired(fold, layers, DropMagnitude(), GrowRandom(), 0.5) for _ in range(2))
    other = rewired(fold, layers, DropMagnitude(), GrowRandom(), 0.5, stream=partial(derive, 0, "rewire", 1))
    assert all(np.array_equal(first.values[n].numbers, again.values[n].numbers) for n in first.values)
    assert not np.array_equal(first.values["body.4.weight"].numbers, other.values["body.4.weight"].numbers)


def test_a_group_through_an_excluded_or_frozen_weight_stays_whole():
    spec = NETWORKS["mlp"]
    with seeded(0, "model"):
        model = spec.build()
    every = {group.name for group in unit_groups(model, spec.input_shape)}
    weights = find_maskable(model, exclude=["head.weight"])
    fold = Units().fit(model, spec.input_shape, weights)
    assert {group.name for group in fold.groups} == {"body.0"} == every - {"body.2"}
    assert begin(fold, weights, 0.5).masks["body.2.weight"].any(1).all()
    model.body[0].bias.requires_grad_(False)
    with pytest.raises(UsageError, match=r"2 groups.*body.0.bias, head.weight"):
        Units().fit(model, spec.input_shape, weights)
    with pytest.raises(UsageError, match="since the model"):
        Units().fit(nn.Linear(4, 2), (4,), find_maskable(nn.Linear(4, 2)))


def test_units_need_the_size_of_a_sample_and_layers_that_can_be_told():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match=r"input_shape=\(1, 8, 8\)"):
        Units().fit(model, None, find_maskable(model))
    lstm = nn.LSTM(4, 4)
    with pytest.raises(ModelError):
        Units().fit(lstm, (3, 4), find_maskable(lstm))


# --- what goes together


@pytest.mark.parametrize("grow", BLIND)
def test_units_do_not_grow_by_what_is_zero(grow):
    with pytest.raises(UsageError, match=r"Units\(\) cannot grow.*'random' or 'random-unfired'"):
        check_granularity(Units(), AllocateErk(), [GrowRandom(), GROW_RULES.make(grow)])


def test_units_ask_no_allocation():
    with pytest.raises(UsageError, match=r"allocation, got AllocateUniform\(\)"):
        check_granularity(Units(), AllocateUniform(), [])
    check_granularity(Units(), AllocateErk(), [GrowRandom(), GrowRandomUnfired()])
    for shape in (EachWeight(), Blocks()):
        check_granularity(shape, AllocateUniform(), map(GROW_RULES.make, GROW_RULES.names()))


# --- fills


def test_a_fill_writes_at_flat_places_of_any_layout():
    kernel = torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last)
    fill = Fill(np.array([0, 5, 23]), np.array([1.0, 2.0, 3.0], dtype=np.float32))
    fill.write_(kernel)
    assert kernel.contiguous().reshape(-1).nonzero().reshape(-1).tolist() == [0, 5, 23] and kernel.sum() == 6
    fill.clear_(kernel)
    assert not kernel.any()
    half = torch.zeros(24, dtype=torch.bfloat16)
    fill.write_(half)
    assert half[[0, 5, 23]].tolist() == [1.0, 2.0, 3.0]


# --- in a loop of one's own


def sparse_of(name, shape, grow="random", **options):
    spec = NETWORKS[name]
    with seeded(0, "model"):
        model = spec.build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    options = {"density": 0.3, "total_steps": 40, "every": 4, **options}
    sparse = SparseTraining(model, optimizer, shape=shape, grow=grow, input_shape=spec.input_shape, **options)
    return model, optimizer, sparse


def go_on(model, optimizer, sparse, name, steps):
    inputs, labels = samples(name)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        sparse.step()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "vgg"])
@pytest.mark.parametrize("shape", ["unit", "block", Blocks(2)])
def test_sparse_training_keeps_its_shape(name, shape):
    model, optimizer, sparse = sparse_of(name, shape)
    first, densities = sparse.pattern.digest(), sparse.pattern.layer_densities()
    for _ in range(10):
        go_on(model, optimizer, sparse, name, 4)
        assert sparse.pattern.layer_densities() == densities
        for parameter, mask in sparse.pattern.pairs(model):
            assert not parameter[~mask].any()
        if shape == "unit":
            living_units(Units().fit(model, NETWORKS[name].input_shape, find_maskable(model)), sparse.pattern)
        else:
            width = 4 if shape == "block" else 2
            for mask in sparse.pattern.masks.values():
                if mask[0].numel() % width == 0:
                    blocks_of(mask, width)
    assert sparse.num_rewires == 7 and sparse.pattern.digest() != first
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_recruits_of_sparse_training_begin_without_moments():
    """Right before the step that rewires all moments are one; right after it, a recruit's are those of one step."""
    model, optimizer, sparse = sparse_of("mlp", "unit", every=2, schedule={"name": "constant", "fraction": 0.5})
    go_on(model, optimizer, sparse, "mlp", 2)
    before = {name: mask.clone() for name, mask in sparse.pattern.masks.items()}
    for state in optimizer.state.values():
        state["exp_avg"].fill_(1.0)
    go_on(model, optimizer, sparse, "mlp", 1)
    old, new = before["body.0.weight"].any(1), sparse.pattern.masks["body.0.weight"].any(1)
    moments = optimizer.state[model.body[0].bias]["exp_avg"]
    assert sparse.num_rewires == 1 and (new & ~old).any()
    assert moments[new & ~old].abs().max() < 0.1 and moments[old & new].min() > 0.5
    assert model.body[0].weight[new & ~old].std() > 0.1


@pytest.mark.slow
def test_a_loop_with_units_resumes_to_the_bit():
    through = sparse_of("vgg", "unit")
    go_on(*through, "vgg", 24)
    first, again = sparse_of("vgg", "unit"), sparse_of("vgg", "unit")
    go_on(*first, "vgg", 10)
    for one, other in zip(again, first, strict=True):
        one.load_state_dict(copy.deepcopy(other.state_dict()))
    go_on(*again, "vgg", 14)
    assert through[2].pattern.digest() == again[2].pattern.digest()
    assert all(torch.equal(a, b) for a, b in zip(through[0].parameters(), again[0].parameters(), strict=True))


def test_sparse_training_refuses_what_does_not_go_together():
    with pytest.raises(UsageError, match="'random' or 'random-unfired'"):
        sparse_of("mlp", "unit", grow="gradient")
    with pytest.raises(UsageError, match=r"shape 'units'.*'unit'"):
        sparse_of("mlp", "units")
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="input_shape"):
        SparseTraining(
            model, torch.optim.SGD(model.parameters()), density=0.5, total_steps=9, every=1, shape="unit", grow="random"
        )


# --- signs, which norms have not


@dataclass(frozen=True)
class DropByGradientSign:
    """Drops where the gradient is most negative: a rule that means nothing on norms."""

    reads: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __call__(self, layer, count, *, generator):
        return layer.active[smallest(layer.signal("gradient")[layer.active], count)]


@pytest.mark.parametrize("shape", [Blocks(2), Units()])
def test_a_rule_that_reads_signs_is_refused_where_an_entry_is_a_norm(shape):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    weights = find_maskable(model)
    fold = shape.fit(model, (4,), weights)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    gradient = {name: torch.ones_like(weight) for name, weight in weights.items()}
    layers = fold.fold(view_layers(weights, masks, gradient=gradient))
    generator = np.random.default_rng(0)
    assert len(DropTaylor()(layers[0], 1, generator=generator)) == 1  # a size is enough for it
    with pytest.raises(UsageError, match="magnitude"):
        DropByGradientSign()(layers[0], 1, generator=generator)
    with pytest.raises(UsageError, match=r"DropByGradientSign.*magnitude"):  # before any training, too
        check_granularity(shape, AllocateErk(), [GrowRandom()], [DropByGradientSign()])
    with pytest.raises(UsageError, match=r"DropLeak\(\).*sign of the gap_gradient.*shape 'weight'"):
        check_granularity(shape, AllocateErk(), [GrowRandom()], [DropLeak()])
    check_granularity(shape, AllocateErk(), [GrowRandom()], [DropTaylor(), DropMagnitude(), DropRandomSmall()])
    check_granularity(EachWeight(), AllocateErk(), [GrowGradient()], [DropByGradientSign(), DropLeak()])
    ones = torch.ones(4)
    (single,) = view_layers({"w": ones}, {"w": ones.bool()}, gradient={"w": ones})
    assert len(DropByGradientSign()(single, 1, generator=generator)) == 1
