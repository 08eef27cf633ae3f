"""From labelled pixels to a Dataset, whole or the first images of each class."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from safecompress.data.dataset import Dataset
from safecompress.data.images.decode import Images
from safecompress.data.memory import require_memory
from safecompress.errors import DataError

Rows = npt.NDArray[np.intp]


def from_pixels(
    images: Images, labels_N: npt.NDArray[Any], *, name: str, class_names: tuple[str, ...], per_class: int | None = None
) -> Dataset:
    """A dataset of ``images`` (N, C, H, W) uint8 as values 0 .. 1, or of the first ``per_class`` of each class.

    ``labels_N`` (N,) are places in ``class_names``. The dataset keeps the bytes. Raises DataError.
    """
    if per_class is not None:
        kept = first_of_each(labels_N, per_class, len(class_names))
        images, labels_N = images[kept], labels_N[kept]
    require_memory(images.shape, name)
    pixels, indices = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels_N.astype(np.int64))
    return Dataset(name=name, stored=pixels, labels=indices, class_names=class_names)


def first_of_each(labels_N: npt.NDArray[Any], count: int, num_classes: int) -> Rows:
    """The rows of the first ``count`` of each class, in the order given. Raises DataError when a class has fewer."""
    places = [np.flatnonzero(labels_N == label) for label in range(num_classes)]
    fewest = min(map(len, places))
    if not 1 <= count <= fewest:
        raise DataError(f"per_class = {count} is out of range: each class has at least {fewest} images here.")
    return cast("Rows", np.sort(np.concatenate([rows[:count] for rows in places])))
