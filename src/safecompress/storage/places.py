"""What stands at a path that somebody named: a regular file is opened, anything else is refused.

A device, a pipe or a socket has no end, blocks for ever, or is destroyed by a file that takes its place.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from safecompress.errors import UsageError

NOT_A_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP)
"""The codes of an OSError that says: something else stands there."""

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


def followed(path: Path) -> Path:
    """``path`` with its symbolic links resolved as far as they go; a circle of them is for whoever opens it to say."""
    return Path(os.path.realpath(path))


def one_file(path: Path, what: str) -> Path:
    """`real_path` of a file that is to be written again and again, which has to stay one file for all who name it.

    Raises UsageError, with ``what`` the user calls it, where it is no regular file, or has further names (hard links)
    that would be left behind.
    """
    try:
        place = real_path(path)
        names = place.stat().st_nlink if place.exists() else 1
    except OSError as error:
        if error.errno not in NOT_A_FILE:  # whoever writes says what the system refuses
            return path
        where = path if path.is_dir() else path.parent
        raise UsageError(
            f"{path} cannot be {what} ({error.strerror or error}). Name a file, such as {where / 'NAME.jsonl'}."
        ) from error
    if names > 1:
        raise UsageError(
            f"{path} has {names} names (hard links), and writing {what} would part them. Name a file with one name; a "
            "symbolic link to it is followed."
        )
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
