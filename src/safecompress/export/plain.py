"""An artifact as other programs read it: a state dict with the network's own names and dense tensors, or an ONNX file.

What a state dict does not say (shape of a sample, names of classes, input transform) goes into a JSON file beside it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from safecompress.errors import UsageError, suggest
from safecompress.export.artifact import Artifact
from safecompress.export.onnx import to_onnx
from safecompress.storage import PUBLISHED, tensor_bytes, write_bytes, write_json

PlainFormat = Literal["torch", "onnx", "safetensors"]
ENDINGS: dict[str, str] = {"torch": ".pt", "onnx": ".onnx", "safetensors": ".plain.safetensors"}


def export_plain(artifact: Artifact, to: str, path: Path, model: nn.Module | None = None) -> list[Path]:
    """Write ``artifact`` to ``path`` in the format ``to``; the files that were written, the model's first.

    "torch" is a state dict by ``torch.save``, which ``torch.load(path, weights_only=True)`` reads: tensors alone, so
    that nobody has to run code of a file. "safetensors" holds the same tensors. Both are dense float32 (rounded where
    the artifact is) under the network's own names, with the facts in ``path`` with the ending .json. "onnx" is the
    network behind its input transform; it needs the extra ``deploy`` and, for a class of the user's own, ``model``, an
    instance of it, which is loaded in place.

    Raises UsageError for an unknown format and where a file stands already: nothing is written over.
    """
    if to not in get_args(PlainFormat):
        raise UsageError(f"Unknown format {to!r} to export to. {suggest(to, get_args(PlainFormat))}")
    files = [path] if to == "onnx" else [path, path.with_suffix(".json")]
    for file in files:
        if file.exists() or file.is_symlink():
            raise UsageError(
                f"{file} exists, and nothing is written over. Name another file (--out), or move that one."
            )
    if to == "onnx":
        write_bytes(path, to_onnx(artifact.build(model), artifact.task), mode=PUBLISHED)
        return files
    tensors = dict(artifact.state)
    content = tensor_bytes(tensors, {"format": "pt"}) if to == "safetensors" else _saved(tensors)
    write_bytes(path, content, mode=PUBLISHED)
    write_json(files[1], facts_beside(artifact), mode=PUBLISHED)
    return files


def facts_beside(artifact: Artifact) -> dict[str, Any]:
    """What a reader of the tensors has to know: the network reads (x - shift) / scale, and None leaves one out."""
    task = artifact.task
    return {
        "input_shape": list(task.input_shape),
        "num_classes": task.num_classes,
        "class_names": list(task.class_names),
        "shift": None if task.shift is None else task.shift.tolist(),
        "scale": None if task.scale is None else task.scale.tolist(),
        "network": None if artifact.model_spec is None else artifact.model_spec.to_json(),
        "density": artifact.density,
        "precision": artifact.precision,
        "has_fewer_units": artifact.is_resized,
    }


def _saved(tensors: dict[str, Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save(tensors, content)
    return content.getvalue()
