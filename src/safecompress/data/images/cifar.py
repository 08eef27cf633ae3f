"""CIFAR-10 and CIFAR-100 in the layouts that people have; nothing is downloaded, and no pickle is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from safecompress.data.dataset import Dataset
from safecompress.data.images.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES, COARSE_OF_FINE, SUPERCLASSES
from safecompress.data.images.cifar_files import CIFAR10, CIFAR100, Part, read_release
from safecompress.data.images.decode import Images
from safecompress.data.images.pixels import from_pixels
from safecompress.errors import UsageError, suggest

Level = Literal["fine", "coarse"]


def cifar10(root: str | Path, *, part: Part = "train", per_class: int | None = None) -> Dataset:
    """CIFAR-10: photographs (3, 32, 32) in 10 classes, values 0 .. 1.

    Files: data_batch_1.bin .. data_batch_5.bin and test_batch.bin (release "binary version"); or train_0.npz ..
    train_4.npz and test.npz (lossless sheets of 100 images); or train/<class>/*.png and test/<class>/*.png.

    Sheets and PNG need Pillow (extra ``vision``). The Python release is pickled, so it is not read. ``part`` is "train"
    (50,000), "test" (10,000) or "all"; ``per_class`` keeps the first so many images of each class. Raises DataError
    when no release is there, a file is missing or broken, or a class has too few images.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    _check_option("cifar10", "part", part, get_args(Part))
    images, labels, _ = read_release(Path(root), CIFAR10, part)
    return from_pixels(images, labels, name="cifar10", class_names=CIFAR10_CLASSES, per_class=per_class)


def cifar100(
    root: str | Path,
    *,
    part: Part = "train",
    per_class: int | None = None,
    labels: Level = "fine",
    duplicates: bool = False,
) -> Dataset:
    """CIFAR-100: photographs (3, 32, 32) in 100 fine or 20 coarse classes, values 0 .. 1.

    Files: train.bin and test.bin (release "binary version"); or train_0.npz, train_1.npz .. and test.npz (lossless
    sheets of 100 images); or train/<fine class>/*.png and test/<fine class>/*.png.

    Sheets and PNG need Pillow (extra ``vision``). The Python release is pickled, so it is not read. ``part`` is "train"
    (50,000), "test" (10,000) or "all"; ``per_class`` keeps the first so many images of each class. A few images occur
    twice, some of them in both parts and under two labels: one copy would tell whether the other was trained on, so
    without ``duplicates`` no copy is kept of images that occur twice among those read, nor of those that sheets mark.
    Raises DataError as ``cifar10`` does. Source: Krizhevsky 2009.
    """
    _check_option("cifar100", "part", part, get_args(Part))
    _check_option("cifar100", "labels", labels, get_args(Level))
    images, numbers, marked = read_release(Path(root), CIFAR100, part)
    if not duplicates:
        once = ~(marked | _repeated(images))
        images, numbers = images[once], numbers[once]
    class_names = CIFAR100_CLASSES
    if labels == "coarse":
        class_names, numbers = tuple(SUPERCLASSES), np.array(COARSE_OF_FINE)[numbers]
    return from_pixels(images, numbers, name="cifar100", class_names=class_names, per_class=per_class)


def _check_option(name: str, option: str, choice: str, allowed: tuple[str, ...]) -> None:
    if choice not in allowed:
        raise UsageError(f"{name}: {option} {choice!r} is unknown. {suggest(choice, allowed)}")


def _repeated(images: Images) -> npt.NDArray[np.bool_]:
    """(N,) whether an equal image is among ``images``."""
    flat = np.ascontiguousarray(images.reshape(len(images), -1))
    rows = flat.view(np.dtype((np.void, flat.shape[1]))).ravel()
    _, place, count = np.unique(rows, return_inverse=True, return_counts=True)
    return np.asarray(count[place] > 1)
