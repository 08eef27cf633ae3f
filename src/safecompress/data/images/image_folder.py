"""Any photographs, sorted into one folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safecompress.data.dataset import Dataset
from safecompress.data.images.class_folders import scan
from safecompress.data.images.decode import read_images
from safecompress.data.images.pixels import first_of_each, from_pixels
from safecompress.errors import DataError, UsageError
from safecompress.storage import followed

MAX_SIDE = 4096


def image_folder(
    root: str | Path, *, size: int | None = None, per_class: int | None = None, ignore: Sequence[str] = ()
) -> Dataset:
    """Your own images, (3, H, W) with values 0 .. 1, one folder for each class.

    Files: <class>/*.png (or .jpg, .jpeg, .bmp, .webp) in root, nothing else.

    Classes and files are taken in the order of their names. With ``size`` every image becomes ``size`` x ``size`` in
    one fixed way: its largest central square, resized; without it images must have one size. ``per_class`` keeps the
    first so many of each class. Whatever does not belong (hidden files, other files, empty folders) is named in one
    error; ``ignore`` passes over names by pattern: ``[".*", "Thumbs.db"]``. Needs Pillow (extra ``vision``). Raises
    DataError.
    """
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise UsageError(f"image_folder: size is a side in pixels, 1 .. {MAX_SIDE}, got {size}.")
    folder = Path(root)
    folders = scan(folder, ignore=ignore)
    faults = list(folders.faults)
    if len(folders.classes) < 2:
        faults.append(f"{len(folders.classes)} class folders, and a classifier needs 2: expected <class>/*.png in it.")
    if faults:
        raise DataError.from_faults(str(folder), faults)
    files, labels = folders.files, folders.labels
    if per_class is not None:
        kept = first_of_each(labels, per_class, len(folders.classes))
        files, labels = [files[row] for row in kept], labels[kept]
    images = read_images(files, folder, side=size, advice="Give size = N: every image then becomes N x N.")
    return from_pixels(images, labels, name=followed(folder).name or "images", class_names=tuple(folders.classes))
