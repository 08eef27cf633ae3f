"""``bench``: what a file weighs and how fast it answers, as a table and as JSON; no figure of time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from safecompress.export import Artifact, TaskInfo
from safecompress.export.onnx import export_onnx
from safecompress.metrics.measurement import Interval
from safecompress.models import ModelSpec
from safecompress.runtime.bench import Latency, Speed, _words
from safecompress.runtime.bench import bench as measure
from safecompress.seeding import seeded
from safecompress.storage import write_tensors
from said import says
from whole_runs import run_cli

SPEC = ModelSpec("mlp", {"hidden": (12, 6)}, (8,), 3)


def make(folder, spec=SPEC, model_spec=SPEC, density=0.3):
    with seeded(0, "bench"):
        network = spec.build().eval()
        masks = {name: torch.rand(w.shape) < density for name, w in network.named_parameters() if w.dim() > 1}
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name)[~mask] = 0
    task = TaskInfo(3, ("a", "b", "c"), spec.input_shape)
    artifact = Artifact(network.state_dict(), masks, model_spec, task)
    artifact.save(folder / "a.safetensors")
    return artifact, network


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an artifact, its network as ONNX, and dense weights; and what --json said of the artifact."""
    folder = tmp_path_factory.mktemp("bench")
    artifact, network = make(folder)
    export_onnx(network, artifact.task, folder / "a.onnx")
    write_tensors(folder / "dense.safetensors", SPEC.build().state_dict())
    return folder, artifact, run_cli("bench", folder / "a.safetensors", "--json")


@pytest.mark.slow
def test_json_is_one_object_and_nothing_else(home):
    folder, artifact, ended = home
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    counted = artifact.byte_count()
    assert {key: found[key] for key in ("path", "file_bytes", "payload_bytes", "density", "threads")} == {
        "path": str(folder / "a.safetensors"),
        "file_bytes": (folder / "a.safetensors").stat().st_size,
        "payload_bytes": counted.payload,
        "density": artifact.density,
        "threads": 1,
    }
    assert found["reference_bytes"] == pytest.approx(counted.reference)
    assert found["floor_ratio"] == pytest.approx(counted.ratio)
    assert found["load_ms"] > 0
    assert [speed["batch_size"] for speed in found["speeds"]] == [1, 64]
    for speed in found["speeds"]:
        assert set(speed) == {"batch_size", "file", "dense", "ratio", "ratio_interval"}
        assert speed["file"]["engine"] in ("csr", "torch")
        assert speed["dense"]["engine"] == "onnxruntime"
        assert speed["ratio_interval"][0] <= speed["ratio"] <= speed["ratio_interval"][1]
        for side in (speed["file"], speed["dense"]):
            low, high = side["p50_interval_ms"]
            assert 0 < low <= side["p50_ms"] <= high
            assert side["p95_ms"] > 0
            assert side["rows_per_s"] == pytest.approx(1e3 * speed["batch_size"] / side["p50_ms"])
            assert side["num_calls"] >= 51


@pytest.mark.slow
def test_the_table_for_people(home):
    folder, artifact, _ = home
    ended = run_cli("bench", folder / "a.safetensors", "--dense", folder / "dense.safetensors")
    assert (ended.code, ended.err) == (0, "")
    assert "one thread, milliseconds" in ended.out
    told = " ".join(ended.out.split())  # as it was before lines were broken
    assert f"{(folder / 'a.safetensors').stat().st_size:,} bytes; density {artifact.density:.3g}" in told
    assert f"{artifact.byte_count().ratio:.3f} of its reference size" in told
    assert "Loaded in " in told
    assert "1 row: " in told


