"""ONNX export: what is written answers as the network does, for any number of rows; what cannot be is not written."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from safecompress.errors import ArtifactError, StorageError, UsageError
from safecompress.export import TaskInfo
from safecompress.export.onnx import KEY, export_onnx, facts_of
from safecompress.models import ModelSpec
from safecompress.seeding import seeded

SHAPE = (1, 6, 6)
SPECS = {
    "mlp": ModelSpec("mlp", {"hidden": (12, 6), "dropout": 0.5}, SHAPE, 3),
    "cnn": ModelSpec("cnn", {"channels": (4, 6), "dropout": 0.5}, SHAPE, 3),
}


def task(**changes) -> TaskInfo:
    with seeded(0, "task"):
        shift, scale = torch.rand(SHAPE) * 5, torch.rand(SHAPE) + 0.5
    fields = {"num_classes": 3, "class_names": ("a", "b", "ç"), "input_shape": SHAPE, "shift": shift, "scale": scale}
    return TaskInfo(**{**fields, **changes})


def network(name: str) -> nn.Module:
    with seeded(0, name):
        model = SPECS[name].build().train()
        model(torch.rand(16, *SHAPE))  # batch norm's statistics move
    return model


@pytest.fixture(scope="module", params=SPECS)
def exported(request, tmp_path_factory):
    """(network, path, what export_onnx returned), the network being left in training mode."""
    model, path = network(request.param), tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model, path, export_onnx(model, task(), path)


def ask(path, samples):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"samples": samples})[0]


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [1, 2, 5, 64])
def test_it_answers_raw_samples_as_the_network_does(exported, num_rows):
    model, path, _ = exported
    samples = torch.rand(num_rows, *SHAPE) * 9
    with torch.no_grad():
        wanted = model.eval()(task().prepare(samples)).numpy()
    model.train()
    np.testing.assert_allclose(ask(path, samples.numpy()), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_file_is_one_and_says_what_it_is(exported):
    _, path, num_bytes = exported
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    assert path.stat().st_size == num_bytes
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    facts = {"version": 1, "num_classes": 3, "class_names": ["a", "b", "ç"], "input_shape": [1, 6, 6]}
    assert [(entry.key, json.loads(entry.value)) for entry in proto.metadata_props] == [(KEY, facts)]
    assert facts_of(task()) == facts


def test_nothing_of_this_machine_is_in_the_file(exported):
    _, path, _ = exported
    content = path.read_bytes()
    for trace in (b"/work", b"site-packages", b".py", b"stack_trace", b"pkg.torch"):
        assert trace not in content


def test_the_network_is_left_as_it_was(exported):
    model, _, _ = exported
    assert model.training


@pytest.mark.slow
def test_zeros_of_masked_weights_stay_zeros(tmp_path):
    model = network("mlp")
    mask = torch.rand(12, 36) < 0.3
    with torch.no_grad():
        model.body[0].weight[~mask] = 0
    export_onnx(model, task(shift=None, scale=None), tmp_path / "m.onnx")
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer]
    (first,) = [weight for weight in weights if weight.shape in ((12, 36), (36, 12))]
    assert np.count_nonzero(first) == int(mask.sum())


@pytest.mark.slow
def test_exporting_is_quiet(tmp_path, capfd):
    export_onnx(network("mlp"), task(), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


class Sly(nn.Module):
    """Answers other numbers of rows, or other values, otherwise: ``kind`` says how."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.head = kind, nn.Linear(36, 3)

    def forward(self, inputs):
        logits = self.head(inputs.flatten(1))
        if self.kind == "by rows":
            return logits * (3.0 if inputs.shape[0] > 3 else 1.0)
        if self.kind == "by values":
            return logits if inputs.sum() > 0 else -logits
        if self.kind == "not a number":
            return logits * torch.nan
        return {"two": (logits, logits), "narrow": logits[:, :2]}[self.kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("by rows", "answers 5 samples.*PyTorch"),
        ("by values", "translate the network"),
        ("not a number", "than in PyTorch"),
        ("two", "it gave tuple"),
        ("narrow", r"\(N, 3\);.*2 samples.*gave \(2, 2\)"),
    ],
)
def test_a_network_that_onnx_would_change_is_refused(kind, words, tmp_path, capfd):
    with pytest.raises(ArtifactError, match=words):
        export_onnx(Sly(kind), task(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_failed_export_leaves_the_old_file(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ArtifactError):
        export_onnx(Sly("two"), task(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"old"


@pytest.mark.slow
def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        export_onnx(network("mlp"), task(), tmp_path / "file" / "m.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install torch-pruning onnx onnxscript onnxruntime"):
        export_onnx(network("mlp"), task(), tmp_path / "m.onnx")
