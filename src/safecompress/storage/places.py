"""What stands at a path that somebody named: a regular file is opened, anything else is refused.

A device, a pipe or a socket has no end, blocks for ever, or is destroyed by a file that takes its place.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def real_path(path: Path) -> Path:
    """``path`` with every symbolic link resolved: where a file that is to be written, and all beside it, will lie.

    Raises OSError where links go round in a circle, and where something stands there that is no regular file.
    """
    try:
        place = path.resolve()
        mode = place.stat().st_mode
    except RuntimeError:  # a circle of links, in the words of pathlib
        raise OSError(errno.ELOOP, "its symbolic links go round in a circle") from None
    except FileNotFoundError:
        return place
    _require_regular(mode)
    return place


def open_regular(path: Path) -> BinaryIO:
    """The file at ``path``, opened to read. Raises OSError as `open` does, and for all that is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # or a pipe would wait for its writer
    try:
        _require_regular(os.fstat(handle).st_mode)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_regular(path: Path, *, at_most: int | None = None) -> bytes:
    """The bytes of the file at ``path``. Raises OSError as `open_regular` does, and where there are more of them."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if at_most is not None and size > at_most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {at_most:,} are read")
        return file.read() if at_most is None else file.read(at_most)


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, f"it is {kind}, and no regular file")
