"""How a trained model becomes the file that ships: dead units removed, weights rounded."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from safecompress.errors import UsageError, suggest
from safecompress.export.artifact import Artifact
from safecompress.export.precision import Precision, require_precision
from safecompress.networks import copied

Format = Literal["safetensors", "onnx"]


@dataclass(frozen=True, slots=True)
class Packing:
    """What is done between training and shipping; by default nothing.

    ``shrink`` removes units whose inputs or outputs are all masked, which changes no answer (needs Torch-Pruning);
    ``precision`` is how the file keeps weights: float32, float16, or int8 with a scale for each channel. ``format`` is
    an artifact ("safetensors"), or an ONNX file beside it ("onnx"), whose int8 computes in int8, activations included.
    Raises UsageError for an unknown word, or float16 for ONNX.
    """

    shrink: bool = False
    precision: Precision = "float32"
    format: Format = "safetensors"

    def __post_init__(self) -> None:
        require_precision(self.precision)
        if self.format not in get_args(Format):
            raise UsageError(f"Unknown format {self.format!r} of what ships. {suggest(self.format, get_args(Format))}")
        if self.format == "onnx" and self.precision == "float16":
            raise UsageError(
                "An ONNX file keeps float32, or computes in int8; float16 is for artifacts. Set precision to one of "
                "these, or format to 'safetensors'."
            )

    def __call__(self, artifact: Artifact, model: nn.Module | None = None) -> Artifact:
        """The artifact that ships, of the one as trained. ``model`` is an instance of a network of the user's own.

        Raises UsageError without Torch-Pruning, ArtifactError for weights that the precision cannot keep, and
        ModelError for a network whose units cannot be traced.
        """
        whole = shrunk_artifact(artifact, model) if self.shrink else artifact
        return whole if self.format == "onnx" else whole.to_precision(self.precision)

    def export(
        self, artifact: Artifact, path: Path, calibration: NDArray[np.float32], model: nn.Module | None = None
    ) -> None:
        """Write the ONNX file of a packed ``artifact`` to ``path``, whole or not at all.

        ``calibration`` are raw train rows (N, *input_shape), which int8 takes its ranges from. Raises UsageError
        without ONNX Runtime, ArtifactError for a network that cannot be exported or quantised.
        """
        from safecompress.export.onnx import export_onnx
        from safecompress.export.quantize import quantize_onnx

        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "float.onnx" if self.precision == "int8" else path
            export_onnx(artifact.build(None if model is None else copied(model)), artifact.task, written)
            if self.precision == "int8":
                quantize_onnx(written, path, calibration)


def shrunk_artifact(artifact: Artifact, model: nn.Module | None = None) -> Artifact:
    """The artifact without its dead units, itself where none is dead. Raises as `Packing` does."""
    from safecompress.export.shrink import shrink

    shrunk = shrink(artifact.build(None if model is None else copied(model)), artifact.masks, artifact.task.input_shape)
    if not any(shrunk.removed.values()):
        return artifact
    return replace(artifact, state=shrunk.network.state_dict(), masks=shrunk.masks, resized_from=artifact.num_weights)
