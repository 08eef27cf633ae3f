"""What a file may claim: sizes are compared with the machine's memory before any is allocated."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

from safecompress.errors import DataError
from safecompress.storage import open_regular
from safecompress.storage.packed import BROKEN_PACKING

COPIES = 5
"""How often a reader holds an array at its peak: as it is unpacked, converted, checked and scaled (measured: 4.8)."""


def physical_memory() -> int | None:
    """The machine's memory in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(dims: Sequence[int], source: str) -> None:
    """Raise DataError when pixels of the shape ``dims``, as bytes and as float32, exceed the machine's memory."""
    there, needed = physical_memory(), 5 * prod(dims)
    if there is not None and needed > there:
        raise DataError(
            f"{source} holds {' x '.join(map(str, dims))} values, which take {needed / 2**30:,.0f} GiB; this machine "
            f"has {there / 2**30:,.0f}. Take fewer images (per_class), or smaller ones (size)."
        )


def require_unpackable(path: Path, limit: int | None = None) -> None:
    """Raise DataError when the members of a zip file claim more than ``limit`` bytes, or than memory holds `COPIES` of.

    What is no zip file passes: its reader says so.
    """
    there = physical_memory()
    most = limit if limit is not None else None if there is None else there // COPIES
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, *BROKEN_PACKING):
        return
    if most is not None and claimed > most:
        raise DataError(
            f"{path} claims to unpack to {claimed:,} bytes, of which {most:,} are read at most. It is damaged, or made "
            "to do harm: get it from its source again."
        )
