"""Packing: what ships answers as what was trained, is smaller, and is read back whole; files that lie about sizes."""

import dataclasses

import pytest
import torch

from safecompress.errors import ArtifactError, UsageError
from safecompress.export import Artifact, Packing, TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded

pytest.importorskip("torch_pruning")

MLP = ModelSpec("mlp", {"hidden": (12, 6)}, (8,), 3)
RESNET = ModelSpec("resnet", {"blocks": (1, 1), "widths": (8, 16)}, (3, 8, 8), 3)


def artifact_of(spec=MLP, dead=4, **changes):
    """A network the first ``dead`` units of whose first hidden layer nobody reads."""
    with seeded(0, "net"):
        model = spec.build().train()
        model(torch.rand(16, *spec.input_shape))
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in model.named_parameters() if w.dim() > 1}
    readers = {"mlp": ["body.2.weight"], "resnet": ["body.0.first.0.weight", "body.1.first.0.weight",
                                                    "body.1.shortcut.0.weight"]}[spec.name]  # fmt: skip
    makers = {"mlp": [], "resnet": ["stem.0.weight", "body.0.second.0.weight"]}[spec.name]
    for name in readers:
        masks[name][:, :dead] = False
    for name in makers:
        masks[name][:dead] = False
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).masked_fill_(~mask, 0.0)
    task = TaskInfo(3, (), spec.input_shape)
    return Artifact(**{"state": model.state_dict(), "masks": masks, "model_spec": spec, "task": task, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("spec", [MLP, RESNET], ids=lambda spec: spec.name)
def test_dead_units_leave_and_answers_stay(tmp_path, spec):
    artifact = artifact_of(spec)
    packed = Packing(shrink=True)(artifact)
    assert packed.resized_from == packed.num_weights == artifact.num_weights
    assert sum(t.numel() for t in packed.state.values()) < sum(t.numel() for t in artifact.state.values())
    assert packed.save(tmp_path / "a") < artifact.save(tmp_path / "b")
    loaded = Artifact.load(tmp_path / "a")
    assert loaded.digest() == packed.digest() and loaded.is_resized and loaded.density == packed.density
    x = torch.rand(20, *spec.input_shape)
    assert torch.allclose(loaded.predict(x), artifact.predict(x), atol=1e-5)


def test_density_counts_against_the_network_before(tmp_path):
    """Of 12 units 4 go: 8 inputs and 6 readers each. What is left is whole, and is no dense network."""
    packed = Packing(shrink=True)(artifact_of())
    assert packed.num_weights == 8 * 12 + 12 * 6 + 6 * 3 and packed.num_active == 8 * 8 + 8 * 6 + 6 * 3
    assert packed.density == pytest.approx(130 / 186)


def test_nothing_dead_nothing_changed():
    artifact = artifact_of(dead=0)
    assert Packing(shrink=True)(artifact).digest() == artifact.digest()
    assert Packing()(artifact).digest() == artifact.digest()


def test_shrunk_and_rounded_together(tmp_path):
    artifact = artifact_of()
    packed = Packing(shrink=True, precision="int8")(artifact)
    packed.save(tmp_path / "a")
    loaded = Artifact.load(tmp_path / "a")
    assert loaded.digest() == packed.digest() and loaded.is_resized and loaded.precision == "int8"
    x = torch.rand(20, 8)
    assert (loaded.predict(x) - artifact.predict(x)).abs().max() < 0.02


def test_a_network_of_the_users_own_class(tmp_path):
    artifact = dataclasses.replace(artifact_of(), model_spec=None)
    packed = Packing(shrink=True)(artifact, MLP.build())
    packed.save(tmp_path / "a")
    x = torch.rand(20, 8)
    assert torch.allclose(Artifact.load(tmp_path / "a").predict(x, model=MLP.build()), packed.predict(
        x, model=MLP.build()))  # fmt: skip
    with pytest.raises(ArtifactError, match="the user's own"):
        Packing(shrink=True)(artifact)


def test_sizes_that_do_not_go_together_are_refused(tmp_path):
    """A file is hostile: a hidden layer of other widths at its two ends, more classes, or more weights than before."""
    packed = Packing(shrink=True)(artifact_of())
    wider = {**packed.state, "body.0.weight": torch.zeros(7, 8), "body.0.bias": torch.zeros(7)}
    masks = {**packed.masks, "body.0.weight": torch.ones(7, 8, dtype=torch.bool)}
    broken = dataclasses.replace(packed, state=wider, masks=masks)
    broken.save(tmp_path / "a")
    with pytest.raises(ArtifactError, match="fit each other"):
        Artifact.load(tmp_path / "a").build()
    fewer = {**packed.state, "head.weight": torch.zeros(2, 6), "head.bias": torch.zeros(2)}
    masks = {**packed.masks, "head.weight": torch.ones(2, 6, dtype=torch.bool)}
    with pytest.raises(ArtifactError, match=r"give \(2,\) scores.*3 classes"):
        dataclasses.replace(packed, state=fewer, masks=masks).build()
    with pytest.raises(ArtifactError, match=r"130 weights.*129"):
        dataclasses.replace(packed, resized_from=129)


def test_what_a_file_says_of_the_network_before_is_not_believed():
    """It decides the density, and how much memory the dense network takes that others are compared with."""
    packed = Packing(shrink=True)(artifact_of())
    for model_spec in (MLP, None):
        with pytest.raises(ArtifactError, match=r"18600 weights.*186"):
            dataclasses.replace(packed, resized_from=18600, model_spec=model_spec).build(
                None if model_spec else MLP.build()
            )
    huge = dataclasses.replace(MLP, options={"hidden": (10**9, 10**9)})
    lie = dataclasses.replace(packed, model_spec=huge, resized_from=8 * 10**9 + 10**18 + 3 * 10**9)
    with pytest.raises(ArtifactError, match="not believed"):
        lie.build()


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match=r"Unknown precision 'int9'.*Did you mean 'int8'"):
        Packing(precision="int9")
