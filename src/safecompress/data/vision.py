"""Image datasets from the files people have; nothing is downloaded, and no pickle is read."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from safecompress.data.dataset import Dataset
from safecompress.data.files import read_arrays
from safecompress.errors import DataError, UsageError, suggest

Part = Literal["train", "test", "all"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_SIDE, _CHANNELS = 32, 3
_RECORD = 1 + _CHANNELS * _SIDE * _SIDE  # a label, then the red, green and blue planes

Images = npt.NDArray[np.uint8]


def cifar10(root: str | Path, *, part: Part = "train", per_class: int | None = None) -> Dataset:
    """CIFAR-10: photographs (3, 32, 32) in 10 classes, values 0 .. 1, from the files in the folder ``root``.

    Either the release "CIFAR-10 binary version" (``data_batch_1.bin`` .. ``data_batch_5.bin``, ``test_batch.bin``), or
    ``train_0.npz`` .. ``train_4.npz`` and ``test.npz`` with lossless sheets of 100 images (needs Pillow:
    ``pip install 'safecompress[vision]'``). The Python release is pickled, so it is not read. ``part`` is "train"
    (50,000), "test" (10,000) or "all"; ``per_class`` keeps the first so many images of each class. Raises DataError
    when no release is there, a file is missing or broken, or a class has too few images.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    if part not in get_args(Part):
        raise UsageError(f"cifar10: part {part!r} is unknown. {suggest(part, get_args(Part))}")
    folder = Path(root)
    binary = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
    sheets = {"train": [f"train_{n}.npz" for n in range(5)], "test": ["test.npz"]}
    for names, read in ((binary, _read_binary), (sheets, _read_sheets)):
        wanted = [name for which in ("train", "test") if part in (which, "all") for name in names[which]]
        found = [name for name in wanted if (folder / name).is_file()]
        if found and found != wanted:
            raise DataError(f"{folder} lacks {', '.join(sorted({*wanted} - {*found}))}: copy the whole release there.")
        if found:
            parts = [read(folder / name) for name in wanted]
            images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            kept = np.arange(len(labels)) if per_class is None else _first_of_each(labels, per_class)
            features = images[kept].astype(np.float32) / 255
            return Dataset.from_arrays(features, labels[kept].astype(np.int64), name="cifar10", class_names=CLASSES)
    pickled = any((folder / name).exists() for name in ("data_batch_1", "cifar-10-batches-py"))
    raise DataError(
        f"CIFAR-10 is expected in {folder} as {binary['train'][0]} .. {binary['test'][0]} (the release 'binary "
        f"version'), or as {sheets['train'][0]} .. {sheets['test'][0]}; neither is there. Nothing is downloaded"
        + (", and the Python release that is there is pickled: take the binary one." if pickled else ".")
    )


def _read_binary(path: Path) -> tuple[Images, Images]:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    if content.size == 0 or content.size % _RECORD:
        raise DataError(
            f"{path} has {content.size} bytes, which are no whole number of images ({_RECORD} bytes each): it is cut "
            "short, or no CIFAR-10 batch. Copy it again."
        )
    records = content.reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE), records[:, 0]


def _read_sheets(path: Path) -> tuple[Images, Images]:
    """The images of sheets of 10 x 10 tiles, one after another in ``blob``, which ``off`` cuts."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UsageError(
            f"{path} holds image sheets, and reading them needs Pillow, which is not installed. Install it: "
            "pip install 'safecompress[vision]'"
        ) from error
    arrays = read_arrays(path, ("blob", "off", "y"))
    wrong = [name for name, array in arrays.items() if array.ndim != 1 or array.dtype.kind not in "iu"]
    if wrong or ((arrays["y"] < 0) | (arrays["y"] >= len(CLASSES))).any():
        raise DataError(
            f"{path} must hold rows of whole numbers, labels y from 0 to {len(CLASSES) - 1} among them; "
            f"{wrong[0] if wrong else 'y'} is otherwise. Copy the file again."
        )
    content, ends, labels = arrays["blob"].tobytes(), arrays["off"].tolist(), arrays["y"]
    sheets: list[Images] = []
    for start, end in itertools.pairwise(ends):
        try:
            opened = Image.open(io.BytesIO(content[start:end]))
            is_sheet = opened.size == (10 * _SIDE, 10 * _SIDE)  # asked before memory is taken for it
            sheet = np.asarray(opened.convert("RGB") if is_sheet else ())
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: sheet {len(sheets)} is no image ({error}). Copy the file again.") from error
        if not is_sheet:
            raise DataError(f"{path}: sheet {len(sheets)} is {opened.size}, not 10 x 10 images of {_SIDE} x {_SIDE}.")
        tiles = sheet.reshape(10, _SIDE, 10, _SIDE, _CHANNELS).transpose(0, 2, 4, 1, 3)
        sheets.append(tiles.reshape(100, _CHANNELS, _SIDE, _SIDE))
    images: Images = np.concatenate(sheets) if sheets else np.empty((0, _CHANNELS, _SIDE, _SIDE), np.uint8)
    if len(images) != len(labels):
        raise DataError(f"{path} holds {len(images)} images and {len(labels)} labels. Copy the file again.")
    return images, labels.astype(np.uint8)


def _first_of_each(labels: Images, count: int) -> npt.NDArray[np.intp]:
    """The rows of the first ``count`` of each class, in the file's order."""
    places = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    fewest = min(map(len, places))
    if not 1 <= count <= fewest:
        raise DataError(f"per_class = {count} is out of range: each class has at least {fewest} images here.")
    return cast("npt.NDArray[np.intp]", np.sort(np.concatenate([rows[:count] for rows in places])))
