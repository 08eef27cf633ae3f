"""Networks of other packages: asked for as those packages have it, and refused with a remedy where they are absent."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from safecompress.errors import ModelError
from safecompress.models import ModelSpec, SmallCnn


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins for torchvision and timm that note how they are called."""
    calls: list[Any] = []

    def get_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        return SmallCnn((3, 8, 8), options["num_classes"], (4,))

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        return SmallCnn((options["in_chans"], 8, 8), options["num_classes"], (4,))

    models = SimpleNamespace(list_models=lambda module: ["resnet18"], get_model=get_model)
    timm = SimpleNamespace(is_model="mixer".__eq__, list_models=lambda: ["mixer"], create_model=create_model)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "timm", timm)
    return calls


def build(name: str, shape: tuple[int, ...] = (3, 8, 8), **options: Any) -> nn.Module:
    return ModelSpec(name, options, shape, 5).build()


def test_networks_are_made_with_fresh_weights(packages: list[Any]) -> None:
    assert build("torchvision", architecture="resnet18")(torch.ones(2, 3, 8, 8)).shape == (2, 5)
    assert build("timm", (1, 8, 8), architecture="mixer")(torch.ones(2, 1, 8, 8)).shape == (2, 5)
    assert packages == [
        ("resnet18", {"weights": None, "num_classes": 5}),
        ("mixer", {"num_classes": 5, "in_chans": 1, "pretrained": False}),
    ]


@pytest.mark.parametrize(
    ("name", "shape", "options", "said"),
    [
        ("torchvision", (3, 8, 8), {"architecture": "resnet"}, "Did you mean 'resnet18'"),
        ("torchvision", (1, 8, 8), {"architecture": "resnet18"}, "read 3 channels"),
        ("timm", (3, 8, 8), {"architecture": "mixers"}, "mean 'mixer'"),
        ("timm", (64,), {"architecture": "mixer"}, "reads images"),
    ],
)
def test_what_they_do_not_have(packages: list[Any], name: str, shape: tuple[int, ...], options: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build(name, shape, **options)


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_a_package_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=f"Models of {name} need that package"):
        build(name, architecture="resnet18")
