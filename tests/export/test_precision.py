"""Rounded weights: by hand, what a file keeps is what the network computes with, and files that lie about it."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress.errors import ArtifactError, UsageError
from safecompress.export import Artifact, TaskInfo
from safecompress.export.precision import PRECISIONS, from_int8, round_weights, to_int8
from safecompress.models import ModelSpec
from safecompress.seeding import seeded

SPEC = ModelSpec("cnn", {"channels": (4, 6)}, (1, 8, 8), 3)
TASK = TaskInfo(3, (), (1, 8, 8))


def artifact_of(density=0.4, **changes):
    with seeded(0, "net"):
        model = SPEC.build().train()
        masks = {name: torch.rand(w.shape) < density for name, w in model.named_parameters() if w.dim() > 1}
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).masked_fill_(~mask, 0.0)
            model(torch.rand(16, 1, 8, 8))
    return Artifact(**{"state": model.state_dict(), "masks": masks, "model_spec": SPEC, "task": TASK, **changes})


def test_eight_bits_by_hand():
    """Scales 2/127 and 0: 1.0 is 63.5 steps, which rounds to the even 64; a row of zeros stays one."""
    weight = torch.tensor([[2.0, 1.0, -0.01], [0.0, -0.0, 0.0]])
    rounded, scales = round_weights({"w": weight, "bias": torch.tensor([0.3])}, "int8")
    assert torch.equal(scales["w"], torch.tensor([2 / 127, 0.0]))
    assert to_int8(weight, scales["w"]).tolist() == [[127, 64, -1], [0, 0, 0]]
    assert torch.allclose(rounded["w"], torch.tensor([[2.0, 128 / 127, -2 / 127], [0.0, 0.0, 0.0]]))
    assert not torch.signbit(rounded["w"][1]).any() and rounded["bias"].item() == pytest.approx(0.3)
    assert list(scales) == ["w"]


def test_half_precision_by_hand():
    rounded, scales = round_weights({"w": torch.tensor([[1.0 + 2**-12, 0.1]]), "b": torch.tensor([0.1])}, "float16")
    assert rounded["w"].tolist() == [[1.0, 0.0999755859375]] and scales == {}
    assert rounded["b"].item() == torch.tensor(0.1).item()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6),
    st.sampled_from(PRECISIONS),
)
def test_rounding_errs_by_half_a_step_at_most(values, precision):
    weight = torch.tensor(values).reshape(2, 3)
    rounded, scales = round_weights({"w": weight}, precision)
    step = {"float32": torch.zeros(2), "float16": weight.abs().amax(1) * 2**-10 + 2**-24}.get(
        precision, scales.get("w", torch.zeros(2))
    )
    assert ((rounded["w"] - weight).abs() <= step[:, None] * 0.5001).all()
    if precision == "int8":
        assert torch.equal(from_int8(to_int8(rounded["w"], scales["w"]), scales["w"]), rounded["w"])


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(density=st.sampled_from([0.0, 0.02, 0.5, 1.0]), precision=st.sampled_from(PRECISIONS))
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, density, precision):
    artifact = artifact_of(density).to_precision(precision)
    path = tmp_path_factory.mktemp("file") / "a.safetensors"
    count = artifact.byte_count()
    assert artifact.save(path) == path.stat().st_size == count.file
    loaded = Artifact.load(path)
    assert loaded.digest() == artifact.digest() and loaded.precision == precision
    for name, tensor in artifact.state.items():
        assert torch.equal(loaded.state[name], tensor) and loaded.state[name].dtype == tensor.dtype
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(loaded.predict(x), artifact.predict(x))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (3, 2, 0, 1)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_empty_weights_come_back(tmp_path, shape, precision):
    artifact = Artifact({"w": torch.zeros(shape), "b": torch.ones(2)}, {}, None, TaskInfo(2, (), (4,)))
    rounded = artifact.to_precision(precision)
    rounded.save(tmp_path / "a")
    assert Artifact.load(tmp_path / "a").digest() == rounded.digest()


def test_the_reference_counts_stored_widths():
    whole, half, eighth = (artifact_of().to_precision(precision).byte_count() for precision in PRECISIONS)
    weights = artifact_of().num_active
    scales = sum(len(mask) for mask in artifact_of().masks.values())
    assert whole.reference - half.reference == pytest.approx(2 * weights)
    assert half.reference - eighth.reference == pytest.approx(weights - 4 * scales)
    assert whole.file > half.file > eighth.file


def test_rounding_changes_the_digest_and_little_else():
    artifact = artifact_of()
    x = torch.rand(64, 1, 8, 8)
    half, eighth = (artifact.to_precision(precision) for precision in ("float16", "int8"))
    assert len({one.digest() for one in (artifact, half, eighth)}) == 3
    assert (half.predict(x) - artifact.predict(x)).abs().max() < 1e-3
    assert 0 < (eighth.predict(x) - artifact.predict(x)).abs().max() < 0.05
    assert artifact.to_precision("float32").digest() == artifact.digest()


def test_a_plain_file_keeps_the_version_that_older_readers_know(tmp_path):
    for precision, version in (("float32", "1"), ("float16", "2"), ("int8", "2")):
        artifact_of().to_precision(precision).save(tmp_path / "a")
        assert f'"version":"{version}"'.encode() in (tmp_path / "a").read_bytes()[:300]


def test_rounding_is_refused_where_it_would_mislead():
    with pytest.raises(UsageError, match="Unknown precision 'int4'"):
        artifact_of().to_precision("int4")
    with pytest.raises(ArtifactError, match="rounded to int8 already"):
        artifact_of().to_precision("int8").to_precision("float16")
    large = nn.Linear(2, 3)
    nn.init.constant_(large.weight, 1e6)
    with pytest.raises(ArtifactError, match=r"'weight' holds.*1e\+06,.*float16"):
        Artifact(large.state_dict(), {}, None, TaskInfo(3, (), (2,))).to_precision("float16")
    nn.init.constant_(large.weight, float("nan"))
    with pytest.raises(ArtifactError, match="which int8 cannot keep"):
        Artifact(large.state_dict(), {}, None, TaskInfo(3, (), (2,))).to_precision("int8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "float16"}, "rounded to float16"),
        ({"precision": "int8"}, "Precision int8.*0 tensors"),
        ({"scales": {"head.weight": torch.ones(3)}}, "Precision float32.*1"),
        ({"precision": "int8", "scales": {"nowhere": torch.ones(3)}}, "Scales.*'nowhere'"),
        ({"precision": "int8", "scales": {"head.weight": torch.ones(2)}}, "to its channels"),
        ({"precision": "int8", "scales": {"head.weight": torch.tensor([1.0, -1.0, 1.0])}}, "do not belong"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(ArtifactError, match=said):
        artifact_of(**changes)


def test_a_file_whose_scales_are_gone_is_refused(tmp_path, monkeypatch):
    artifact = artifact_of().to_precision("int8")
    stored = Artifact._stored
    monkeypatch.setattr(Artifact, "_stored", lambda self: {k: v for k, v in stored(self).items() if "scale/" not in k})
    artifact.save(tmp_path / "a")
    with pytest.raises(ArtifactError, match="holds 0 scales:"):
        Artifact.load(tmp_path / "a")


def test_other_scales_are_seen_by_the_digest(tmp_path):
    artifact = artifact_of().to_precision("int8")
    scales = {name: scale * 2 for name, scale in artifact.scales.items()}
    state = {n: from_int8(to_int8(t, artifact.scales[n]), scales[n]) if n in scales else t
             for n, t in artifact.state.items()}  # fmt: skip
    assert dataclasses.replace(artifact, state=state, scales=scales).digest() != artifact.digest()
