"""ModelSpec: the same network from the same data, and refusals that name what is allowed."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress import registry
from safecompress.errors import ModelError
from safecompress.models import (
    MODELS,
    Alexnet,
    Mlp,
    ModelSpec,
    Resnet,
    SmallCnn,
    Timm,
    TokenBag,
    Torchvision,
    Transformer,
    Vgg,
)
from safecompress.seeding import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


class Tiny(nn.Module):
    """A plug-in with an option it must be given, and one that lists."""

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, width: int, names: list[str] | None = None):
        super().__init__()
        if width == 13:
            raise ValueError("thirteen")
        self.head = nn.Linear(input_shape[0], num_classes)
        self.names = names


class Unresolved(nn.Module):
    """A plug-in whose types exist for the checker only, and that takes whatever comes."""

    def __init__(self, input_shape: Sequence[int], num_classes: int, widths: Sequence[int] = (), **others: Any):
        super().__init__()
        self.widths, self.others = widths, others


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    points = [
        SimpleNamespace(name=kind.__name__.lower(), value="tests", dist=None, load=lambda kind=kind: kind)
        for kind in (Tiny, Unresolved)
    ]
    monkeypatch.setattr(registry, "installed", lambda group: points if group == "safecompress.models" else [])


@settings(deadline=None)
@given(
    name=st.text(),
    options=st.dictionaries(st.text(), VALUES, max_size=3),
    input_shape=st.lists(st.integers(1), min_size=1, max_size=4),
    num_classes=st.integers(2),
)
def test_json_gives_an_equal_spec_back(name, options, input_shape, num_classes):
    spec = ModelSpec(name, options, tuple(input_shape), num_classes)
    back = ModelSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert hash(back) == hash(spec)
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec


def test_specs_differ_when_any_field_does():
    spec = ModelSpec("mlp", {"hidden": (4,)}, (8,), 2)
    others = [
        ModelSpec("cnn", {"hidden": (4,)}, (8,), 2),
        ModelSpec("mlp", {"hidden": (5,)}, (8,), 2),
        ModelSpec("mlp", {"hidden": (4,)}, (9,), 2),
        ModelSpec("mlp", {"hidden": (4,)}, (8,), 3),
    ]
    assert spec not in others


def test_options_are_a_copy():
    options = {"hidden": [4]}
    spec = ModelSpec("mlp", options, (8,), 2)
    options["hidden"].append(5)
    options["dropout"] = 0.5
    assert spec.options == {"hidden": (4,)}


@pytest.mark.parametrize(
    ("name", "kind", "input_shape", "options"),
    [
        ("mlp", Mlp, (8,), {"hidden": [4, 3], "dropout": 0}),
        ("mlp", Mlp, (1, 8, 8), {}),
        ("cnn", SmallCnn, (1, 8, 8), {"channels": [4], "batch_norm": False}),
    ],
)
def test_build_makes_the_network_that_the_constructor_makes(name, kind, input_shape, options):
    spec = ModelSpec(name, options, input_shape, 3)
    spec.check()
    with seeded(0, "weights"):
        built = spec.build()
    with seeded(0, "weights"):
        made = kind(input_shape, 3, **options)
    assert type(built) is kind
    assert str(built) == str(made)
    assert all(torch.equal(one, other) for one, other in zip(built.parameters(), made.parameters(), strict=True))
    with seeded(1, "weights"):
        assert not torch.equal(next(spec.build().parameters()), next(made.parameters()))


def test_check_builds_nothing_and_draws_nothing():
    before = torch.get_rng_state()
    ModelSpec("mlp", {"hidden": (1 << 40,)}, (64,), 2).check()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ModelSpec("mpl", {}, (4,), 2), r"mean 'mlp'\?"),
        (
            ModelSpec("mlp", {"hiden": 3}, (4,), 2),
            r"'hiden'.*'hidden'\? Allowed: dropout, hidden",
        ),
        (ModelSpec("mlp", {"input_shape": (3,)}, (4,), 2), "no option 'input_shape'"),
        (ModelSpec("unresolved", {"num_classes": 3}, (4,), 2), "no option 'num_classes'"),
        (ModelSpec("mlp", {"hidden": 3}, (4,), 2), r"'hidden'.*model 'mlp' takes tuple\[int, \.\.\.\]; got 3"),
        (ModelSpec("mlp", {"hidden": (3, "x")}, (4,), 2), "valid integer"),
        (ModelSpec("mlp", {"hidden": (True,)}, (4,), 2), "valid integer"),
        (ModelSpec("mlp", {"dropout": "0.5"}, (4,), 2), "takes float; got '0.5'"),
        (ModelSpec("cnn", {"batch_norm": 1}, (1, 8, 8), 2), "takes bool; got 1"),
        (ModelSpec("tiny", {}, (4,), 2), "option 'width'"),
        (ModelSpec("tiny", {"width": 1, "names": (3,)}, (4,), 2), "valid string"),
    ],
)
def test_options_that_the_constructor_does_not_take_are_refused(spec, said):
    for verb in (spec.check, spec.build):
        with pytest.raises(ModelError, match=said):
            verb()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ModelSpec("mlp", {"hidden": (0,)}, (4,), 2), "whole numbers .* 1"),
        (ModelSpec("mlp", {"hidden": (10**30,)}, (4,), 2), "built from hidden="),
        (ModelSpec("mlp", {}, (10**15, 10**15), 2), "built from input_shape="),
        (ModelSpec("cnn", {}, (64,), 2), "image=True,.*model 'mlp'"),
        (ModelSpec("tiny", {"width": 13}, (4,), 2), "from width=13.*thirteen"),
    ],
)
def test_values_that_make_no_network_are_refused(spec, said):
    with pytest.raises(ModelError, match=said):
        spec.build()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((3, {}, (4,), 2), "table of options"),
        (("mlp", [], (4,), 2), "table of options"),
        (("mlp", {}, 4, 2), "input_shape is a tuple"),
        (("mlp", {}, (), 2), "input_shape is a tuple"),
        (("mlp", {}, (4.0,), 2), "input_shape.*whole numbers"),
        (("mlp", {}, (4,), "2"), "at least 2 classes"),
        (("mlp", {1: 2}, (4,), 2), "Options are named"),
        (("mlp", {"dropout": float("inf")}, (4,), 2), "'dropout'.* number"),
        (("mlp", {"hidden": (4, {5})}, (4,), 2), "'hidden'.* number"),
    ],
)
def test_fields_of_wrong_types_are_refused(fields, said):
    with pytest.raises(ModelError, match=said):
        ModelSpec(*fields)


@pytest.mark.parametrize("value", [None, [], "mlp", {"name": "mlp"}, {**dict.fromkeys("abcd", 1)}])
def test_json_of_another_kind_is_refused(value):
    with pytest.raises(ModelError, match="has the fields input_shape, name, num_classes, options"):
        ModelSpec.from_json(value)


def test_a_plugin_gets_its_options_in_the_types_it_asked_for():
    assert ModelSpec("tiny", {"width": 1, "names": ("a", "b")}, (4,), 2).build().names == ["a", "b"]
    model = ModelSpec("unresolved", {"widths": [1, 2], "colour": "red"}, (4,), 2).build()
    assert (model.widths, model.others) == ((1, 2), {"colour": "red"})


def test_the_built_in_models():
    builtins = {"alexnet": Alexnet, "cnn": SmallCnn, "mlp": Mlp, "resnet": Resnet, "token_bag": TokenBag}
    others = {"timm": Timm, "torchvision": Torchvision, "transformer": Transformer, "vgg": Vgg}
    assert dict(MODELS.builtins) == {**builtins, **others}
    assert MODELS.names() == sorted([*MODELS.builtins, "tiny", "unresolved"])
