"""Tiny ImageNet in the folders of its release: 200 classes, validation images by a table of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from safecompress.data.dataset import Dataset
from safecompress.data.images.class_folders import image_files, nothing_odd, present, sentences
from safecompress.data.images.decode import read_images
from safecompress.data.images.pixels import first_of_each, from_pixels
from safecompress.errors import DataError, UsageError, listing, suggest

Part = Literal["train", "val", "all"]

SIDE = 64
Found = tuple[list[Path], list[int], list[str]]
"""Files, the label of each, and faults."""


def tiny_imagenet(root: str | Path, *, part: Part = "train", per_class: int | None = None) -> Dataset:
    """Tiny ImageNet: photographs (3, 64, 64) in 200 classes, values 0 .. 1.

    Files: wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt, in root or
    in root/tiny-imagenet-200.

    ``part`` is "train" (100,000 images), "val" (10,000) or "all"; the release's test images have no labels. Labels
    follow the order of wnids.txt; a class is called by its first word in words.txt, and by its wnid as well where two
    would have one name. ``per_class`` keeps the first so many images of each class. Needs Pillow (extra ``vision``).
    Raises DataError, with all faults at once, for files that are missing, broken, or of another size.
    Source: Le and Yang 2015, "Tiny ImageNet Visual Recognition Challenge".
    """
    if part not in get_args(Part):
        raise UsageError(f"tiny_imagenet: part {part!r} is unknown. {suggest(part, get_args(Part))}")
    folder = Path(root) / "tiny-imagenet-200"
    folder = folder if folder.is_dir() else Path(root)
    needed = ["wnids.txt", "words.txt", *(["train"] if part != "val" else [])]
    needed += ["val/images", "val/val_annotations.txt"] if part != "train" else []
    lacking = [name for name in needed if not (folder / name).is_file() and not (folder / name).is_dir()]
    if lacking:
        raise DataError(
            f"Tiny ImageNet (tiny-imagenet-200) is expected in {folder}, which lacks {', '.join(lacking)}: "
            f"{present(folder)}. Unpack the whole release there. Nothing is downloaded."
        )
    wnids = [line.strip() for line in _lines(folder / "wnids.txt") if line.strip()]
    class_names = _class_names(wnids, _lines(folder / "words.txt"))
    parts = [_train(folder, wnids)] if part != "val" else []
    parts += [_validation(folder, wnids)] if part != "train" else []
    faults = [fault for _, _, faults_of_part in parts for fault in faults_of_part]
    if len(set(wnids)) < len(wnids) or len(wnids) < 2:
        faults.insert(0, f"wnids.txt needs 2 classes or more, each once, but has {len(wnids)} lines.")
    if faults:
        raise DataError.from_faults(str(folder), faults)
    files = [file for paths, _, _ in parts for file in paths]
    labels = np.array([label for _, numbers, _ in parts for label in numbers], dtype=np.int64)
    if per_class is not None:
        kept = first_of_each(labels, per_class, len(wnids))
        files, labels = [files[row] for row in kept], labels[kept]
    images = read_images(files, folder, must_be=SIDE, advice="For images of your own use image_folder.")
    return from_pixels(images, labels, name="tiny_imagenet", class_names=class_names)


def _train(folder: Path, wnids: Sequence[str]) -> Found:
    files: list[Path] = []
    labels: list[int] = []
    empty, odd = [], nothing_odd()
    for label, wnid in enumerate(wnids):
        inside = folder / "train" / wnid / "images"
        paths = image_files(inside, folder, odd) if _is_name(wnid) and inside.is_dir() else []
        files += paths
        labels += [label] * len(paths)
        empty += [] if paths else [repr(f"train/{wnid}/images")]
    faults = [f"no image in {listing('folder', empty)}. Unpack the release again."] if empty else []
    return files, labels, faults + sentences(odd)


def _validation(folder: Path, wnids: Sequence[str]) -> Found:
    """The images that the table lists; its lines are name, wnid and a box, between tabs."""
    places = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t") for line in _lines(folder / "val" / "val_annotations.txt") if line.strip()]
    entries = [row for row in rows if len(row) >= 2 and row[1].strip() in places and _is_name(row[0])]
    strange = nothing_odd()
    there = {path.name for path in image_files(folder / "val" / "images", folder, strange)}
    listed = {row[0] for row in entries}
    odd = {
        "lines of no image name and known wnid": [repr(row[0]) for row in rows if row not in entries],
        "images listed twice": [repr(name) for name, count in Counter(row[0] for row in entries).items() if count > 1],
        "listed images that val/images lacks": [repr(row[0]) for row in entries if row[0] not in there],
        "images in val/images that are not listed": sorted(map(repr, there - listed)),
    }
    faults = [f"val/val_annotations.txt: {what}: {listing('name', names)}." for what, names in odd.items() if names]
    faults += sentences(strange)
    known = [row for row in entries if row[0] in there]
    return [folder / "val" / "images" / row[0] for row in known], [places[row[1].strip()] for row in known], faults


def _is_name(text: str) -> bool:
    """Whether ``text`` names something in a folder, and leads nowhere else."""
    return text not in ("", ".", "..") and "/" not in text and "\\" not in text and "\0" not in text


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error.reason}). Unpack the release again.") from error


def _class_names(wnids: Sequence[str], lines: Sequence[str]) -> tuple[str, ...]:
    words = {wnid.strip(): text.strip() for wnid, _, text in (line.partition("\t") for line in lines)}
    first = [words.get(wnid, "").split(",")[0].strip() or wnid for wnid in wnids]
    return tuple(f"{name} ({wnid})" if first.count(name) > 1 else name for name, wnid in zip(first, wnids, strict=True))
