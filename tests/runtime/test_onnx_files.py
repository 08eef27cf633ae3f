"""ONNX files: asked without PyTorch; of unknown origin too, if they map rows to classes; refused in words otherwise."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from safecompress import runtime
from safecompress.errors import ArtifactError, DataError, UsageError
from safecompress.export import TaskInfo
from safecompress.export import onnx as written
from safecompress.models import ModelSpec
from safecompress.runtime import onnxfile
from safecompress.seeding import derive, seeded

SHAPE = (2, 3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(path, network, task) of a small exported network."""
    with seeded(0, "network"):
        network = ModelSpec("mlp", {"hidden": (5,)}, SHAPE, 3).build().eval()
    task = TaskInfo(3, ("a", "b", "ç"), SHAPE, torch.ones(SHAPE), torch.full(SHAPE, 2.0))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    written.export_onnx(network, task, path)
    return path, network, task


def rows(num: int) -> np.ndarray:
    return derive(0, "rows", num).standard_normal((num, *SHAPE)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [0, 1, 5, 1500])
def test_an_exported_file_answers_as_the_network(exported, num_rows):
    path, network, task = exported
    predictor = runtime.load(path, threads=1)
    with torch.no_grad():
        logits = network(task.prepare(torch.from_numpy(rows(num_rows))))
    np.testing.assert_allclose(predictor.logits(rows(num_rows)), logits.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predictor.predict(rows(num_rows)), logits.softmax(1).numpy(), rtol=1e-4, atol=1e-5)
    assert predictor.classes == ("a", "b", "ç")
    assert predictor.engine == "onnxruntime"


@pytest.mark.slow
def test_importing_loads_numpy_alone_and_asking_loads_no_torch(exported):
    code = (
        "import sys, safecompress.runtime as runtime\n"
        "heavy = ('torch', 'scipy', 'sklearn', 'onnx', 'onnxruntime', 'safetensors', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "sys.modules['torch'] = None\n"
        f"print(runtime.load({str(exported[0])!r}).predict([[[0.0] * 3] * 2]).shape, 'scipy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "(1, 3) False"]
    assert result.stderr == ""


def test_reader_and_writer_agree_on_the_metadata():
    assert (onnxfile.KEY, onnxfile.VERSION, onnxfile.EXTRA) == (written.KEY, written.VERSION, written.EXTRA)


def test_samples_of_another_shape(exported):
    with pytest.raises(DataError, match=r"shape \(2, 3\), one.*\(4, 6\)"):
        runtime.load(exported[0]).predict(np.zeros((4, 6)))


@pytest.mark.parametrize("engine", ["torch", "csr"])
def test_an_onnx_file_has_one_engine(engine, exported):
    with pytest.raises(UsageError, match="asked by 'onnxruntime'"):
        runtime.load(exported[0], engine=engine)


# --- files of unknown origin

WEIGHT = np.float32([[1, 2, 3], [-1, 0, 1]])


def write(path, *, nodes=None, inputs=None, outputs=None, kind=TensorProto.FLOAT, facts=None):
    """A model that computes x W^T, or ``nodes``."""
    weight = WEIGHT.astype(helper.tensor_dtype_to_np_dtype(kind))
    graph = helper.make_graph(
        nodes or [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in (inputs or {"x": ["n", 3]}).items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in (outputs or {"y": ["n", 2]}).items()],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if facts is not None:
        proto.metadata_props.add(key=written.KEY, value=facts)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_a_file_without_our_metadata_is_asked(kind, tmp_path):
    predictor = runtime.load(write(tmp_path / "m.onnx", kind=kind))
    assert predictor.classes == ("0", "1")
    logits = predictor.logits([[1, 1, 1], [0, 2, 0]])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, [[6, 0], [4, 0]])


def test_an_output_of_unknown_width_is_learned_by_asking(tmp_path):
    assert runtime.load(write(tmp_path / "m.onnx", outputs={"y": [None, None]})).facts.num_classes == 2


def test_probabilities_are_not_softmaxed_again(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["z"], transB=1), helper.make_node("Softmax", ["z"], ["y"])]
    predictor = runtime.load(write(tmp_path / "m.onnx", nodes=nodes))
    assert "read as probabilities" in predictor.why
    plain = runtime.load(write(tmp_path / "plain.onnx"))
    samples = [[1, 1, 1], [0, 2, 0], [1e3, 0, 0]]
    np.testing.assert_allclose(predictor.predict(samples), plain.predict(samples), atol=1e-6)


