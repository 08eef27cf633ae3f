"""Small files that claim much: refused before they take memory or time."""

import json
import resource
import time

import numpy as np
import pytest

from patience import patience
from safecompress.data import memory
from safecompress.data.tabular.files import read_npz
from safecompress.errors import ArtifactError, DataError
from safecompress.runtime import trial


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def graph(*nodes, initializers=()):
    onnx = pytest.importorskip("onnx")
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["N", 4])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", "C"])
    made = onnx.helper.make_graph(list(nodes), "g", [rows], [logits], list(initializers))
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def greedy():
    """Ones of 2^31 elements, added to the rows' sum: 8 GiB for 200 bytes."""
    onnx = pytest.importorskip("onnx")
    shape = onnx.numpy_helper.from_array(np.array([2**16, 2**15], dtype=np.int64), "shape")
    one = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [1.0])
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["many"], value=one),
        onnx.helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["rows", "sum"], ["logits"]),
    ]
    return graph(*nodes, initializers=[shape])


def endless():
    """A loop that goes on while true is true."""
    onnx = pytest.importorskip("onnx")
    kind, helper = onnx.TensorProto, onnx.helper
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["going"]),
            helper.make_node("Mul", ["x", "x"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", kind.INT64, []),
            helper.make_tensor_value_info("go", kind.BOOL, []),
            helper.make_tensor_value_info("x", kind.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going", kind.BOOL, []),
            helper.make_tensor_value_info("next", kind.FLOAT, None),
        ],
    )
    true = onnx.numpy_helper.from_array(np.array(True), "true")
    return graph(helper.make_node("Loop", ["", "true", "rows"], ["logits"], body=body), initializers=[true])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said", "seconds"), [(greedy, "GiB of memory", 60), (endless, "took over|did not answer", 4)]
)
def test_graphs_that_take_all_memory_or_time_are_refused(tmp_path, monkeypatch, make, said, seconds):
    """A busy machine may take seconds to begin, so only the graph that never ends has few of them."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(trial, "MAX_SECONDS", seconds)
    path = tmp_path / "bomb.onnx"
    path.write_bytes(make())
    assert path.stat().st_size < 1000
    from safecompress.runtime import load

    began = time.monotonic()
    with pytest.raises(ArtifactError, match=said):
        load(path)
    assert time.monotonic() - began < patience(40)
    assert peak_bytes() < trial.FREE_BYTES + (1 << 30)


@pytest.mark.slow
def test_an_honest_graph_passes_and_is_tried_once(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.ones((4, 3), dtype=np.float32), "w")
    path = tmp_path / "honest.onnx"
    path.write_bytes(graph(onnx.helper.make_node("MatMul", ["rows", "w"], ["logits"]), initializers=[weights]))
    trial.try_out(path)
    monkeypatch.setattr(trial.subprocess, "run", lambda *args, **options: pytest.fail("tried again"))
    trial.try_out(path)
    path.write_bytes(path.read_bytes() + b"")
    trial.try_out(path)


def test_arrays_that_memory_does_not_hold_five_times_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000), dtype=np.float32), y=np.zeros(1000, dtype=np.int64))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(memory, "physical_memory", lambda: 4 * 4_008_000)
    with pytest.raises(DataError, match="claims to unpack to"):
        read_npz(path)
    monkeypatch.setattr(memory, "physical_memory", lambda: 6 * 4_100_000)
    with pytest.raises(DataError, match="class"):  # it is read, and has one class
        read_npz(path)


TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "good": 1, "film": 2}, "unk_token": "[UNK]"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"String": "o"}, "content": "o" * 10**6}}, "1,000,000 letters"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x" * 1000}]}},
            "1,000 letters",
        ),
        ({"model": {**TOKENIZER["model"], "vocab": {"[UNK]": 0, "far": 2**30}}}, "beyond 16,777,216"),
    ],
)
def test_tokenizers_that_blow_texts_up_are_refused(tmp_path, changes, said):
    pytest.importorskip("tokenizers")
    from safecompress.data.text.tokenizers import read_tokenizer

    (tmp_path / "tokenizer.json").write_text(json.dumps({**TOKENIZER, **changes}))
    with pytest.raises(DataError) as caught:
        read_tokenizer(tmp_path)
    assert said in str(caught.value)


def test_padding_of_a_tokenizer_is_left_out(tmp_path):
    """Padded to 10^8 tokens, the empty text alone takes gigabytes."""
    pytest.importorskip("tokenizers")
    from safecompress.data.text.tokenizers import read_tokenizer

    padding = {
        "strategy": {"Fixed": 10**8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[UNK]",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "padding": padding}))
    began = time.monotonic()
    read_tokenizer(tmp_path)
    assert time.monotonic() - began < patience(5)
