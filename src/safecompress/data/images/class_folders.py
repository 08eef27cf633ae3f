"""A folder with one folder of images for each class: what is in it, and everything in it that does not belong."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import numpy.typing as npt

from safecompress.data.images.decode import SUFFIXES, shown
from safecompress.errors import DataError, listing

_REMEDIES = {
    "hidden": "Delete them.",
    "outside a class folder": "Every image lies in the folder of its class.",
    "folders in a class folder": "They would be classes: is root a level too high?",
    "not of the kinds read here": "Delete them, or write images as PNG.",
    "not readable": "Mend or delete links that lead nowhere, pipes and files without rights.",
    "class folders without an image": "Delete them, or put the images there.",
    "class folders whose name no text can hold": "Rename them.",
}
"""What does not belong, and what to do about it."""


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The image files of each class, sorted by name, and a sentence for every kind of thing that does not belong."""

    classes: Mapping[str, Sequence[Path]]
    faults: Sequence[str]

    @property
    def files(self) -> list[Path]:
        """All image files, class after class."""
        return [file for files in self.classes.values() for file in files]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The place in ``classes`` of each of ``files``."""
        counts = [len(files) for files in self.classes.values()]
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def scan(root: Path, *, suffixes: Sequence[str] = SUFFIXES, ignore: Sequence[str] = ()) -> ClassFolders:
    """What lies in ``root/<class>/``; names that match a pattern of ``ignore`` (``".*"``) are passed over.

    No deeper folder is looked into, so links cannot lead round in a circle; a link to a file or to a class folder
    counts as what it leads to. Raises DataError when ``root`` cannot be listed.
    """
    try:
        top = _entries(root, ignore)
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error.strerror or error}). Check the path.") from error
    odd = nothing_odd()
    classes: dict[str, list[Path]] = {}
    for path in top:
        what = _what_is(path, suffixes)
        if what == "folder":
            classes[path.name] = image_files(path, root, odd, suffixes, ignore)
        else:
            odd["hidden" if what == "hidden" else "outside a class folder"].append(shown(path, root))
    odd["class folders without an image"] = [repr(name) for name, files in classes.items() if not files]
    odd["class folders whose name no text can hold"] = [repr(name) for name in classes if not _is_plain(name)]
    return ClassFolders(classes, sentences(odd))


def nothing_odd() -> dict[str, list[str]]:
    """A list for each kind of thing that does not belong."""
    return {what: [] for what in _REMEDIES}


def sentences(odd: Mapping[str, Sequence[str]]) -> list[str]:
    """What does not belong, as ``what: 2 paths (a, b). What to do.``"""
    return [f"{what}: {listing('path', paths)}. {_REMEDIES[what]}" for what, paths in odd.items() if paths]


def image_files(
    folder: Path, root: Path, odd: dict[str, list[str]], suffixes: Sequence[str] = SUFFIXES, ignore: Sequence[str] = ()
) -> list[Path]:
    """The image files in ``folder``, sorted by name; all else is noted in ``odd``, as paths from ``root``."""
    try:
        inside = _entries(folder, ignore)
    except OSError:
        odd["not readable"].append(shown(folder, root))
        return []
    files = []
    for path in inside:
        what = _what_is(path, suffixes)
        if what == "image":
            files.append(path)
        else:
            odd["folders in a class folder" if what == "folder" else what].append(shown(path, root))
    return files


def _entries(folder: Path, ignore: Sequence[str]) -> list[Path]:
    names = sorted(os.listdir(folder))  # noqa: PTH208  (of 100,000 files, names are sorted faster than paths)
    return [folder / name for name in names if not any(fnmatch(name, pattern) for pattern in ignore)]


def _what_is(path: Path, suffixes: Sequence[str]) -> str:
    """ "folder", "image", or what is wrong with it, as ``_REMEDIES`` has it."""
    if path.name.startswith("."):
        return "hidden"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "not readable"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "not readable"
    return "image" if path.name.lower().endswith(tuple(suffixes)) else "not of the kinds read here"


def _is_plain(name: str) -> bool:
    """Whether a terminal, a report and a file can show ``name`` as it is."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def present(folder: Path) -> str:
    """What lies in ``folder``, for a message that misses something: ``the folder holds 3 names (a, b, c)``."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"the folder cannot be listed ({error.strerror or error})"
    return f"the folder holds {listing('name', list(map(repr, names)))}" if names else "the folder is empty"
