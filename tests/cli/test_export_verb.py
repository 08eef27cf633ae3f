"""``export``: the files of other programs hold the same numbers, and nothing is written over."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from safecompress import runtime
from safecompress.errors import ArtifactError, UsageError
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.runtime.bench import bench
from safecompress.seeding import seeded
from whole_runs import run_cli

SPEC = ModelSpec("mlp", {"hidden": (12,)}, (8,), 3)
TASK = TaskInfo(3, ("a", "b", "c"), (8,), shift=torch.arange(8.0), scale=torch.full((8,), 2.0))
SAMPLES = torch.linspace(-3, 9, 40).reshape(5, 8)


class Own(nn.Module):
    """A network of the user's own."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last(self.first(inputs).relu())


def save(folder, network, spec, precision="float32"):
    masks = {name: torch.rand(w.shape) < 0.4 for name, w in network.named_parameters() if w.ndim > 1}
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name)[~mask] = 0
    artifact = Artifact(network.state_dict(), masks, spec, TASK).to_precision(precision)
    artifact.save(folder / "a.safetensors")
    return artifact


@pytest.fixture
def artifact(tmp_path):
    with seeded(0, "export"):
        return save(tmp_path, SPEC.build(), SPEC)


@pytest.fixture
def own(tmp_path):
    with seeded(0, "export"):
        return save(tmp_path, Own(), None)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_state_dict_is_read_without_a_pickle_and_answers_alike(tmp_path, precision):
    with seeded(0, "export"):
        artifact = save(tmp_path, SPEC.build(), SPEC, precision)
    ended = run_cli("export", tmp_path / "a.safetensors", "--to", "torch")
    assert ended.code == 0 and "weights_only=True" in ended.out
    network = SPEC.build().eval()
    network.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    facts = json.loads((tmp_path / "a.json").read_text())
    inputs = (SAMPLES - torch.tensor(facts["shift"])) / torch.tensor(facts["scale"])
    assert torch.allclose(network(inputs).softmax(1), artifact.predict(SAMPLES))
    assert (facts["class_names"], facts["input_shape"], facts["precision"]) == (["a", "b", "c"], [8], precision)


def test_the_safetensors_view_has_the_networks_own_names_and_dense_float32(tmp_path, artifact):
    run_cli("export", tmp_path / "a.safetensors", "--to", "safetensors", "--out", tmp_path / "out" / "b.safetensors")
    with safe_open(tmp_path / "out" / "b.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 it is no mapping
    expected, held = ({n: (t.shape, t.dtype) for n, t in of.items()} for of in (SPEC.build().state_dict(), tensors))
    assert held == expected
    assert all(torch.equal(tensors[name], tensor) for name, tensor in artifact.state.items())


def test_a_network_of_ones_own_class_is_exported_timed_and_asked(tmp_path, own, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text("from test_export_verb import Own as make\n")
    assert run_cli("export", "a.safetensors", "--to", "torch").code == 0
    network = Own()
    network.load_state_dict(torch.load("a.pt", weights_only=True))
    assert torch.allclose(network(TASK.prepare(SAMPLES)).softmax(1), own.predict(SAMPLES, model=Own()))
    refused = run_cli("export", "a.safetensors", "--to", "onnx")
    assert refused.code == 2 and "--model" in refused.err
    predictor = runtime.load("a.safetensors", engine="torch", model=Own())
    assert torch.allclose(torch.from_numpy(predictor.predict(SAMPLES.numpy())), own.predict(SAMPLES, model=Own()))
    with pytest.raises(ArtifactError, match="user's own class"):
        runtime.load("a.safetensors")
    measured = bench("a.safetensors", model=Own(), rounds=1)
    assert all(speed.dense is not None for speed in measured.speeds)


def test_a_model_that_is_given_is_not_changed(tmp_path, own):
    network = Own()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    runtime.load(tmp_path / "a.safetensors", engine="torch", model=network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.slow
def test_onnx_brings_the_input_transform_along(tmp_path, own, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text("from test_export_verb import Own as make\n")
    assert run_cli("export", "a.safetensors", "--to", "onnx", "--model", "own_net:make").code == 0
    answers = torch.from_numpy(runtime.load("a.onnx").predict(SAMPLES.numpy()))
    assert torch.allclose(answers, own.predict(SAMPLES, model=Own()), atol=1e-5)


@pytest.mark.parametrize("taken", ["a.pt", "a.json"])
def test_nothing_is_written_over(tmp_path, artifact, taken):
    (tmp_path / taken).write_text("mine")
    ended = run_cli("export", tmp_path / "a.safetensors", "--to", "torch")
    assert ended.code == 2 and f"{taken} exists" in ended.err
    assert (tmp_path / taken).read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"a.safetensors", taken}


def test_what_cannot_be_exported_is_said(tmp_path, artifact):
    ended = run_cli("export", tmp_path / "a.safetensors", "--to", "pickle")
    assert ended.code == 2 and "onnx, safetensors, torch" in ended.err
    ended = run_cli("export", tmp_path / "a.onnx", "--to", "torch")
    assert ended.code == 2 and "ONNX file already" in ended.err
    ended = run_cli("bench", tmp_path / "a.onnx", "--model", "own_net:make")
    assert ended.code == 2 and "leave --model out" in ended.err
    with pytest.raises(UsageError, match="leave the model out"):
        runtime.load(tmp_path / "a.onnx", model=Own())