GEMM = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
RELU = [helper.make_node("Relu", ["x"], ["y"])]
TOTAL = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
FLAT = [helper.make_node("Flatten", ["x"], ["y"], axis=0)]
TWICE = [GEMM, helper.make_node("Relu", ["y"], ["hidden"])]
SUM = [helper.make_node("Add", ["x", "x2"], ["z"]), helper.make_node("Gemm", ["z", "w"], ["y"], transB=1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": TWICE, "outputs": {"y": ["n", 2], "hidden": ["n", 2]}}, "2 outputs, 'y', 'hidden'"),
        ({"nodes": SUM, "inputs": {"x": ["n", 3], "x2": ["n", 3]}}, "it has 2: 'x', 'x2'"),
        ({"inputs": {"x": [4, 3]}, "outputs": {"y": [4, 2]}}, "fixed at 4.* dynamic"),
        ({"inputs": {"x": ["n", "m"]}}, "number of rows"),
        ({"inputs": {"x": ["n", 2**40]}, "nodes": TOTAL, "outputs": {"y": []}}, "more than 67108864 values"),
        ({"inputs": {"x": ["n"]}, "nodes": RELU, "outputs": {"y": ["n"]}}, "must be known"),
        ({"nodes": TOTAL, "outputs": {"y": []}}, r"2 rows it has \(\)"),
        ({"nodes": FLAT, "outputs": {"y": [1, None]}}, r"it has \(1, 6\)"),
    ],
    ids=["outputs", "inputs", "fixed", "unknown", "huge", "flat", "scalar", "one row"],
)
def test_what_is_no_classifier_is_refused(changes, words, tmp_path):
    with pytest.raises(ArtifactError, match=words):
        runtime.load(write(tmp_path / "m.onnx", **changes))


def test_integers_in_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"'x' .* is a tensor\(int64\); tensor\(float\)"):
        runtime.load(
            write(tmp_path / "m.onnx", kind=TensorProto.INT64, nodes=[helper.make_node("Identity", ["x"], ["y"])])
        )


def test_a_graph_that_breaks_down_on_its_own_input_is_refused(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"])]  # (n, 3) times (2, 3)
    with pytest.raises(ArtifactError, match=r"m.onnx cannot be"):
        runtime.load(write(tmp_path / "m.onnx", nodes=nodes))


TOLD = {"version": 1, "num_classes": 2, "class_names": ["no", "yes"], "input_shape": [3]}


def test_told_facts_are_read(tmp_path):
    assert runtime.load(write(tmp_path / "m.onnx", facts=json.dumps(TOLD))).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ("{", "describes itself wrongly"),
        ("[]", "describes itself wrongly"),
        ("[" * 100_000, "describes itself wrongly"),
        (json.dumps({}), "describes itself wrongly"),
        (json.dumps({**TOLD, "version": 2}), "version 2, where 1"),
        (json.dumps({**TOLD, "class_names": ["a"]}), "not go together"),
        (json.dumps({**TOLD, "class_names": [1, 2]}), "not go together"),
        (json.dumps({**TOLD, "input_shape": "ab"}), "not go together"),
        (json.dumps({**TOLD, "num_classes": 5, "class_names": []}), "5 classes, and maps"),
        (json.dumps({**TOLD, "input_shape": [4]}), r"samples of \(4,\)"),
    ],
)
def test_facts_that_are_wrong_are_refused(facts, words, tmp_path):
    with pytest.raises(ArtifactError, match=words):
        runtime.load(write(tmp_path / "m.onnx", facts=facts))


@pytest.mark.parametrize("content", [b"", b"\x00" * 1000, b"not a model", b"\x08\x09" * 50])
def test_what_is_no_onnx_file_is_refused(content, tmp_path, capfd):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"m.onnx .* ONNX model"):
        runtime.load(tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def test_half_a_file_is_refused(exported, tmp_path):
    content = exported[0].read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError):
        runtime.load(tmp_path / "m.onnx")


def test_missing_files_and_folders(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    for name in ("missing.onnx", "folder.onnx"):
        with pytest.raises(ArtifactError, match="is no file"):
            runtime.load(tmp_path / name)


def test_without_onnxruntime_it_says_what_to_install(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install torch-pruning onnx onnxscript onnxruntime"):
        runtime.load(exported[0])
