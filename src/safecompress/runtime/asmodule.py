"""An ONNX file as a PyTorch module that answers from ONNX Runtime, so that attacks query the file that ships."""

# N samples, C classes, H inputs of the last linear layer

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import ArtifactError, UsageError
from safecompress.runtime.onnxfile import OnnxEngine
from safecompress.runtime.predictor import InputOutputSpec

_PASSED = ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Reshape", "Flatten")
"""Operators between the last linear layer and the output, or its weights, that change no more than how numbers lie."""

_LAYERS = ("Gemm", "MatMul", "Conv", "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm")
"""Operators with weights."""

_HIDING = {
    "ArgMax",
    "Round",
    "Floor",
    "Ceil",
    "TopK",
    "OneHot",
    "Mod",
    "Sin",
    "Cos",
    "Sign",
    "Greater",
    "Less",
    "Equal",
}
"""Operators that keep less of what they read than whoever has the weights can read before them, or scramble it."""


class OnnxNetwork(nn.Module):
    """The classifier in the ONNX file at ``path``: raw samples (N, *input_shape) to logits (N, C), on one thread.

    ``twin`` is the network that the file was exported from: its gradients are this one's. One like it can be trained
    where that is asked for (attacks are tried on a model that must be caught); by default a perceptron of two layers.
    Raises UsageError without onnxruntime, ArtifactError for a file that is no classifier.
    """

    def __init__(self, path: str | Path, twin: nn.Module | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        proto = _read(self.path)
        self._engine = OnnxEngine(self.path, threads=1)
        self.digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        # beside the modules: its weights are none of this one's
        self.__dict__["twin"] = twin if twin is not None else _perceptron(self.facts)
        self.__dict__["differentiable"] = twin
        self.register_parameter("where", nn.Parameter(torch.zeros(0), requires_grad=False))  # callers ask for a device
        self._is_int8 = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in proto.graph.node)
        self._inner = _with_inner_output(proto, self.path)

    @property
    def facts(self) -> InputOutputSpec:
        """What goes in and what comes out."""
        return self._engine.facts

    @property
    def is_int8(self) -> bool:
        """Whether weights or activations are quantised."""
        return self._is_int8

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (N, C), float32; those of an output that sums to 1 are its logarithms."""
        return torch.from_numpy(self._engine.logits(samples.detach().cpu().float().numpy()))

    def with_hidden(self, samples: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and what the last linear layer reads (N, H); None where the output is not that of such a layer."""
        logits = self(samples)
        if self._inner is None:
            return logits, None
        session, name, hidden = self._inner
        (read,) = session.run([hidden], {name: self._engine.as_read(samples.detach().cpu().float().numpy())})
        is_by_row = read.ndim == 2 and len(read) == len(samples)
        return logits, torch.from_numpy(read.astype(np.float32)) if is_by_row else None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All numbers that the file holds, by name: of the graph, its branches and its functions."""
        helper, proto = importlib.import_module("onnx.numpy_helper"), _read(self.path)
        held = [(tensor.name or f"constant {number}", tensor) for number, tensor in enumerate(_tensors_in(proto))]
        arrays = {name: helper.to_array(tensor) for name, tensor in held}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if array.dtype.kind in "fiub"}

    @property
    def unread(self) -> tuple[str, ...]:
        """Tensors of more than one number that the output does not depend on."""
        graph = _read(self.path).graph
        makers = {output: node for node in graph.node for output in node.output}
        needed = _ancestors(makers, graph.output[0].name)
        return tuple(t.name for t in graph.initializer if t.name not in needed and np.prod(t.dims) > 1)

    @property
    def fault_behind_head(self) -> str | None:
        """Why the output is no function of what the last layer gives; None where it is.

        It is not where the output depends on the graph's input by another way than through that layer, or is rounded
        behind it.
        """
        graph = _read(self.path).graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = {value.name for value in graph.input} - constants
        makers = {output: node for node in graph.node for output in node.output}
        needed = _ancestors(makers, graph.output[0].name)
        layers = [node for node in graph.node if node.op_type in _LAYERS and needed & set(node.output)]
        if not layers:
            return (
                "Its graph has no linear or convolutional layer, so that nobody can tell what its outputs are made of."
            )
        head = layers[-1].output[0]
        beside = _ancestors({name: node for name, node in makers.items() if name != head}, graph.output[0].name)
        if inputs & beside:
            return (
                f"Its output depends on the row beside the layer that gives {head!r}: something else reads the row. "
                "Export the network without what stands behind that layer."
            )
        behind = {makers[name].op_type for name in beside if name in makers and head in _ancestors(makers, name)}
        if odd := sorted(behind & _HIDING):
            return (
                f"Its output goes through {', '.join(odd)} behind the layer that gives {head!r}, which hides what the "
                "layer gives. Export the network without it."
            )
        return None

    def extra_repr(self) -> str:
        """Which file, by its content."""
        return self.digest


def _perceptron(facts: InputOutputSpec) -> nn.Module:
    size = int(np.prod(facts.input_shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, facts.num_classes))


def _read(path: Path) -> Any:
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise UsageError(
            "Auditing an ONNX file needs onnx: pip install torch-pruning onnx onnxscript onnxruntime"
        ) from error
    try:
        proto = onnx.load(path, load_external_data=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"There is no file {path}. Check the path.") from error
    except Exception as error:  # protobuf's own kinds
        raise ArtifactError(f"{path} cannot be opened as an ONNX model ({error}). Export it anew.") from error
    if _lies_elsewhere(proto, onnx):
        raise ArtifactError(  # a verdict is on a file by its content, and that content lies elsewhere
            f"{path} keeps weights in files beside it, which a verdict on this file would not be bound to. Save it as "
            "one: onnx.save(onnx.load(path), new_path)."
        )
    return proto


def _lies_elsewhere(message: Any, onnx: Any) -> bool:
    """Whether any tensor in ``message``, of a graph, a node, a branch or a function, is kept in another file."""
    if isinstance(message, onnx.TensorProto):
        return bool(message.data_location == onnx.TensorProto.EXTERNAL or message.external_data)
    fields = [value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE]
    parts = [part for value in fields for part in ([value] if hasattr(value, "ListFields") else value)]
    return any(_lies_elsewhere(part, onnx) for part in parts)


def _tensors_in(message: Any) -> list[Any]:
    """All tensors in ``message``, whatever they lie in."""
    if type(message).__name__ == "TensorProto":
        return [message]
    fields = [value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE]
    parts = [part for value in fields for part in ([value] if hasattr(value, "ListFields") else value)]
    return [tensor for part in parts for tensor in _tensors_in(part)]


def _with_inner_output(proto: Any, path: Path) -> tuple[Any, str, str] | None:
    """A session that gives what the last linear layer reads, its input's name and that value's; None without one."""
    onnx, runtime = (importlib.import_module(name) for name in ("onnx", "onnxruntime"))
    hidden = last_linear_input(proto)
    if hidden is None:
        return None
    try:
        proto.graph.output.append(onnx.ValueInfoProto(name=hidden))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        session = runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf's and the runtime's own kinds
        raise ArtifactError(f"{path} cannot be looked into ({error}). Export it anew.") from error
    constants = {tensor.name for tensor in proto.graph.initializer}
    return session, next(value.name for value in proto.graph.input if value.name not in constants), hidden


def last_linear_input(proto: Any) -> str | None:
    """The value that the last linear layer reads whose weights are constants; None where there is none.

    That is the layer whose result is the graph's output, as it is, or else the last one that the output depends on.
    """
    makers = {output: node for node in proto.graph.node for output in node.output}
    constants = {tensor.name for tensor in proto.graph.initializer}

    def behind(name: str) -> Any:
        """What made ``name``, operators that change nothing set aside."""
        node = makers.get(name)
        while node is not None and node.op_type in _PASSED:
            name = node.input[0]
            node = makers.get(name)
        return node

    def is_constant(name: str) -> bool:
        while name not in constants and (node := makers.get(name)) is not None and node.op_type in _PASSED:
            name = node.input[0]
        return name in constants or (name in makers and makers[name].op_type == "Constant")

    def is_linear(node: Any) -> bool:
        if node is None or node.op_type not in ("Gemm", "MatMul") or not is_constant(node.input[1]):
            return False
        return not any(attribute.name == "transA" and attribute.i for attribute in node.attribute)  # rows, columns

    node = behind(proto.graph.output[0].name)
    if node is not None and node.op_type == "Add":  # a bias
        sums = [name for name in node.input if not is_constant(name)]
        node = behind(sums[0]) if len(sums) == 1 else None
    if not is_linear(node):
        needed = _ancestors(makers, proto.graph.output[0].name)
        node = next((one for one in reversed(proto.graph.node) if is_linear(one) and needed & set(one.output)), None)
    return None if node is None else str(node.input[0])


def _ancestors(makers: dict[str, Any], name: str) -> set[str]:
    """All values that ``name`` depends on, itself included."""
    needed: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in needed:
            needed.add(one)
            waiting += _read_by(makers[one]) if one in makers else []
    return needed


def _read_by(node: Any) -> list[str]:
    """Names of the values that a node reads, those that its branches read included."""
    inside = [part for attribute in node.attribute for part in (*attribute.graphs, attribute.g)]
    return [*node.input, *(name for graph in inside for one in graph.node for name in _read_by(one))]
