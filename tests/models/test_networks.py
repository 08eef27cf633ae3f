"""The networks: shapes in and out, what the options change, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress.errors import ModelError
from safecompress.models import Alexnet, Mlp, Resnet, SmallCnn, Vgg
from safecompress.models.resnet import ResidualBlock
from safecompress.seeding import seeded


def last_module_called(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    called: list[nn.Module] = []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, *_: called.append(module))
    model(inputs)
    return called[-1]


@settings(max_examples=25, deadline=None)
@given(
    input_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    num_classes=st.integers(2, 5),
    hidden=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    dropout=st.sampled_from([0.0, 0.5]),
)
def test_an_mlp_maps_samples_of_any_shape_to_logits(input_shape, num_classes, hidden, dropout):
    model = Mlp(input_shape, num_classes, hidden, dropout)
    inputs = torch.ones(3, *input_shape)
    assert model(inputs).shape == (3, num_classes)
    assert isinstance(last_module_called(model, inputs), nn.Linear)
    assert [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)] == [*hidden, num_classes]
    assert sum(isinstance(layer, nn.Dropout) for layer in model.modules()) == (len(hidden) if dropout else 0)


def test_an_mlp_is_linear_layers_with_relu_between():
    model = Mlp((2,), 2, hidden=(2,))
    with torch.no_grad():
        model.body[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        model.body[0].bias.zero_()
        model.head.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
        model.head.bias.copy_(torch.tensor([0.5, 0.0]))
    assert model(torch.tensor([[3.0, 4.0], [-3.0, -4.0]])).tolist() == [[3.5, 6.0], [4.5, 0.0]]


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 1, 1), (2, 3, 40), (3, 5, 7)])
@pytest.mark.parametrize("channels", [(4,), (4, 6, 8), (2, 2, 2, 2, 2, 2, 2)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_cnn_copes_with_images_of_many_sizes(input_shape, channels, batch_norm):
    model = SmallCnn(input_shape, 5, channels, batch_norm).eval()
    inputs = torch.ones(2, *input_shape)
    assert model(inputs).shape == (2, 5)
    assert isinstance(last_module_called(model, inputs), nn.Linear)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == batch_norm
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all((convolution.bias is None) == batch_norm for convolution in convolutions)


@pytest.mark.parametrize(
    ("input_shape", "side_of_last_map"), [((1, 8, 8), 2), ((3, 32, 32), 8), ((1, 4, 4), 2), ((1, 3, 3), 3)]
)
def test_a_cnn_halves_its_maps_until_they_are_small(input_shape, side_of_last_map):
    features = SmallCnn(input_shape, 2, (2, 3, 4)).body(torch.ones(2, *input_shape))
    assert features.shape == (2, 4, side_of_last_map, side_of_last_map)


def test_a_cnn_averages_each_map_before_the_head():
    model = SmallCnn((1, 8, 8), 3).eval()
    inputs = torch.rand(2, 1, 8, 8)
    averaged = model.body(inputs).flatten(2).mean(2)
    assert torch.allclose(model(inputs), averaged @ model.head.weight.T + model.head.bias, atol=1e-6)


@pytest.mark.parametrize("build", [lambda: Mlp((8,), 3, dropout=0.5), lambda: SmallCnn((1, 8, 8), 3, dropout=0.5)])
def test_dropout_acts_in_training_only(build):
    model = build()
    inputs = torch.rand(2, 1, 8, 8) if isinstance(model, SmallCnn) else torch.rand(2, 8)
    with seeded(0, "dropout"):
        assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Mlp((0,), 2), "input_shape.*whole numbers"),
        (lambda: Mlp((4,), 2, hidden=(3, -1)), "hidden.*whole numbers"),
        (lambda: Mlp((4,), 2, hidden=(1,) * 1001), "up to 1000 sizes"),
        (lambda: Mlp((4,), 1), "at least 2 classes"),
        (lambda: Mlp((4,), 2, dropout=1.0), "dropout is"),
        (lambda: Mlp((4,), 2, dropout=float("nan")), "dropout is"),
        (lambda: SmallCnn((64,), 2), "image=True,.*model 'mlp'"),
        (lambda: SmallCnn((1, 8, 8), 2, channels=()), "one block"),
        (lambda: SmallCnn((1, 8, 8), 2, channels=(True,)), "channels.*whole numbers"),
        (lambda: SmallCnn((1, 8, 8), 2, dropout=-0.1), "dropout is"),
    ],
)
def test_arguments_that_make_no_network_are_refused(build, said):
    with pytest.raises(ModelError, match=said):
        build()


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("input_shape", [(3, 32, 32), (1, 8, 8), (2, 5, 7)])
def test_a_resnet_copes_with_images_of_many_sizes(input_shape, norm):
    model = Resnet(input_shape, 5, blocks=(1, 2), widths=(8, 16), norm=norm).eval()
    inputs = torch.ones(2, *input_shape)
    assert model(inputs).shape == (2, 5)
    assert isinstance(last_module_called(model, inputs), nn.Linear)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == (norm == "batch")


def test_networks_have_the_sizes_of_the_papers():
    """Zhu, Wang & Han 2022: ResNet-18 at 200 classes (without the head's bias), VGG16-C at 100."""
    resnet = Resnet((3, 64, 64), 200, blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512))
    assert sum(p.numel() for p in resnet.parameters()) - resnet.head.bias.numel() == 11_271_232
    assert sum(p.numel() for p in Vgg((3, 32, 32), 100).parameters()) == 11_369_636
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in Resnet((3, 32, 32), 10).modules()) == 8 + 2  # 2 shortcuts


