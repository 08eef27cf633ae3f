"""Shrinking: folded by hand on small nets, exact on random ones, and never a wrong network."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress.errors import ModelError
from safecompress.export import Artifact, Packing, TaskInfo
from safecompress.export import shrink as shrink_module
from safecompress.export.shrink import shrink
from safecompress.models import Mlp, Resnet, SmallCnn, Vgg
from safecompress.seeding import seeded
from safecompress.sparsity import SparsityPattern, find_maskable
from safecompress.sparsity.unit_graph import unit_groups

IMAGE = (2, 8, 8)
NETWORKS = {
    "mlp": lambda: Mlp(IMAGE, 4, (12, 9)),
    "cnn": lambda: SmallCnn(IMAGE, 4, (8, 12)),
    "cnn without norm": lambda: SmallCnn(IMAGE, 4, (8, 12), batch_norm=False),
    "resnet": lambda: Resnet(IMAGE, 4, (1, 2), (8, 12)),
    "resnet with group norm": lambda: Resnet(IMAGE, 4, (1, 1), (16, 32), norm="group"),
    "vgg": lambda: Vgg(IMAGE, 4, (6, 9), (2, 3), (8,)),
}


def trained(name, seed=0):
    """A network with biases, running statistics, scales and shifts that are no defaults, some scales negative."""
    with seeded(seed, "network"):
        network = NETWORKS[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.GroupNorm):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return network.train()


def random_masks(network, density, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=generator) < density for name, p in find_maskable(network).items()}


def masked(network, masks):
    SparsityPattern(masks).apply_(network)
    return network.eval()


def active(network):
    """Masks that take nothing: the zeros are in the weights themselves."""
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in find_maskable(network).items()}


def fill_(layer, weight, bias=None):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight).reshape(layer.weight.shape))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def assert_same_outputs(network, other, shape, seed=7):
    """Equal on samples that shrinking did not see."""
    inputs = 3 * torch.randn(5, *shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        wanted, got = network(inputs), other(inputs)
    assert float((got - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


# ------------------------------------------------------------------------------------------------------- by hand


def perceptron(bias, *, has_bias=True):
    """Two inputs, three neurons (the first has no weights), two outputs."""
    return nn.Sequential(
        fill_(nn.Linear(2, 3), [0.0, 0, 1, 2, 3, 4], bias),
        nn.ReLU(),
        fill_(nn.Linear(3, 2, bias=has_bias), [5.0, 6, 7, 8, 9, 10], [100.0, 200] if has_bias else None),
    )


def test_a_constant_goes_into_the_readers_bias():
    network = perceptron([2.0, -1, 0.5])
    shrunk = shrink(network, active(network), (2,))
    state = {name: tensor.tolist() for name, tensor in shrunk.network.state_dict().items()}
    assert state == {
        "0.weight": [[1, 2], [3, 4]],
        "0.bias": [-1, 0.5],
        "2.weight": [[6, 7], [9, 10]],
        "2.bias": [100 + 5 * 2, 200 + 8 * 2],
    }
    assert shrunk.removed == {"0": 1}
    assert (shrunk.network[0].out_features, shrunk.network[2].in_features) == (2, 2)
    assert {name: tuple(mask.shape) for name, mask in shrunk.masks.items()} == {"0.weight": (2, 2), "2.weight": (2, 2)}
    assert not shrunk.network.training


def test_masks_count_as_zeros_and_the_network_stays():
    network = perceptron([2.0, -1, 0.5])
    fill_(network[0], [9.0, 9, 1, 2, 3, 4])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    masks = active(network)
    masks["0.weight"][0] = False
    shrunk = shrink(network, masks, (2,))
    assert shrunk.network[2].bias.tolist() == [110, 216]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert network.training and masks["0.weight"].shape == (3, 2)


@pytest.mark.parametrize(("bias", "added"), [(2.0, [10.0, 16.0]), (-2.0, None)])
def test_a_reader_gets_a_bias_only_where_it_needs_one(bias, added):
    network = perceptron([bias, -1, 0.5], has_bias=False)
    head = shrink(network, active(network), (2,)).network[2]
    assert (head.bias if added is None else head.bias.tolist()) == added
    assert head.in_features == 2


def test_what_nobody_reads_leaves_with_all_that_only_it_read():
    first, second = fill_(nn.Linear(1, 3), [1.0, 1, 1], [0.0, 0, 0]), nn.Linear(3, 3)
    fill_(second, [1.0, 0, 0, 0, 1, 0, 1, 0, 1], [0.0, 0, 0])
    head = fill_(nn.Linear(3, 1), [1.0, 1, 0], [0.0])
    network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), head)
    assert shrink(network, active(network), (1,)).removed == {"0": 1, "2": 1}


def test_constants_run_on_and_one_unit_of_each_layer_stays():
    network = nn.Sequential(
        fill_(nn.Linear(1, 2), [0.0, 0], [1.0, 2]),
        nn.Sigmoid(),
        fill_(nn.Linear(2, 2), [1.0, -1, 2, 1], [0.0, 0]),
        nn.Tanh(),
        fill_(nn.Linear(2, 2), [1.0, 2, 3, 4], [0.0, 0]),
    )
    shrunk = shrink(network, active(network), (1,))
    assert shrunk.removed == {"0": 1, "2": 1}
    one, two = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    left, right = math.tanh(one - two), math.tanh(2 * one + two)
    expected = [left + 2 * right, 3 * left + 4 * right]
    assert shrunk.network[4].bias.tolist() == pytest.approx(expected, rel=1e-6)
    assert shrunk.masks["4.weight"].tolist() == [[False], [False]]


def test_a_layer_of_one_dead_unit_keeps_it_unread():
    network = nn.Sequential(fill_(nn.Linear(2, 1), [0.0, 0], [3.0]), nn.ReLU(), nn.Linear(1, 2))
    fill_(network[2], [1.0, 2], [0.5, 0])
    shrunk = shrink(network, active(network), (2,))
    assert shrunk.removed == {}
    assert (shrunk.network[2].weight.tolist(), shrunk.network[2].bias.tolist()) == ([[0], [0]], [3.5, 6])
    assert shrunk.masks["2.weight"].tolist() == [[False], [False]]


def test_a_neuron_that_is_quiet_on_a_few_samples_stays():
    network = perceptron([-1000.0, -1, 0.5])
    with torch.no_grad():
        network[0].weight[0, 0] = 1  # it fires at inputs above 1000
    assert shrink(network, active(network), (2,)).removed == {}
    quiet_sum = Sum()
    with torch.no_grad():
        quiet_sum.right.weight[0] = 1
        quiet_sum.right.bias[0] = -1000
    assert shrink(quiet_sum, active(quiet_sum), (2,)).removed == {}


def test_an_added_bias_shrinks_with_its_layer():
    network = nn.Sequential(
        fill_(nn.Linear(1, 2), [0.0, 1], [3.0, 0]),
        nn.ReLU(),
        fill_(nn.Linear(2, 3, bias=False), [1.0, 1, 2, 1, 4, 1]),
        nn.ReLU(),
        fill_(nn.Linear(3, 1), [1.0, 0, 1], [0.0]),
    )
    shrunk = shrink(network, active(network), (1,))
    assert shrunk.removed == {"0": 1, "2": 1}
    assert shrunk.network[2].bias.tolist() == [3, 12]


def test_batch_norm_is_part_of_the_constant():
    norm = nn.BatchNorm2d(2, eps=0)
    network = nn.Sequential(
        fill_(nn.Conv2d(1, 2, 1), [0.0, 1], [4.0, 0]), norm, nn.ReLU(), fill_(nn.Conv2d(2, 1, 1), [3.0, 1], [0.0])
    )
    norm.running_mean.copy_(torch.tensor([1.0, 0]))
    norm.running_var.copy_(torch.tensor([4.0, 1]))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 1]))
        norm.bias.copy_(torch.tensor([0.5, 0]))
    head = nn.Sequential(network, nn.Flatten(), nn.Linear(9, 2))
    shrunk = shrink(head, active(head), (1, 3, 3))
    assert shrunk.removed == {"0.0": 1}
    assert shrunk.network[0][3].bias.tolist() == [3 * ((4 - 1) / 2 * 2 + 0.5)]
    assert shrunk.network[0][1].num_features == 1


# ----------------------------------------------------------------------------------------------- borders of images


def image_net(reader, bias):
    """A silent channel that emits ``bias``, one that lives, and a convolution that reads both."""
    maker = fill_(nn.Conv2d(1, 2, 1), [0.0, 1], [bias, 0.0])
    return nn.Sequential(maker, reader, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("options", "bias", "removed"),
    [
        ({"padding": 1}, 2.0, {}),
        ({"padding": "same"}, 2.0, {}),
        ({"padding": (0, 1)}, 2.0, {}),
        ({"padding": 1}, -2.0, {}),
        ({"padding": 1}, 0.0, {"0": 1}),
        ({"padding": "same"}, 0.0, {"0": 1}),
        ({"padding": 0}, 2.0, {"0": 1}),
        ({"padding": "valid", "stride": 2}, 2.0, {"0": 1}),
        ({"padding": 1, "padding_mode": "reflect"}, 2.0, {"0": 1}),
        ({"padding": 1, "padding_mode": "replicate", "bias": False}, 2.0, {"0": 1}),
    ],
)
def test_a_constant_leaves_only_where_no_zeros_are_padded_beside_it(options, bias, removed):
    with seeded(0, "reader"):
        network = image_net(nn.Conv2d(2, 3, 3, **options), bias)
    shrunk = shrink(network, active(network), (1, 6, 6))
    assert shrunk.removed == removed
    assert_same_outputs(network.eval(), shrunk.network, (1, 6, 6))


def test_folding_at_a_padded_border_would_be_wrong():
    network = image_net(nn.Conv2d(2, 3, 3, padding=1), 2.0).eval()
    folded = image_net(nn.Conv2d(2, 3, 3, padding=1), 0.0).eval()
    folded.load_state_dict(network.state_dict())
    with torch.no_grad():
        folded[0].bias[0] = 0
        folded[1].bias += 2 * network[1].weight[:, 0].sum(dim=(1, 2))
        inputs = torch.ones(1, 1, 6, 6)
        difference = (folded[1](folded[0](inputs)) - network[1](network[0](inputs))).abs()
    assert float(difference[..., 1:-1, 1:-1].max()) < 1e-6 < 0.01 < float(difference.max())


def test_a_padded_depthwise_convolution_makes_no_constant_of_a_constant():
    carrier = nn.Conv2d(2, 2, 3, padding=1, groups=2)
    network = image_net(nn.Sequential(carrier, nn.Conv2d(2, 3, 1)), 2.0)
    assert shrink(network, active(network), (1, 6, 6)).removed == {}
    with torch.no_grad():
        network[0].bias[0] = 0
    shrunk = shrink(network, active(network), (1, 6, 6))
    assert shrunk.removed == {"0": 1}
    thin = shrunk.network[1][0]
    assert (thin.groups, thin.in_channels, thin.out_channels, tuple(thin.weight.shape)) == (1, 1, 1, (1, 1, 3, 3))


def test_a_flattened_constant_takes_all_its_columns_along():
    network = nn.Sequential(fill_(nn.Conv2d(1, 2, 1), [0.0, 1], [2.0, 0]), nn.Flatten(), nn.Linear(8, 2))
    fill_(network[2], [float(place) for place in range(16)], [0.0, 0])
    thin = shrink(network, active(network), (1, 2, 2)).network[2]
    assert thin.weight.tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]
    assert thin.bias.tolist() == [2 * (0 + 1 + 2 + 3), 2 * (8 + 9 + 10 + 11)]


# ------------------------------------------------------------------------------------- sums, and norms over blocks


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = fill_(nn.Linear(2, 2), [0.0, 0, 1, 1], [1.0, 0])
        self.right = fill_(nn.Linear(2, 2), [0.0, 0, 1, 2], [2.0, 0])
        self.head = fill_(nn.Linear(2, 2), [1.0, 2, 3, 4], [0.0, 0])

    def forward(self, inputs):
        return self.head((self.left(inputs) + self.right(inputs)).relu())


@pytest.mark.parametrize(("right", "removed", "bias"), [(0.0, {"left": 1}, [3.0, 9.0]), (1.0, {}, [0.0, 0.0])])
def test_a_sum_is_constant_only_if_all_its_terms_are(right, removed, bias):
    network = Sum()
    with torch.no_grad():
        network.right.weight[0] = right
    shrunk = shrink(network, active(network), (2,))
    assert (shrunk.removed, shrunk.network.head.bias.tolist()) == (removed, bias)


@pytest.mark.parametrize(("silent", "removed"), [([0, 1], {"0": 2}), ([0, 3], {}), ([0, 1, 2], {"0": 2})])
def test_units_that_share_statistics_leave_together(silent, removed):
    with seeded(0, "network"):
        maker, norm, head = nn.Conv2d(1, 4, 1, bias=False), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)
    network = nn.Sequential(maker, norm, nn.ReLU(), head, nn.Flatten(), nn.Linear(18, 2))
    with torch.no_grad():
        maker.weight[silent] = 0
        norm.bias.fill_(0.5)
    shrunk = shrink(network, active(network), (1, 3, 3))
    assert shrunk.removed == removed
    assert (shrunk.network[1].num_groups, shrunk.network[1].num_channels) == ((1, 2) if removed else (2, 4))


@pytest.mark.parametrize("norm", [nn.LayerNorm(3), nn.LayerNorm(3, elementwise_affine=False)])
def test_a_layer_norm_keeps_all_its_units(norm):
    network = nn.Sequential(fill_(nn.Linear(2, 3), [0.0, 0, 1, 2, 3, 4]), norm, nn.Linear(3, 2))
    assert shrink(network, active(network), (2,)).removed == {}


# --------------------------------------------------------------------------------------------------- random masks


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(density=st.sampled_from([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]), seed=st.integers(0, 99))
def test_any_mask_leaves_the_outputs_and_nothing_dead(name, density, seed):
    network = trained(name, seed)
    masks = random_masks(network, density, seed)
    shrunk = shrink(network, masks, IMAGE)
    assert_same_outputs(masked(network, masks), shrunk.network, IMAGE)
    assert shrunk.masks.keys() == masks.keys()
    weights = dict(shrunk.network.named_parameters())
    for weight, mask in SparsityPattern(shrunk.masks).pairs(shrunk.network):
        assert not weight[~mask].any()
    groups = unit_groups(shrunk.network, IMAGE)
    for group in groups:
        read = torch.stack([(part.per_unit(weights[part.name]) != 0).any(dim=1) for part in group.with_role("reads")])
        is_read = read.any(dim=0).reshape(-1, group.block).any(dim=1)
        assert is_read.all() or len(is_read) == 1
    assert shrink(shrunk.network, shrunk.masks, IMAGE).removed == {}
    sizes = {group.name: group.size for group in unit_groups(network, IMAGE)}
    left = {group.name: group.size for group in groups}
    assert {name: sizes[name] - left[name] for name in sizes if sizes[name] > left[name]} == shrunk.removed


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_dead_units_comes_back_with_equal_weights(name):
    network = trained(name)
    shrunk = shrink(network, active(network), IMAGE)
    assert shrunk.removed == {}
    assert all(torch.equal(tensor, shrunk.network.state_dict()[key]) for key, tensor in network.state_dict().items())
    assert all(mask.all() for mask in shrunk.masks.values())


# ------------------------------------------------------------------------------------------------ whole units off


def switch_off(network, shape, share, seed):
    """Masks with ``share`` of each group's units off: their rows wherever made, their columns wherever read."""
    generator, masks = torch.Generator().manual_seed(seed), active(network)
    for group in unit_groups(network, shape):
        off = torch.randperm(group.size, generator=generator)[: int(group.size * share)]
        for part in group.slices:
            if part.name in masks:
                masks[part.name] = masks[part.name].index_fill(part.dim, part.places(off), False)
    return masks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wide", "thin"),
    [
        (lambda: Resnet((3, 8, 8), 10), lambda: Resnet((3, 8, 8), 10, widths=(12, 24, 48))),
        (
            lambda: Vgg((3, 8, 8), 10, (8, 16), (2, 3), (32, 16)),
            lambda: Vgg((3, 8, 8), 10, (6, 12), (2, 3), (24, 12)),
        ),
        (lambda: SmallCnn((3, 8, 8), 10), lambda: SmallCnn((3, 8, 8), 10, (12, 24, 48))),
        (lambda: Mlp((3, 8, 8), 10, (16, 8)), lambda: Mlp((3, 8, 8), 10, (12, 6))),
    ],
    ids=["resnet-8", "vgg", "cnn", "mlp"],
)
def test_whole_units_off_give_exactly_the_thin_network(wide, thin):
    with seeded(0, "network"):
        network, expected = wide(), thin()
    masks = switch_off(network, (3, 8, 8), share=0.25, seed=1)
    shrunk = shrink(network, masks, (3, 8, 8))
    assert str(shrunk.network) == str(expected)
    assert shapes_of(shrunk.network) == shapes_of(expected)
    assert all(mask.all() for mask in shrunk.masks.values())
    assert_same_outputs(masked(network, masks), shrunk.network, (3, 8, 8))


