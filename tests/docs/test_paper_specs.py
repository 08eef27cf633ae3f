"""The five specs of examples/papers: they load whole and shortened, and their networks have the papers' sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from safecompress.config import load_config
from safecompress.models import ModelSpec

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
SPECS = sorted(PAPERS.glob("*.toml"))
SIZES = {
    "cifar10-alexnet": ((3, 32, 32), 10, 5_077_066),
    "cifar100-vgg16": ((3, 32, 32), 100, 11_369_636),
    "tiny-imagenet-resnet18": ((3, 64, 64), 200, 11_271_432),  # the papers count no bias of the head
}


def test_there_are_five() -> None:
    assert len(SPECS) == 5 and all(f"({path.name})" in (PAPERS / "README.md").read_text() for path in SPECS)


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_loads_at_every_density_and_shortened(path: Path) -> None:
    full, small = load_config(path), load_config(path, scale="small")
    assert (full.name, full.plan.density, full.notes()) == (path.stem, 0.05, [])
    assert load_config(path, settings={"compress.density": 0.2}).plan.density == 0.2
    assert small.recipe.epochs < full.recipe.epochs and small.data.sizes["train"] < full.data.sizes["train"]
    (note,) = small.notes()
    assert f"data.train: {full.data.sizes['train']} -> {small.data.sizes['train']}" in note and "recipe.epochs" in note
    assert "lira" in {attack.name for attack in full.spec.attacks} - {attack.name for attack in small.spec.attacks}


@pytest.mark.parametrize("name", SIZES)
def test_networks_have_the_papers_sizes(name: str) -> None:
    shape, num_classes, size = SIZES[name]
    model = load_config(PAPERS / f"{name}.toml").model
    assert model is not None
    with torch.device("meta"):
        built = ModelSpec(model.name, model.options, shape, num_classes).build()
    assert sum(parameter.numel() for parameter in built.parameters()) == size


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_the_recipe_is_the_published_one(name: str) -> None:
    config = load_config(PAPERS / f"{name}.toml")
    recipe, plan = config.recipe, config.plan
    steps = recipe.total_steps(config.data.sizes["train"])
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.milestones) == (300, 128, 0.1, (0.5, 0.75))
    assert plan.stop * steps / plan.rounds == pytest.approx(4000, rel=0.03)  # a rewire every 4,000 steps
    assert [plan.schedule(0.0), plan.schedule(1.0)] == [0.5, pytest.approx(0.005)]
