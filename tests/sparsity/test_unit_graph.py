"""Units: each tensor's places told apart by hand on small nets, and refused by name where they cannot be."""

from __future__ import annotations

import copy
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from safecompress.errors import ModelError, UsageError
from safecompress.models import Mlp, Resnet, SmallCnn, Vgg
from safecompress.sparsity import find_maskable
from safecompress.sparsity.unit_graph import Slice, UnitGroup, unit_groups

BUILT_IN = {
    "mlp": (Mlp((1, 8, 8), 10, (6, 5), dropout=0.1), (1, 8, 8)),
    "mlp without hidden layers": (Mlp((5,), 3, ()), (5,)),
    "cnn": (SmallCnn((1, 8, 8), 10, (4, 5), dropout=0.1), (1, 8, 8)),
    "cnn without norm": (SmallCnn((1, 8, 8), 10, (4, 5), batch_norm=False), (1, 8, 8)),
    "resnet-8": (Resnet((3, 8, 8), 10), (3, 8, 8)),
    "resnet-20": (Resnet((3, 8, 8), 10, (3, 3, 3)), (3, 8, 8)),
    "resnet of four stages": (Resnet((3, 8, 8), 10, (2, 2, 2, 2), (4, 8, 16, 32)), (3, 8, 8)),
    "resnet with group norm": (Resnet((3, 8, 8), 10, norm="group"), (3, 8, 8)),
    "vgg": (Vgg((3, 8, 8), 10, (4, 6), (2, 3), (8, 7), dropout=0.1), (3, 8, 8)),
}


def norm_slices(layer: str) -> set[Slice]:
    return {Slice(f"{layer}.{name}", 0, 1, "carries") for name in ("weight", "bias", "running_mean", "running_var")}


def test_a_perceptron_has_the_neurons_of_its_hidden_layers():
    first = (
        Slice("body.0.weight", 0, 1, "makes"),
        Slice("body.0.bias", 0, 1, "makes"),
        Slice("body.2.weight", 1, 1, "reads"),
    )
    second = (
        Slice("body.2.weight", 0, 1, "makes"),
        Slice("body.2.bias", 0, 1, "makes"),
        Slice("head.weight", 1, 1, "reads"),
    )
    groups = unit_groups(Mlp((4,), 3, (6, 5)), (4,))
    assert groups == (UnitGroup("body.0", 6, first), UnitGroup("body.2", 5, second))


def test_a_residual_sum_couples_all_layers_that_write_to_it():
    stem, inner, *_ = unit_groups(Resnet((3, 8, 8), 10, (2,), (4,)), (3, 8, 8))
    assert (stem.name, stem.size) == ("stem.0", 4)
    makers = ("stem.0", "body.0.second.0", "body.1.second.0")
    readers = ("body.0.first.0", "body.1.first.0", "head")
    assert set(stem.slices) == (
        {Slice(f"{name}.weight", 0, 1, "makes") for name in makers}
        | {Slice(f"{name}.weight", 1, 1, "reads") for name in readers}
        | norm_slices("stem.1")
        | norm_slices("body.0.second.1")
        | norm_slices("body.1.second.1")
    )
    assert (inner.name, {part.name for part in inner.with_role("reads")}) == (
        "body.0.first.0",
        {"body.0.second.0.weight"},
    )


def test_a_flattened_channel_has_neighbouring_columns():
    groups = {group.name: group for group in unit_groups(*BUILT_IN["vgg"])}
    assert groups["body.13"].with_role("reads") == (Slice("body.19.weight", 1, 4, "reads"),)


def test_a_depthwise_convolution_carries_its_channels():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 2, 1))
    (group,) = unit_groups(model, (3, 6, 6))
    assert group.with_role("carries") == (Slice("1.weight", 0, 1, "carries"),)
    assert group.with_role("reads") == (Slice("2.weight", 1, 1, "reads"),)


@pytest.mark.parametrize(
    ("norm", "block"),
    [
        (nn.GroupNorm(2, 6), 3),
        (nn.GroupNorm(2, 6, affine=False), 6),
        (nn.BatchNorm1d(6), 1),
        (nn.InstanceNorm1d(6, affine=True), 1),
        (nn.PReLU(6), 1),
        (nn.Identity(), 1),
    ],
)
def test_a_block_shares_the_statistics_of_a_norm(norm, block):
    model = nn.Sequential(nn.Conv1d(2, 6, 3), norm, nn.Conv1d(6, 2, 3), nn.Flatten(), nn.Linear(10, 2))
    assert [group.block for group in unit_groups(model, (2, 9))] == [block, 1]


def test_a_layer_norm_holds_all_units_together():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    assert [group.block for group in unit_groups(model, (4,))] == [6]


