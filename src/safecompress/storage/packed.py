"""Files of data, opened to read: regular ones only, unpacked as their ending says; and what a broken one raises."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from safecompress.storage.places import open_regular

BROKEN_PACKING = (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)
"""What a packed file raises that is cut short, altered, encrypted (RuntimeError), or packed in an unknown way."""


@contextlib.contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file that is plain, ``.gz`` or ``.xz``. Raises OSError for what is no regular file."""
    ending = path.suffix.lower()
    with open_regular(path) as file:
        if ending == ".gz":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif ending == ".xz":
            with lzma.LZMAFile(file) as unpacked_xz:
                yield cast(BinaryIO, unpacked_xz)
        else:
            yield file
