"""From an artifact's file to files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from safecompress.errors import UsageError
from safecompress.export import Artifact
from safecompress.export.plain import ENDINGS, export_plain
from safecompress.workflows.user_model import call_factory


@dataclass(frozen=True)
class ExportedFiles:
    """The ``files`` that were written, the model's first, and sentences on how to read them."""

    files: tuple[Path, ...]
    words: tuple[str, ...]


def export_file(path: Path, to: str, *, out: Path | None = None, factory: str | None = None) -> ExportedFiles:
    """Write the artifact at ``path`` in the format ``to`` (see `export_plain`), beside it unless ``out`` is given."""
    if path.suffix == ".onnx":
        raise UsageError(f"{path} is an ONNX file already. Name the artifact that it was made from (.safetensors).")
    artifact = Artifact.load(path)
    if to == "onnx" and artifact.model_spec is None and factory is None:
        raise UsageError(f"{path} holds a network of its author's own class. Say what makes it: --model pkg.module:f.")
    model = network_of(artifact, factory) if to == "onnx" else None
    place = out if out is not None else path.with_name(path.name.removesuffix(".safetensors") + ENDINGS.get(to, ""))
    files = export_plain(artifact, to, place, model)
    words = {
        "torch": f"Read it with model.load_state_dict(torch.load({str(place)!r}, weights_only=True)).",
        "safetensors": f"Read it with safetensors.torch.load_file({str(place)!r}), or any reader of safetensors.",
    }
    resized = "Dead units were removed: build the network with the sizes that its tensors have."
    is_resized = artifact.is_resized and to != "onnx"
    return ExportedFiles(tuple(files), tuple([words[to]] if to in words else []) + ((resized,) if is_resized else ()))


def network_of(artifact: Artifact, factory: str | None) -> nn.Module | None:
    """An instance of the user's own class by ``factory``, or None where they name none."""
    if factory is None:
        return None
    shapes = {"input_shape": artifact.task.input_shape, "num_classes": artifact.task.num_classes}
    return call_factory(factory, shapes)
