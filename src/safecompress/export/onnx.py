"""A network as an ONNX file: raw samples in, logits out, for devices that have no PyTorch."""

# N samples, C classes

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import ArtifactError, UsageError
from safecompress.export.task import TaskInfo
from safecompress.networks import copied
from safecompress.seeding import derive
from safecompress.storage import PUBLISHED, write_bytes

KEY, VERSION = "safecompress", 1
"""The entry of an ONNX file's metadata that holds the facts of `facts_of` as JSON, and their format's version."""

INPUT, OUTPUT = "samples", "logits"
TOLERANCE = 1e-4  # largest difference from PyTorch's logits, as a share of the largest logit
BATCHES = (1, 5)  # at which the two are compared
EXTRA = "pip install torch-pruning onnx onnxscript onnxruntime"


def export_onnx(network: nn.Module, task: TaskInfo, path: str | Path) -> int:
    """Write ``network`` behind the input transform of ``task`` to ``path``, whole or not at all; return its bytes.

    The file maps ``samples`` (N, *input_shape), float32 and raw, to ``logits`` (N, C), for any N. It is checked by
    onnx.checker and against PyTorch before it is written. Raises UsageError without the extra ``deploy``, ArtifactError
    when the network cannot be exported or the file would answer otherwise, StorageError when the disk refuses.
    """
    content = to_onnx(network, task)
    write_bytes(Path(path), content, mode=PUBLISHED)
    return len(content)


def to_onnx(network: nn.Module, task: TaskInfo) -> bytes:
    """What ``export_onnx`` writes."""
    onnx, runtime = require("onnx", "onnxscript", "onnxruntime")[::2]
    raw = _Raw(copied(network).to("cpu"), task).eval()
    batches = {num: _samples(task, num) for num in (2, *BATCHES)}
    wanted = {num: _ask(raw, samples, task) for num, samples in batches.items()}
    with quiet():
        proto = _translate(raw, batches[2])
        _strip(proto)
        proto.metadata_props.add(key=KEY, value=json.dumps(facts_of(task), sort_keys=True))
        try:
            onnx.checker.check_model(proto, full_check=True)
            content: bytes = proto.SerializeToString()
            session = runtime.InferenceSession(content, options_of(runtime), providers=["CPUExecutionProvider"])
        except Exception as error:  # a checker, protobuf (2 GB) and a runtime, each with errors of its own
            raise ArtifactError(f"The network gave no valid ONNX model ({first_line(error)}). {_OTHERWISE}") from error
    for num in BATCHES:
        _require_equal(session.run([OUTPUT], {INPUT: batches[num].numpy()})[0], wanted[num])
    return content


def facts_of(task: TaskInfo) -> dict[str, Any]:
    """What a reader needs to know of a file: version, names of the classes, shape of a sample, schema of a table."""
    return {
        "version": VERSION,
        "num_classes": task.num_classes,
        "class_names": list(task.class_names),
        "input_shape": list(task.input_shape),
        **({} if task.table is None else {"table": task.table.to_json()}),
    }


def require(*names: str) -> list[Any]:
    """The modules called ``names``. Raises UsageError that says how to install what is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UsageError(f"ONNX needs {', '.join(names)}, which this installation lacks: {EXTRA}") from error


_OTHERWISE = "Nothing was written. Save it as an artifact instead, or export it with torch.onnx.export yourself."


class _Raw(nn.Module):
    """Raw samples to logits without a test of shapes, which would become part of the graph."""

    shift: Tensor | None
    scale: Tensor | None

    def __init__(self, network: nn.Module, task: TaskInfo) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", task.shift)
        self.register_buffer("scale", task.scale)

    def forward(self, samples: Tensor) -> Tensor:
        inputs = samples if self.shift is None else samples - self.shift
        logits: Tensor = self.network(inputs if self.scale is None else inputs / self.scale)
        return logits


def _samples(task: TaskInfo, num: int) -> Tensor:
    """Rows (N, *input_shape) of the size that the transform expects, so that its rounding shows."""
    noise = derive(0, "onnx.samples", num).standard_normal((num, *task.input_shape))
    samples = torch.from_numpy(noise.astype(np.float32))
    samples = samples if task.scale is None else samples * task.scale
    return samples if task.shift is None else samples + task.shift


def _ask(raw: nn.Module, samples: Tensor, task: TaskInfo) -> Tensor:
    with torch.no_grad():
        logits_NC: Tensor = raw(samples)
    shape = tuple(logits_NC.shape) if isinstance(logits_NC, Tensor) else type(logits_NC).__name__
    if shape != (len(samples), task.num_classes):
        raise ArtifactError(
            f"The network must give logits of shape (N, {task.num_classes}); for {len(samples)} samples it gave "
            f"{shape}. Wrap it so that it does."
        )
    return logits_NC


def _translate(raw: nn.Module, samples: Tensor) -> Any:
    try:
        program = torch.onnx.export(
            raw,
            (samples,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        assert program is not None
        return program.model_proto
    except Exception as error:  # dozens of kinds, few of them public
        raise ArtifactError(
            f"PyTorch could not translate the network to ONNX for any number of rows ({first_line(error)}). Its "
            f"forward may branch on values, or on the number of rows. {_OTHERWISE}"
        ) from error


def _strip(proto: Any) -> None:
    """Remove what the exporter notes about its source: paths on this machine, and most bytes of a small file."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, proto):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def _require_equal(got: np.ndarray[Any, Any], reference: Tensor) -> None:
    expected = reference.numpy()
    limit = TOLERANCE * float(np.abs(expected).max())
    furthest = float(np.abs(got - expected).max()) if got.shape == expected.shape else math.inf
    if not furthest <= limit:  # a NaN is refused as well
        raise ArtifactError(
            f"In ONNX Runtime the network answers {len(expected)} samples otherwise than in PyTorch: logits differ by "
            f"up to {furthest:.3g} where {limit:.3g} is allowed. {_OTHERWISE}"
        )


def options_of(runtime: Any) -> Any:
    """Options of an ONNX Runtime session with one thread that logs nothing."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    return options


def first_line(error: BaseException) -> str:
    """The reason under the advice, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what libraries print, log and warn of."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