def shapes_of(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


# ------------------------------------------------------------------------------------------ never a wrong network


def test_broken_surgery_is_caught_and_the_group_named(monkeypatch):
    fold_ = shrink_module._Surgery._fold_

    def forget_the_bias(self, part, dead_S, here):
        return fold_(self, part, dead_S, shrink_module._Emitted(torch.zeros_like(here.value_P), here.is_constant_P))

    monkeypatch.setattr(shrink_module._Surgery, "_fold_", forget_the_bias)
    network = perceptron([2.0, -1, 0.5])
    with pytest.raises(ModelError, match=r"1 of '0'.*outputs differ by 16"):
        shrink(network, active(network), (2,))


def test_removing_the_wrong_unit_is_caught(monkeypatch):
    remove_ = shrink_module._Surgery._remove_
    monkeypatch.setattr(
        shrink_module._Surgery, "_remove_", lambda self, group, keep_S: remove_(self, group, keep_S.roll(1))
    )
    network = perceptron([2.0, -1, 0.5])
    with pytest.raises(ModelError, match="outputs differ by"):
        shrink(network, active(network), (2,))


def test_sizes_known_by_heart_are_caught():
    class ByHeart(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = fill_(nn.Linear(2, 3), [0.0, 0, 1, 2, 3, 4]), nn.Linear(3, 2)

        def forward(self, inputs):
            return self.head(self.body(inputs).reshape(-1, 3))

    network = ByHeart()
    with pytest.raises(ModelError, match=r"dead units .*\(1 of 'body'\)"):
        shrink(network, active(network), (2,))


def test_masks_of_another_model_are_refused():
    with pytest.raises(ModelError, match=r"'0\.weight' has shape \(2, 2\)"):
        shrink(perceptron([0.0, 0, 0]), {"0.weight": torch.ones(2, 2, dtype=torch.bool)}, (2,))


class Deciding(nn.Module):
    """A forward pass that looks at values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x):
        hidden = self.first(x).relu()
        return self.second(hidden.clamp(max=1e6) if hidden.abs().max() > 1e6 else hidden)


def test_a_forward_pass_that_decides_by_values_ships_without_its_dead_units(tmp_path):
    """Sizes without values are for files from strangers, whose networks are the product's own."""
    network = Deciding()
    masks = {"first.weight": torch.arange(12)[:, None].expand(12, 6) < 5}
    task = TaskInfo(3, (), (6,))
    state = {
        name: torch.where(masks[name], tensor, 0.0) if name in masks else tensor.detach()
        for name, tensor in network.state_dict().items()
    }
    whole = Artifact(state, masks, None, task)
    small = Packing(shrink=True)(whole, copy.deepcopy(network))
    assert small.is_resized
    small.save(tmp_path / "small.safetensors")
    rows = torch.randn(4, 6)
    built = Artifact.load(tmp_path / "small.safetensors").build(copy.deepcopy(network))
    assert torch.allclose(built(rows), whole.build(copy.deepcopy(network))(rows), atol=1e-5)
