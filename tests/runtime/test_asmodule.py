"""An ONNX file as a module: it answers as the runtime does, gives what the last layer reads, and knows its content."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks.lastlayer import predict_with_hidden
from safecompress.errors import ArtifactError
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow  # the first export of a process takes seconds

from safecompress.export.onnx import export_onnx  # noqa: E402
from safecompress.export.quantize import quantize_onnx  # noqa: E402
from safecompress.runtime.asmodule import OnnxNetwork, last_linear_input  # noqa: E402

SPEC = ModelSpec("cnn", {"channels": (4, 6)}, (1, 8, 8), 3)
TASK = TaskInfo(3, ("a", "b", "c"), (1, 8, 8), torch.tensor([0.5]), torch.tensor([0.25]))


@pytest.fixture(scope="module")
def network():
    with seeded(0, "net"):
        return SPEC.build().eval()


@pytest.fixture(scope="module")
def rows():
    with seeded(0, "rows"):
        return torch.rand(80, 1, 8, 8)


@pytest.fixture(scope="module")
def files(network, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(network, TASK, folder / "float.onnx")
    quantize_onnx(folder / "float.onnx", folder / "int8.onnx", rows.numpy())
    return folder


def test_it_answers_as_the_network_and_gives_what_its_head_reads(files, network, rows):
    asked = OnnxNetwork(files / "float.onnx")
    logits, hidden, _ = predict_with_hidden(asked, rows, batch_size=30)
    wanted, read, _ = predict_with_hidden(network, TASK.prepare(rows))
    assert torch.allclose(logits, wanted, atol=1e-5) and np.allclose(hidden, read, atol=1e-5)
    assert hidden.shape == (80, 6) and not asked.is_int8
    assert torch.equal(asked(rows), logits)


def test_int8_answers_in_int8_and_still_gives_it(files, network, rows):
    asked = OnnxNetwork(files / "int8.onnx")
    logits, hidden, _ = predict_with_hidden(asked, rows)
    wanted, read, _ = predict_with_hidden(network, TASK.prepare(rows))
    assert asked.is_int8 and hidden.shape == read.shape
    # how int8 products are added up depends on the processor: a tenth was seen, and 0.101 on another machine
    assert 0 < np.abs(hidden - read).max() < 0.15 * np.abs(read).max()
    assert 0 < (logits - wanted).abs().max() < 0.15 * wanted.abs().max()


def test_another_file_is_another_model(files):
    one, other = (OnnxNetwork(files / f"{name}.onnx") for name in ("float", "int8"))
    assert one.digest in repr(one) and one.digest != other.digest
    assert not list(one.state_dict()["where"]) and [name for name, _ in one.named_modules()] == [""]


def test_its_twin_can_be_trained(files):
    twin = OnnxNetwork(files / "float.onnx").twin
    assert twin(torch.rand(5, 1, 8, 8)).shape == (5, 3) and any(p.requires_grad for p in twin.parameters())
    own = nn.Flatten()
    assert OnnxNetwork(files / "float.onnx", own).twin is own


def graph_of(nodes, constants, output):
    value = onnx.helper.make_tensor_value_info
    held = [onnx.helper.make_tensor(name, 1, shape, np.zeros(shape).ravel()) for name, shape in constants.items()]
    return onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [value("x", 1, [None, 4])], [value(output, 1, [None, 3])], held)
    )


NODE = onnx.helper.make_node


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([NODE("Relu", ["x"], ["h"]), NODE("Gemm", ["h", "w", "b"], ["y"])], "h"),
        ([NODE("MatMul", ["x", "w"], ["s"]), NODE("Add", ["s", "b"], ["y"])], "x"),
        ([NODE("MatMul", ["x", "w"], ["s"]), NODE("Add", ["b", "s"], ["t"]), NODE("Identity", ["t"], ["y"])], "x"),
        ([NODE("Gemm", ["x", "w", "b"], ["s"]), NODE("Softmax", ["s"], ["y"])], "x"),
        ([NODE("Gemm", ["x", "w", "b"], ["s"]), NODE("Gemm", ["x", "w"], ["z"]), NODE("Softmax", ["s"], ["y"])], "x"),
        ([NODE("Relu", ["x"], ["h"]), NODE("MatMul", ["x", "h"], ["y"])], None),
        ([NODE("Gemm", ["x", "w"], ["y"], transA=1)], None),
        ([NODE("Identity", ["w"], ["v"]), NODE("Gemm", ["x", "v", "b"], ["y"])], "x"),
    ],
)
def test_the_last_linear_layer_by_hand(nodes, found):
    assert last_linear_input(graph_of(nodes, {"w": (4, 3), "b": (3,)}, "y")) == found


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x80\x04]q\x00.")
    with pytest.raises(ArtifactError, match="an ONNX model"):
        OnnxNetwork(tmp_path / "a.onnx")


def test_weights_in_a_file_beside_are_refused(files, tmp_path):
    """A verdict is bound to the file's content, and theirs could change under it."""
    proto = onnx.load(files / "float.onnx")
    onnx.save(proto, tmp_path / "a.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100)
    with pytest.raises(ArtifactError, match="keeps weights"):
        OnnxNetwork(tmp_path / "a.onnx")


@pytest.mark.parametrize("depth", [0, 1])
def test_weights_of_a_node_or_a_branch_in_another_file_are_refused(tmp_path, monkeypatch, depth):
    """Also when asked from that folder, where the runtime would find them."""
    monkeypatch.chdir(tmp_path)
    Path("w.bin").write_bytes(np.ones((4, 3), np.float32).tobytes())
    weight = onnx.TensorProto(name="w", data_type=1, dims=(4, 3), data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    nodes = [NODE("Constant", [], ["w"], value=weight)]
    if depth:
        branch = onnx.helper.make_graph(nodes, "b", [], [onnx.helper.make_tensor_value_info("w", 1, [4, 3])])
        nodes = [NODE("If", ["c"], ["w2"], then_branch=branch, else_branch=branch)]
    nodes.append(NODE("MatMul", ["x", "w2" if depth else "w"], ["y"]))
    onnx.save(graph_of(nodes, {"c": ()} if depth else {}, "y"), "a.onnx")
    with pytest.raises(ArtifactError, match="keeps weights"):
        OnnxNetwork("a.onnx")


def test_a_file_that_reads_doubles_is_looked_into(tmp_path):
    """Every figure of an audit needs what its last layer reads."""
    value, weight = onnx.helper.make_tensor_value_info, np.arange(12.0).reshape(4, 3)
    held = [onnx.numpy_helper.from_array(weight, "w")]
    graph = onnx.helper.make_graph(
        [NODE("MatMul", ["x", "w"], ["y"])], "g", [value("x", 11, [None, 4])], [value("y", 11, [None, 3])], held
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=opset), tmp_path / "a.onnx")
    samples = torch.rand(5, 4)
    logits, hidden = OnnxNetwork(tmp_path / "a.onnx").with_hidden(samples)
    assert torch.equal(hidden, samples) and torch.allclose(logits, samples @ torch.from_numpy(weight).float())


def test_what_is_read_must_be_a_row_for_each_sample(tmp_path):
    """Not one for each half of it."""
    held = [onnx.numpy_helper.from_array(np.array(shape), name) for name, shape in (("s", [-1, 2]), ("t", [-1, 2]))]
    held.append(onnx.numpy_helper.from_array(np.ones((2, 1), np.float32), "w"))
    nodes = [NODE("Reshape", ["x", "s"], ["h"]), NODE("MatMul", ["h", "w"], ["m"]), NODE("Reshape", ["m", "t"], ["y"])]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [None, 4])], [value("y", 1, [None, 2])], held)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=opset), tmp_path / "a.onnx")
    logits, hidden = OnnxNetwork(tmp_path / "a.onnx").with_hidden(torch.rand(5, 4))
    assert logits.shape == (5, 2) and hidden is None