def test_a_residual_block_adds_its_input():
    """With the last norm's scale at zero the block is ReLU of what came in."""
    block = ResidualBlock(4, 4, 1, "batch").eval()
    nn.init.zeros_(block.second[1].weight)
    inputs = torch.randn(2, 4, 3, 3)
    assert torch.equal(block(inputs), inputs.relu())


@pytest.mark.parametrize("input_shape", [(3, 32, 32), (1, 8, 8), (1, 3, 3)])
def test_a_vgg_copes_with_images_of_many_sizes(input_shape):
    model = Vgg(input_shape, 5, widths=(4, 6), depths=(2, 3), hidden=(7,), dropout=0.1).eval()
    inputs = torch.ones(2, *input_shape)
    assert model(inputs).shape == (2, 5)
    assert isinstance(last_module_called(model, inputs), nn.Linear)
    sizes = [module.kernel_size for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sizes == [(3, 3), (3, 3), (3, 3), (3, 3), (1, 1)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resnet((64,), 10), "'resnet' reads images"),
        (lambda: Resnet((3, 8, 8), 10, blocks=(1,)), r"stage.*blocks=\(1,\)"),
        (lambda: Resnet((3, 8, 8), 10, norm="layer"), "'group'.*got 'layer'"),
        (lambda: Vgg((64,), 10), "'vgg' reads images"),
        (lambda: Vgg((3, 8, 8), 10, depths=(1,)), r"block.*depths=\(1,\)"),
        (lambda: Vgg((3, 8, 8), 10, hidden=(0,)), "hidden.*whole numbers"),
        (lambda: Vgg((3, 8, 8), 10, dropout=1.0), "dropout is"),
    ],
)
def test_resnets_and_vggs_refuse_what_they_cannot_build(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_alexnet_s_has_the_size_of_the_papers() -> None:
    with torch.device("meta"):
        model = Alexnet((3, 32, 32), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_077_066


@pytest.mark.parametrize("input_shape", [(3, 32, 32), (1, 8, 8), (2, 5, 3)])
def test_an_alexnet_copes_with_images_of_many_sizes(input_shape: tuple[int, ...]) -> None:
    model = Alexnet(input_shape, 4, widths=(4, 6), hidden=(5,), dropout=0.5).eval()
    assert model(torch.ones(2, *input_shape)).shape == (2, 4)
    assert isinstance(last_module_called(model, torch.ones(2, *input_shape)), nn.Linear)


def test_an_alexnet_without_convolutions_is_refused() -> None:
    with pytest.raises(ModelError, match="least one convolution"):
        Alexnet((3, 8, 8), 4, widths=())
