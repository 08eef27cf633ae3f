"""int8: near the float model, smaller, its float operators named; rows and files that do not fit are refused."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from safecompress.errors import ArtifactError, DataError, StorageError, UsageError
from safecompress.export import TaskInfo
from safecompress.export.onnx import KEY, export_onnx
from safecompress.export.quantize import Quantised, quantize_onnx
from safecompress.models import ModelSpec
from safecompress.seeding import derive, seeded

SHAPE = (1, 8, 8)


def rows(num: int, *names) -> np.ndarray:
    return derive(0, "rows", *names).standard_normal((num, *SHAPE)).astype(np.float32) * 2 + 1


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def model(request, tmp_path_factory):
    """The path of an exported float model."""
    options = {"mlp": {"hidden": (64, 32)}, "cnn": {"channels": (8, 16)}}[request.param]
    with seeded(0, request.param):
        network = ModelSpec(request.param, options, SHAPE, 4).build().eval()
    task = TaskInfo(4, ("a", "b", "c", "d"), SHAPE, torch.ones(SHAPE), torch.full(SHAPE, 2.0))
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    export_onnx(network, task, path)
    return path


@pytest.fixture(scope="module")
def quantised(model) -> tuple[str, Quantised]:
    target = model.parent / "int8.onnx"
    return target, quantize_onnx(model, target, rows(150))


def ask(path, samples):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"samples": samples})[0]


@pytest.mark.slow
def test_it_answers_nearly_as_the_float_model(model, quantised):
    path, _ = quantised
    for num_rows in (1, 7):
        wanted, got = ask(model, rows(num_rows, "new")), ask(path, rows(num_rows, "new"))
        assert np.abs(wanted - got).max() < 0.1 * np.abs(wanted).max()
        assert not np.array_equal(wanted, got)


@pytest.mark.slow
def test_weights_are_bytes_one_scale_a_channel(quantised):
    path, _ = quantised
    tensors = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    in_int8 = [
        name for name, tensor in tensors.items() if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert len(in_int8) == 3
    for name in in_int8:
        scale = tensors[name.replace("_quantized", "_scale")]
        assert max(scale.dims) in tensors[name].dims


def test_what_is_returned_is_what_is_there(quantised):
    path, told = quantised
    assert told.num_bytes == path.stat().st_size
    kinds = [name.split()[0] for name in told.in_int8]
    assert kinds.count("Gemm") + kinds.count("Conv") == 3
    assert {"Sub", "Div"} <= {name.split()[0] for name in told.in_float}  # the input transform stays exact
    assert set(told.in_int8).isdisjoint(told.in_float)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["int8.onnx", "model.onnx"]


def test_the_facts_of_the_file_are_kept(model, quantised):
    path, _ = quantised
    facts = [{entry.key: entry.value for entry in onnx.load(file).metadata_props} for file in (model, path)]
    assert facts[0][KEY] == facts[1][KEY]


def test_integers_are_rows_too(model, tmp_path):
    as_integers = rows(40).astype(np.int64)
    one = quantize_onnx(model, tmp_path / "a.onnx", as_integers)
    other = quantize_onnx(model, tmp_path / "b.onnx", as_integers.astype(np.float64))
    assert one == other
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_it_is_quiet(model, tmp_path, capfd):
    quantize_onnx(model, tmp_path / "a.onnx", rows(3))
    assert capfd.readouterr() == ("", "")


def with_nan() -> np.ndarray:
    spoilt = rows(5)
    spoilt[2, 0, 3, 3], spoilt[4, 0, 0, 0] = np.nan, np.inf
    return spoilt


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (rows(0), r"got the shape \(0, 1, 8, 8\)"),
        (rows(5)[0], r"got the shape \(1, 8, 8\)"),
        (rows(5).reshape(5, 64), r"\(N, 1, 8, 8\), .* got the shape \(5, 64\)"),
        (np.float32(3), "got float32"),
        (with_nan(), "2.*5 rows hold NaN"),
        (rows(5).astype(np.complex64), "got complex64"),
        (rows(5).astype(str), "got <U"),
        (rows(5).astype(object), "got object"),
        (rows(5).tolist(), "got list. Pass"),
        (torch.zeros(5, *SHAPE), "got Tensor"),
    ],
    ids=["empty", "one", "flat", "number", "nan", "complex", "text", "object", "list", "tensor"],
)
def test_rows_that_do_not_fit(calibration, words, model, tmp_path):
    with pytest.raises(DataError, match=words):
        quantize_onnx(model, tmp_path / "a.onnx", calibration)
    assert list(tmp_path.iterdir()) == []


def write(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        list(initializers),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_a_model_without_a_layer_is_refused(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    source = write(tmp_path / "m.onnx", nodes, [("x", ["n", *SHAPE])], [("y", ["n", *SHAPE])])
    with pytest.raises(UsageError, match=r"no layer .*holds Relu"):
        quantize_onnx(source, tmp_path / "a.onnx", rows(5))
    assert not (tmp_path / "a.onnx").exists()


def test_two_inputs_are_refused_by_name(tmp_path):
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    shape = ["n", *SHAPE]
    source = write(tmp_path / "m.onnx", nodes, [("x", shape), ("z", shape)], [("y", shape)])
    with pytest.raises(UsageError, match="2: 'x', 'z'"):
        quantize_onnx(source, tmp_path / "a.onnx", rows(5))


def test_what_is_in_int8_is_refused(quantised, tmp_path):
    with pytest.raises(UsageError, match="quantised already"):
        quantize_onnx(quantised[0], tmp_path / "a.onnx", rows(5))


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a model"])
def test_what_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="no ONNX model"):
        quantize_onnx(tmp_path / "m.onnx", tmp_path / "a.onnx", rows(5))


def test_a_missing_file(tmp_path):
    with pytest.raises(ArtifactError, match="is no file"):
        quantize_onnx(tmp_path / "m.onnx", tmp_path / "a.onnx", rows(5))


def test_a_failure_on_the_way_leaves_the_old_file(model, tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"old")
    monkeypatch.setattr("onnxruntime.quantization.quantize_static", lambda *a, **k: 1 / 0)
    with pytest.raises(ArtifactError, match="division by zero"):
        quantize_onnx(model, tmp_path / "a.onnx", rows(5))
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("a.onnx", b"old")]


def test_a_folder_that_cannot_be(model, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        quantize_onnx(model, tmp_path / "file" / "a.onnx", rows(5))


def test_without_the_extra_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install torch-pruning onnx onnxscript onnxruntime"):
        quantize_onnx(model, tmp_path / "a.onnx", rows(5))
