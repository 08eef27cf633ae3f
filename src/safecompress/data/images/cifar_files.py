"""The files of the two CIFAR releases: which belong together, and the bytes in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from safecompress.data.images.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from safecompress.data.images.class_folders import present, scan
from safecompress.data.images.decode import Images, read_images
from safecompress.data.images.sheets import CHANNELS, SIDE, read_sheets
from safecompress.data.memory import require_memory
from safecompress.errors import DataError

Part = Literal["train", "test", "all"]
Labelled = tuple[Images, Images, npt.NDArray[np.bool_]]
"""Images (N, 3, 32, 32), labels (N,), and which images the files mark as duplicates (N,)."""


@dataclass(frozen=True, slots=True)
class Release:
    """How a data set is published: ``binary`` and ``sheets`` are the files of each part.

    ``label_values`` tells how many values each of the label bytes before an image has; the last is the label.
    ``folder`` is what the archive unpacks to; ``pickled`` are the files of the release that is not read, and
    ``pickled_folder`` its folder. With ``any_number`` train sheets go on being counted: train_1.npz, train_2.npz, ...
    """

    title: str
    classes: tuple[str, ...]
    binary: Mapping[str, Sequence[str]]
    sheets: Mapping[str, Sequence[str]]
    label_values: tuple[int, ...]
    folder: str
    pickled: tuple[str, ...]
    pickled_folder: str
    any_number: bool = False


CIFAR10 = Release(
    "CIFAR-10",
    CIFAR10_CLASSES,
    {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]},
    {"train": [f"train_{n}.npz" for n in range(5)], "test": ["test.npz"]},
    (10,),
    "cifar-10-batches-bin",
    ("data_batch_1", "test_batch"),
    "cifar-10-batches-py",
)
CIFAR100 = Release(
    "CIFAR-100",
    CIFAR100_CLASSES,
    {"train": ["train.bin"], "test": ["test.bin"]},
    {"train": ["train_0.npz"], "test": ["test.npz"]},
    (20, 100),
    "cifar-100-binary",
    ("train", "test", "meta"),
    "cifar-100-python",
    any_number=True,
)


def read_release(root: Path, release: Release, part: Part) -> Labelled:
    """What the files of ``part`` hold, in the layout that is found in ``root`` or in what the archive unpacks to.

    Raises DataError when there is none, when one is there in part, and for files that are broken.
    """
    folder = root / release.folder if (root / release.folder).is_dir() else root
    parts = ("train", "test") if part == "all" else (part,)
    layouts: list[tuple[list[str], Callable[[Path, Release], Labelled]]] = [
        ([name for which in parts for name in release.binary[which]], _read_binary),
        ([name for which in parts for name in _sheets(folder, release, which)], _read_sheets),
        (list(parts), _read_folders),
    ]
    for names, read in layouts:
        kind = Path.is_dir if read is _read_folders else Path.is_file
        present_names = [name for name in names if kind(folder / name)]
        if present_names and present_names != names:
            raise DataError(
                f"{folder} lacks {', '.join(sorted({*names} - {*present_names}))}: copy the whole release there."
            )
        if present_names:
            read_parts = zip(*[read(folder / name, release) for name in names], strict=True)
            images, labels, marked = map(np.concatenate, read_parts)
            num_seen = len(np.unique(labels))
            if num_seen < len(release.classes):
                raise DataError(
                    f"{folder} holds images of {num_seen} of the {len(release.classes)} classes of {release.title}: "
                    f"{', '.join(names)} are of another data set, or cut short. Copy the whole release there."
                )
            return images, labels, marked
    pickled = (folder / release.pickled_folder).is_dir() or any((folder / name).is_file() for name in release.pickled)
    binary, sheets = ([name for names in kind.values() for name in names] for kind in (release.binary, release.sheets))
    raise DataError(
        f"{release.title} is expected in {folder} as {binary[0]} .. {binary[-1]} (the release 'binary version'), as "
        f"{sheets[0]} .. {sheets[-1]}, or as train/<class>/*.png and test/<class>/*.png; for part {part!r} none of "
        f"these is there, but {present(folder)}. Nothing is downloaded"
        + (", and the Python release that is there is pickled: take the binary one." if pickled else ".")
    )


def _sheets(folder: Path, release: Release, part: str) -> list[str]:
    """The sheet files of ``part``; where their number is open, up to the last one in ``folder``."""
    names = list(release.sheets[part])
    if not release.any_number or part == "test":
        return names
    numbers = [int(path.stem.removeprefix("train_")) for path in folder.glob("train_*.npz") if _is_number(path.stem)]
    return [f"train_{n}.npz" for n in range(max([0, *numbers]) + 1)]


def _is_number(stem: str) -> bool:
    digits = stem.removeprefix("train_")
    return digits.isascii() and digits.isdecimal() and len(digits) <= 3


def _read_binary(path: Path, release: Release) -> Labelled:
    num_labels, num_pixels = len(release.label_values), CHANNELS * SIDE * SIDE
    record = num_labels + num_pixels
    try:
        require_memory((path.stat().st_size,), str(path))
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    if content.size == 0 or content.size % record:
        raise DataError(
            f"{path} has {content.size} bytes, which are no whole number of images ({record} bytes each): it is cut "
            f"short, or no {release.title} batch. Copy it again."
        )
    records = content.reshape(-1, record)
    labels = records[:, :num_labels]
    outside = np.flatnonzero((labels >= np.array(release.label_values)).any(axis=1))
    if len(outside):
        raise DataError(
            f"{path}: labels must lie under {' and '.join(map(str, release.label_values))}, but {len(outside)} of "
            f"{len(records)} images have others (image {outside[0]}: {labels[outside[0]].tolist()}). It is no "
            f"{release.title} batch, or damaged: copy it again."
        )
    images = records[:, num_labels:].reshape(-1, CHANNELS, SIDE, SIDE)
    return images, labels[:, -1], np.zeros(len(records), dtype=np.bool_)


def _read_sheets(path: Path, release: Release) -> Labelled:
    return read_sheets(path, len(release.classes))


def _read_folders(path: Path, release: Release) -> Labelled:
    """Folders called as the classes are, or by their numbers."""
    folders = scan(path, suffixes=(".png",))
    numbers = tuple(map(str, range(len(release.classes))))
    names = numbers if {*folders.classes} & {*numbers} else release.classes
    missing, strange = [n for n in names if n not in folders.classes], [n for n in folders.classes if n not in names]
    faults = list(folders.faults)
    if missing:
        faults.append(f"{len(missing)} of {len(names)} class folders are missing: {', '.join(missing[:5])}.")
    if strange:
        faults.append(f"no classes of {release.title}: {', '.join(map(repr, strange[:5]))}. Delete or rename them.")
    if faults:
        raise DataError.from_faults(str(path), faults)
    places = np.array([names.index(name) for name in folders.classes], dtype=np.uint8)
    images = read_images(folders.files, path, must_be=SIDE, advice=f"These are no images of {release.title}.")
    return images, places[folders.labels], np.zeros(len(images), dtype=np.bool_)
