"""What goes into a shipped classifier, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safecompress.errors import ArtifactError, DataError
from safecompress.tables import TableSchema

LARGEST_SAMPLE = 1 << 26
"""Values of one sample: a file may claim any size, and random samples are made of it."""


@dataclass(frozen=True, eq=False)
class TaskInfo:
    """What goes in and what comes out: raw samples of ``input_shape``; probabilities of ``num_classes`` classes.

    The network reads (x - shift) / scale; each is float32 and broadcasts to ``input_shape``, and None leaves it out.
    ``class_names`` has one name per class, or is empty. ``table`` makes a sample of the cells of a table's row; None
    where samples come otherwise. Raises ArtifactError for values that do not go together.
    """

    num_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    shift: Tensor | None = None
    scale: Tensor | None = None
    table: TableSchema | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 2 or not self.input_shape or min(self.input_shape) < 1:
            raise ArtifactError(
                "A task has at least 2 classes and samples of at least 1 feature; got "
                f"num_classes={self.num_classes} and input_shape={self.input_shape}."
            )
        if math.prod(self.input_shape) > LARGEST_SAMPLE:
            raise ArtifactError(f"Samples of {self.input_shape} have more than {LARGEST_SAMPLE} values each.")
        if len(self.class_names) not in (0, self.num_classes):
            raise ArtifactError(
                f"{self.num_classes} classes were given {len(self.class_names)} names: give all or none."
            )
        if self.table is not None and (self.table.num_features,) != tuple(self.input_shape):
            raise ArtifactError(
                f"The schema of a table makes {self.table.num_features} features of a row, and samples have the shape "
                f"{tuple(self.input_shape)}."
            )
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        for name in ("shift", "scale"):
            object.__setattr__(self, name, self._transform(name))

    def _transform(self, name: str) -> Tensor | None:
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            return None
        usable = tensor.dtype == torch.float32 and bool(tensor.isfinite().all())
        if not usable or (name == "scale" and bool((tensor == 0).any())):
            raise ArtifactError(f"{name} must hold finite float32 numbers, and a scale no zeros; got {tensor}.")
        if not _broadcasts(tuple(tensor.shape), self.input_shape):
            raise ArtifactError(
                f"{name} of shape {tuple(tensor.shape)} does not broadcast to samples of {self.input_shape}."
            )
        return copy_of(tensor)

    def prepare(self, samples: Tensor) -> Tensor:
        """What the network reads of raw ``samples`` (N, *input_shape), as float32.

        Raises DataError for samples of another shape.
        """
        if tuple(samples.shape[1:]) != self.input_shape:
            raise DataError(
                f"This model reads samples of shape {self.input_shape}, one per row; got an array of "
                f"{tuple(samples.shape)}."
            )
        inputs = samples.to("cpu", torch.float32)
        inputs = inputs if self.shift is None else inputs - self.shift
        return inputs if self.scale is None else inputs / self.scale

    def tensors(self) -> dict[str, Tensor]:
        """The input transform by name, without what is left out."""
        return {name: tensor for name in ("scale", "shift") if (tensor := getattr(self, name)) is not None}


def copy_of(tensor: Tensor) -> Tensor:
    """``tensor`` on the CPU, apart from what it came from."""
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _broadcasts(shape: tuple[int, ...], onto: tuple[int, ...]) -> bool:
    trailing = onto[len(onto) - len(shape) :]
    return len(shape) <= len(onto) and all(size in (1, whole) for size, whole in zip(shape, trailing, strict=True))
