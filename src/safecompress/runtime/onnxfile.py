"""An ONNX file, or its bytes, in ONNX Runtime. PyTorch is not loaded."""

# N samples, C classes

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import ArtifactError, DataError, UsageError
from safecompress.runtime.predictor import Floats, InputOutputSpec
from safecompress.runtime.trial import try_out
from safecompress.storage import parse_json
from safecompress.tables import TableSchema

KEY, VERSION = "safecompress", 1  # as export.onnx writes them: it may not be imported without PyTorch
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
LARGEST_SAMPLE = 1 << 26  # values: a file may claim any size
EXTRA = "pip install torch-pruning onnx onnxscript onnxruntime"


class OnnxEngine:
    """A session of ONNX Runtime, checked to map (N, *input_shape) to (N, C) for any N."""

    name = "onnxruntime"

    def __init__(self, path_or_bytes: Path | bytes, *, threads: int | None = None) -> None:
        """Open a file or its bytes; ``threads`` of None leaves their number to ONNX Runtime.

        A file without the metadata of ``export_onnx`` is taken as it is: its output are logits, or probabilities if
        they sum to 1. Raises UsageError without onnxruntime, ArtifactError for what is no such model.
        """
        self._where = "The model" if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
        self._session = _open(path_or_bytes, self._where, threads)
        self._input, self._type, shape = self._read_input()
        self._output = self._read_output()
        self._gives_probabilities = False
        raw_NC = self._probe(shape)
        facts = self._read_facts()
        self.facts = facts if facts is not None else InputOutputSpec(shape, raw_NC.shape[1])
        if (self.facts.input_shape, self.facts.num_classes) != (shape, raw_NC.shape[1]):
            raise ArtifactError(
                f"{self._where} says that it maps samples of {self.facts.input_shape} to {self.facts.num_classes} "
                f"classes, and maps {shape} to {raw_NC.shape[1]}. It is altered: export it anew."
            )
        is_distribution = (raw_NC >= 0).all() and np.allclose(raw_NC.sum(axis=1), 1, atol=1e-3)
        self._gives_probabilities = facts is None and bool(is_distribution)

    @property
    def note(self) -> str:
        """What a reader of the answers should know of the file; empty for one of ``export_onnx``."""
        return "its output sums to 1 and is read as probabilities" if self._gives_probabilities else ""

    def logits(self, samples_N: Floats) -> Floats:
        """Logits (N, C) of raw samples (N, *input_shape). Raises ArtifactError when the graph fails on them."""
        raw_NC = self._run(samples_N)
        if not self._gives_probabilities:
            return raw_NC
        logits_NC: Floats = np.log(np.maximum(raw_NC, np.finfo(np.float32).tiny))
        return logits_NC

    def as_read(self, samples_N: Floats) -> NDArray[Any]:
        """Samples in the type that the graph reads."""
        return samples_N.astype(self._type, copy=False)

    def _run(self, samples_N: Floats) -> Floats:
        try:
            raw: Floats = self._session.run([self._output], {self._input: self.as_read(samples_N)})[0]
        except Exception as error:  # onnxruntime's own kinds, one per fault
            raise ArtifactError(f"{self._where} cannot be run ({_first_line(error)}). Export it anew.") from error
        return raw.astype(np.float32, copy=False)

    def _read_input(self) -> tuple[str, type, tuple[int, ...]]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(repr(value.name) for value in inputs) or "none"
            raise ArtifactError(
                f"{self._where} must have one input, the samples; it has {len(inputs)}: {names}. Export the classifier "
                "alone."
            )
        (value,) = inputs
        if value.type not in TYPES:
            raise ArtifactError(
                f"The input {value.name!r} of {self._where} is a {value.type}; {', '.join(TYPES)} can be asked."
            )
        rows, *shape = value.shape or [None]
        if isinstance(rows, int):
            raise ArtifactError(
                f"The first dimension of the input {value.name!r} of {self._where}, the number of rows, is fixed at "
                f"{rows}. Export it with a dynamic one: safecompress.export.onnx.export_onnx does, and so does "
                "torch.onnx.export(..., dynamo=True, dynamic_shapes=({0: torch.export.Dim('batch')},))."
            )
        if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
            raise ArtifactError(
                f"The input {value.name!r} of {self._where} has the shape {value.shape}: all sizes but the number of "
                "rows must be known. Export it with fixed sizes."
            )
        if math.prod(shape) > LARGEST_SAMPLE:
            raise ArtifactError(
                f"The input {value.name!r} of {self._where} takes samples of {tuple(shape)}, more than "
                f"{LARGEST_SAMPLE} values each. It is altered: export it anew."
            )
        return value.name, TYPES[value.type], tuple(shape)

    def _read_output(self) -> str:
        outputs = self._session.get_outputs()
        if len(outputs) != 1:
            names = ", ".join(repr(value.name) for value in outputs)
            raise ArtifactError(
                f"{self._where} has {len(outputs)} outputs, {names}; a classifier has one, of shape (N, C). Export the "
                "logits alone."
            )
        return str(outputs[0].name)

    def _probe(self, shape: tuple[int, ...]) -> Floats:
        """What it gives for two rows: the only proof that it runs and of what shape its output is."""
        rows = np.stack([np.zeros(shape), np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)])
        raw_NC = self._run(rows.astype(np.float32))
        if raw_NC.ndim != 2 or len(raw_NC) != 2 or raw_NC.shape[1] < 2:
            raise ArtifactError(
                f"The output {self._output!r} of {self._where} must be of shape (N, C) with at least 2 classes; for 2 "
                f"rows it has {raw_NC.shape}. Export a classifier's logits."
            )
        return raw_NC

    def _read_facts(self) -> InputOutputSpec | None:
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            return None
        try:
            return _facts_from(parse_json(text))
        except (ValueError, TypeError, KeyError, DataError) as error:
            raise ArtifactError(
                f"{self._where} describes itself wrongly under {KEY!r} ({error}). It is altered, or of a newer "
                "SafeCompress: export it anew."
            ) from error


def _facts_from(stored: Any) -> InputOutputSpec:
    if stored["version"] != VERSION:
        raise ValueError(f"version {stored['version']!r}, where {VERSION} can be read")
    names, shape, num = stored["class_names"], stored["input_shape"], stored["num_classes"]
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    are_sizes = isinstance(shape, list) and all(isinstance(size, int) for size in [num, *shape])
    if not are_names or not are_sizes or len(names) not in (0, num):
        raise ValueError(f"{num!r} classes, the names {names!r} and samples of {shape!r} do not go together")
    table = TableSchema.from_json(stored["table"]) if "table" in stored else None
    if table is not None and [table.num_features] != shape:
        raise ValueError(f"a table of {table.num_features} features and samples of {shape!r} do not go together")
    return InputOutputSpec(tuple(shape), num, tuple(names), table=table)


def _open(path_or_bytes: Path | bytes, where: str, threads: int | None) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UsageError(f"Asking an ONNX file needs onnxruntime, which this installation lacks: {EXTRA}") from error
    if isinstance(path_or_bytes, Path) and not path_or_bytes.is_file():
        raise ArtifactError(f"There is no file {path_or_bytes}. Check the path.")
    if isinstance(path_or_bytes, Path):
        try_out(path_or_bytes)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    model = path_or_bytes if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, one per fault
        raise ArtifactError(
            f"{where} cannot be opened as an ONNX model ({_first_line(error)}). It is truncated, altered or of another "
            "kind: export it anew."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