@pytest.mark.parametrize("case", BUILT_IN)
def test_every_maskable_weight_but_the_first_and_last_has_one_group_a_side(case):
    model, shape = BUILT_IN[case]
    groups = unit_groups(model, shape)
    sides = Counter((part.name, part.dim) for group in groups for part in group.slices)
    assert set(sides.values()) <= {1}
    maskable = find_maskable(model)
    first, last = next(iter(maskable)), list(maskable)[-1]
    wanted = {(name, dim) for name in maskable for dim in (0, 1)} - {(first, 1), (last, 0)}
    assert {side for side in sides if side[0] in maskable} == wanted
    state = model.state_dict()
    for group in groups:
        assert all(len(part.per_unit(state[part.name])) == group.size for part in group.slices)


@pytest.mark.parametrize("case", ["cnn", "resnet with group norm"])
def test_the_model_and_the_generators_are_left_alone(case):
    model, shape = copy.deepcopy(BUILT_IN[case])
    model.train()
    frozen = next(model.parameters()).requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = torch.get_rng_state()
    with torch.no_grad():
        unit_groups(model, shape)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_frozen_layers_have_units_too():
    model = copy.deepcopy(BUILT_IN["cnn"][0]).requires_grad_(False)
    assert unit_groups(model, (1, 8, 8)) == unit_groups(*BUILT_IN["cnn"])


def test_a_slice_shows_each_units_numbers_and_places():
    weight = torch.arange(12.0).reshape(2, 6)
    part = Slice("w", 1, 3, "reads")
    assert part.per_unit(weight).tolist() == [[0, 6, 1, 7, 2, 8], [3, 9, 4, 10, 5, 11]]
    assert part.places(torch.tensor([1, 0])).tolist() == [3, 4, 5, 0, 1, 2]


class Around(nn.Module):
    """A convolution and a linear layer, with something between and around them."""

    def __init__(self, between, around=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3 * 16, 3)
        self.between, self.around = between, around

    def forward(self, inputs):
        maps = self.conv(inputs)
        outputs = self.head(self.between(maps, inputs).flatten(1))
        return outputs + self.around(maps) if self.around else outputs


def test_what_a_sum_ties_to_the_input_or_the_output_is_in_no_group():
    assert unit_groups(Around(lambda maps, inputs: maps + inputs), (3, 4, 4)) == ()
    assert unit_groups(Around(lambda maps, _: maps, lambda maps: maps.mean((2, 3))), (3, 4, 4)) == ()
    assert [group.name for group in unit_groups(Around(lambda maps, _: maps), (3, 4, 4))] == ["conv"]


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.gate, self.head = nn.Linear(4, 3), nn.Linear(4, 1), nn.Linear(3, 2)

    def forward(self, inputs):
        return self.head(self.body(inputs) * self.gate(inputs))


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(3, 2)

    def forward(self, inputs):
        return self.head(self.body(inputs).chunk(2, dim=1)[0])


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(5, 2)

    def forward(self, inputs):
        return self.head(torch.cat([self.left(inputs), self.right(inputs)], dim=1))


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.idle = nn.Linear(4, 2), nn.Linear(4, 4)

    def forward(self, inputs):
        return self.head(inputs)


class Pair(Idle):
    def forward(self, inputs):
        return self.head(inputs), self.idle(inputs)


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("model", "shape", "told"),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1)), (4, 3, 3), "'0' is a convolution"),
        (nn.Sequential(nn.Embedding(4, 4)), (4,), "'0' (Embedding"),
        (nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)), (4,), "'1' (LSTM"),
        (nn.Sequential(nn.Conv1d(2, 3, 1), nn.LayerNorm((3, 4))), (2, 4), "LayerNorm over (3, 4)"),
        (tied(), (4,), "'0.weight' and '2.weight' are one"),
        (nn.Sequential(nn.Linear(5, 6), nn.ReLU()), (4,), "in or after '0'"),
        (nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (3, 2)), nn.Conv1d(3, 2, 1), nn.Flatten()), (4,), "'2'"),
        (Joined(), (4,), "'left' go through"),
        (Halves(), (4,), "'body' go through"),
        (Gated(), (4,), "'gate.weight' has 1 places"),
        (Idle(), (4,), "'idle' is called 0"),
        (Pair(), (4,), "got a tuple"),
        (Around(lambda maps, _: maps, lambda maps: maps.detach().mean((2, 3))), (3, 4, 4), "around the layers"),
        (Around(lambda maps, _: maps.permute(0, 2, 3, 1)), (3, 4, 4), "units of 'conv'"),
        (Around(lambda maps, _: maps.softmax(dim=1)), (3, 4, 4), "units of 'conv'"),
        (Around(lambda maps, _: maps.roll(1, dims=1)), (3, 4, 4), "units of 'conv'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_told_is_refused_by_name(model, shape, told):
    with pytest.raises(ModelError) as refused:
        unit_groups(model, shape)
    assert told in str(refused.value)


def test_a_layer_called_twice_is_refused():
    layer = nn.Linear(4, 4)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, inputs):
            return self.layer(self.layer(inputs).relu())

    with pytest.raises(ModelError, match=r"'layer'.*called 2 times"):
        unit_groups(Twice(), (4,))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UsageError, match=r"pip install torch-pruning"):
        unit_groups(*BUILT_IN["mlp"])