@pytest.mark.slow
def test_an_onnx_file_is_timed_without_torch(home):
    folder = home[0]
    code = (
        "import sys\nsys.modules['torch'] = None\nsys.argv = ['safecompress', 'bench', "
        f"{str(folder / 'a.onnx')!r}, '--json']\nfrom safecompress.runtime.bench import bench\n"
        f"import json; print(json.dumps(bench({str(folder / 'a.onnx')!r}, rounds=2).to_json()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["file_bytes"] == (folder / "a.onnx").stat().st_size
    assert found["floor_ratio"] is None
    assert [speed["file"]["engine"] for speed in found["speeds"]] == ["onnxruntime", "onnxruntime"]
    assert [speed["ratio"] for speed in found["speeds"]] == [None, None]
    (word,) = found["words"]
    assert says(word, "ONNX", "no speed")


@pytest.mark.slow
def test_an_onnx_file_beside_another(home):
    folder = home[0]
    ended = run_cli("bench", folder / "a.onnx", "--dense", folder / "a.onnx", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert all(speed["ratio"] > 0 for speed in json.loads(ended.out)["speeds"])
    table = run_cli("bench", folder / "a.onnx")
    assert "bring no speed" in table.out


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["weights", "other shape", "other sizes"])
def test_a_file_of_the_same_name_that_is_no_such_artifact_is_no_peer(home, tmp_path, beside):
    (tmp_path / "a.onnx").write_bytes((home[0] / "a.onnx").read_bytes())
    if beside == "weights":
        write_tensors(tmp_path / "a.safetensors", SPEC.build().state_dict())
    elif beside == "other shape":
        make(tmp_path, replace(SPEC, input_shape=(9,)), replace(SPEC, input_shape=(9,)))
    else:  # a network that no memory holds
        huge = replace(SPEC, options={"hidden": (10**12,)})
        task = TaskInfo(huge.num_classes, (), huge.input_shape)
        Artifact(SPEC.build().state_dict(), {}, huge, task).save(tmp_path / "a.safetensors")
    assert all(speed.dense is None for speed in measure(tmp_path / "a.onnx", rounds=2).speeds)


@pytest.mark.slow
def test_a_convolutional_network_hears_that_zeros_bring_no_speed(tmp_path):
    """Or it hears nothing, should chance make it look quick: the words are tested below."""
    spec = ModelSpec("cnn", {"channels": (4,)}, (1, 4, 4), 3)
    make(tmp_path, spec, spec)
    found = json.loads(run_cli("bench", tmp_path / "a.safetensors", "--json").out)
    assert all(speed["file"]["engine"] != "csr" for speed in found["speeds"])
    assert "no csr, it calls" in found["why"]


def latency(engine: str, batch_size: int) -> Latency:
    return Latency(engine, batch_size, 1.0, Interval(0.9, 1.1, 0.95), 1.2, 100)


def speeds(engine: str, *ratios: float | None) -> tuple[Speed, ...]:
    return tuple(
        Speed(latency(engine, size), None if ratio is None else latency("onnxruntime", size), ratio)
        for size, ratio in zip((1, 64), ratios, strict=True)
    )


@pytest.mark.parametrize(
    ("found", "density", "why", "words"),
    [
        (speeds("csr", 2.0, 5.0), 0.05, "", None),
        (speeds("csr", 1.0, 5.0), 0.1, "", "With 1 row, zeros alone"),
        (speeds("torch", 0.7, 0.9), 0.3, "", "With 1 row and 64 rows, zeros"),
        (speeds("torch", 0.7, 0.9), 0.3, "x; no csr, it calls", "sparse kernel"),
        (speeds("torch", None, None), 0.3, "", "bring no speed"),
        (speeds("csr", None, None), 0.3, "", None),
        (speeds("onnxruntime", 4.0, 5.0), 0.3, "no csr, say", None),  # fewer units, say
        (speeds("torch", 0.7, 0.9), 1.0, "", None),
        (speeds("torch", 0.7, 0.9), None, "", None),
        (speeds("csr", 1.0, 1.0), 0.0, "", "density 0)"),
    ],
)
def test_words_say_where_zeros_bring_no_speed(found, density, why, words):
    said = _words(found, density, why)
    assert len(said) == (words is not None)
    assert words is None or words in said[0]


def test_an_artifact_of_the_users_own_class_is_refused(tmp_path):
    make(tmp_path, model_spec=None)
    ended = run_cli("bench", tmp_path / "a.safetensors")
    assert ended.code == 3
    assert "user's own class" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.safetensors"], 3, "ArtifactError: "),
        (["missing.onnx"], 3, "ArtifactError: There is"),
        (["a.txt"], 2, "UsageError: "),
        (["a.safetensors", "--dense", "missing.safetensors"], 2, "dense weights"),
        (["a.safetensors", "--dense", "a.onnx"], 2, "one as well"),
        (["a.safetensors", "--dense", "other.safetensors"], 2, "fit the network"),
        (["a.onnx", "--dense", "wide.onnx"], 2, "reads samples of"),
    ],
)
def test_slips(arguments, code, words, home):
    folder = home[0]
    write_tensors(folder / "other.safetensors", {"weight": torch.zeros(2)})
    if "wide.onnx" in arguments:
        wide = ModelSpec("mlp", {"hidden": ()}, (9,), 3)
        export_onnx(wide.build(), TaskInfo(3, (), (9,)), folder / "wide.onnx")
    ended = run_cli("bench", *(argument if argument.startswith("-") else folder / argument for argument in arguments))
    assert ended.code == code
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
