"""Resizing: a shrunk network stands again from shapes alone, and hostile shapes are refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from safecompress.errors import ArtifactError
from safecompress.export.resize import resize_
from safecompress.export.shrink import shrink
from safecompress.models import Mlp, Resnet, SmallCnn, Vgg
from safecompress.seeding import seeded
from safecompress.sparsity import find_maskable

IMAGE = (2, 8, 8)


def separable():
    """A depthwise convolution, group norm, PReLU, a 1x1 convolution without bias, instance norm, a flatten."""
    return nn.Sequential(
        nn.Conv2d(2, 12, 1),
        nn.PReLU(12),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.GroupNorm(6, 12),
        nn.Conv2d(12, 8, 1, bias=False),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4, bias=False),
    )


NETWORKS = {
    "mlp": lambda: Mlp(IMAGE, 4, (12, 9)),
    "cnn": lambda: SmallCnn(IMAGE, 4, (8, 12)),
    "resnet": lambda: Resnet(IMAGE, 4, (1, 2), (8, 12)),
    "resnet with group norm": lambda: Resnet(IMAGE, 4, (1, 1), (16, 32), norm="group"),
    "vgg": lambda: Vgg(IMAGE, 4, (6, 9), (2, 3), (8,)),
    "separable": separable,
}


def shapes_of(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def sparse(name, density):
    with seeded(3, "network"):
        network = NETWORKS[name]()
        masks = {name: torch.rand(p.shape) < density for name, p in find_maskable(network).items()}
    return shrink(network, masks, IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("density", [0.002, 0.02, 1.0])
def test_a_shrunk_network_stands_again_from_its_shapes(name, density):
    shrunk = sparse(name, density).network
    fresh = NETWORKS[name]()
    resize_(fresh, shapes_of(shrunk))
    assert str(fresh) == str(shrunk)
    fresh.load_state_dict(shrunk.state_dict())
    inputs = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(fresh.eval()(inputs), shrunk(inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_takes_no_memory_on_the_meta_device(name):
    shrunk = sparse(name, 0.02)
    assert shrunk.removed
    with torch.device("meta"):
        fresh = NETWORKS[name]()
    resize_(fresh, shapes_of(shrunk.network))
    assert shapes_of(fresh) == shapes_of(shrunk.network)
    assert {tensor.device.type for tensor in fresh.state_dict().values()} == {"meta"}


def test_equal_shapes_change_nothing():
    network = separable()
    before = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    described = str(network)
    resize_(network, shapes_of(network))
    assert {id(tensor) for tensor in (*network.parameters(), *network.buffers())} == before
    assert str(network) == described


def test_what_a_tensor_is_like_stays():
    network = nn.Sequential(nn.Linear(4, 3, bias=False, dtype=torch.float64), nn.BatchNorm1d(3)).requires_grad_(False)
    shapes = dict.fromkeys(("1.weight", "1.bias", "1.running_mean", "1.running_var", "0.bias"), (2,))
    resize_(network, {**shapes, "0.weight": (2, 4), "1.num_batches_tracked": ()})
    assert (network[0].weight.dtype, network[0].bias.dtype) == (torch.float64, torch.float64)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert "running_mean" in dict(network[1].named_buffers())
    assert not network[0].weight.any()


HOSTILE = {
    "larger": ({"0.weight": (13, 2, 1, 1), "0.bias": (13,)}, "'0.weight'"),
    "enormous": ({"9.weight": (4, 2**40)}, "'9.weight'"),
    "another rank": ({"9.weight": (4, 32, 1)}, "'9.weight'"),
    "a scalar": ({"0.bias": ()}, "'0.bias'"),
    "no longer a scalar": ({"5.num_batches_tracked": (1,)}, "'5.num_batches_tracked'"),
    "zero": ({"4.weight": (0, 12, 1, 1)}, "'4.weight'"),
    "negative": ({"4.weight": (-1, 12, 1, 1)}, "'4.weight'"),
    "unknown": ({"10.weight": (1,)}, "'10.weight'"),
    "unknown in a known layer": ({"1.bias": (12,)}, "'1.bias'"),
    "missing": ({"2.bias": None}, "'2.bias'"),
    "another kernel": ({"2.weight": (12, 1, 1, 3)}, "'2.weight'"),
    "an output bias of another size": ({"0.weight": (8, 2, 1, 1)}, "'0.bias'"),
    "an added bias of another size": ({"9.bias": (3,)}, "'9.bias'"),
    "an enormous added bias": ({"9.bias": (2**40,)}, "'9.bias'"),
    "an added bias of another rank": ({"9.bias": (4, 1)}, "'9.bias'"),
    "statistics of another size": ({"5.running_var": (7,)}, "'5.running_var'"),
    "half a norm's group": ({"3.weight": (11,), "3.bias": (11,)}, "'3.weight'"),
    "less than a norm's group": ({"3.weight": (1,), "3.bias": (1,)}, "'3.weight'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_shapes_are_refused_by_name_and_nothing_is_changed(case):
    changes, name = HOSTILE[case]
    network = separable()
    described, own = str(network), shapes_of(network)
    shapes = {key: shape for key, shape in (own | changes).items() if shape is not None}
    with pytest.raises(ArtifactError, match=name):
        resize_(network, shapes)
    assert (str(network), shapes_of(network)) == (described, own)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (nn.Conv2d(4, 8, 1, groups=2), {"weight": (6, 2, 1, 1), "bias": (6,)}),
        (nn.Conv2d(4, 8, 1, groups=2, bias=False), {"weight": (8, 2, 1, 1), "bias": (6,)}),
        (nn.LayerNorm((3, 4)), {"weight": (2, 4), "bias": (2, 4)}),
        (nn.Embedding(5, 4), {"weight": (5, 3)}),
        (nn.ConvTranspose2d(4, 8, 1), {"weight": (3, 8, 1, 1), "bias": (8,)}),
        (nn.BatchNorm1d(4, affine=False, track_running_stats=False), {"bias": (4,)}),
    ],
)
def test_layers_that_never_shrink_are_held_to_their_sizes(layer, shapes):
    own = shapes_of(layer)
    with pytest.raises(ArtifactError, match=r"'(weight|bias)'"):
        resize_(layer, shapes)
    assert shapes_of(layer) == own


def test_a_layer_norm_over_one_dimension_shrinks():
    network = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6))
    resize_(network, {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,)})
    assert network(torch.zeros(2, 3)).shape == (2, 4)
