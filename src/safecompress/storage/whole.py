"""Files that are whole or absent: write beside, flush, rename. Tensors are safetensors; nothing here unpickles."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safecompress.errors import StorageError
from safecompress.storage.places import NOT_A_FILE, real_path

if TYPE_CHECKING:
    import torch

PRIVATE = 0o600
"""The mode of what is computed from private rows: its owner alone reads it. Files are private unless they are said to
be published."""

PUBLISHED = 0o666
"""The mode of what is meant to be given away; the umask decides who may read it."""

_STEM = 48
"""Letters of a file's name in that of its half-written one: names have at most 255 bytes, letters up to 4."""

_TRIES = 8
"""Half-written files that may be swept from under a writer before it goes on without being held."""

_PART = re.compile(r"\..+\.[0-9a-f]{16}\.part")
"""Names of half-written files. Others that end in ``.part`` are somebody else's."""


def write_bytes(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part.

    A folder that is missing is made, for a private file with mode 0700. A symbolic link stays, and what it names is
    written. What a killed process left half written of the same file is deleted. Raises StorageError when the disk is
    full, the folder may not be written, or something that is no regular file stands there; ``path`` is then untouched.
    """
    with writing(path):
        make_private_folder(path.parent) if mode == PRIVATE else path.parent.mkdir(parents=True, exist_ok=True)
        place = real_path(path)
        _sweep(place.parent, f".{place.name[:_STEM]}.")
        temporary, handle = _begin_part(place, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(place)  # while it is held: nobody sweeps it
            _sync_folder(place.parent)
        finally:
            temporary.unlink(missing_ok=True)


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` with mode 0700, its parents as the umask says; one that is there keeps its mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def is_part(name: str) -> bool:
    """Whether ``name`` is that of a file of ours that is half written."""
    return _PART.fullmatch(name) is not None


def sweep_parts(folders: Iterable[Path]) -> None:
    """Delete the half-written files that a killed process left directly in ``folders``; those of living ones stay."""
    for folder in folders:
        _sweep(folder, ".")


def _begin_part(place: Path, mode: int) -> tuple[Path, int]:
    """A new half-written file beside ``place``, opened and held, so that nobody takes it for that of a dead process."""
    for _ in range(_TRIES):
        path = place.with_name(f".{place.name[:_STEM]}.{secrets.token_hex(8)}.part")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with contextlib.suppress(OSError):  # where the file system has no locks, nobody sweeps either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else it was swept before it was held
            break
        os.close(handle)
    return path, handle


def _sweep(folder: Path, start: str) -> None:
    """Delete half-written files in ``folder`` whose names begin with ``start`` and that no process holds."""
    with contextlib.suppress(OSError):  # whoever writes says what the system refuses
        for name in [name for name in os.listdir(folder) if name.startswith(start) and is_part(name)]:  # noqa: PTH208
            with contextlib.suppress(OSError):  # held, or gone: somebody else sweeps, too
                handle = os.open(folder / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    (folder / name).unlink()
                finally:
                    os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses while writing ``path`` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def explain(os_error: OSError, path: Path) -> str:
    """One paragraph for a person: what the system refused, where, and what to do."""
    if os_error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No room left to write {path}. What was saved before is intact; free some space and run the same "
            "command again."
        )
    if os_error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written ({os_error.strerror}). Choose another folder, or change its permissions."
    if os_error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"{path} cannot be made: a file stands where a folder is needed. Choose another folder, or move that file."
        )
    if os_error.errno in NOT_A_FILE:
        return f"{path} is not written over ({os_error.strerror or os_error}). Name another file."
    return f"{path} could not be written ({os_error.strerror or os_error}). What was saved before is intact."


def json_bytes(value: Any) -> bytes:
    """``value`` as indented JSON, keys in their own order; NaN is refused rather than written as no-JSON."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any, *, mode: int = PRIVATE) -> None:
    """Write ``value`` as `json_bytes`."""
    write_bytes(path, json_bytes(value), mode=mode)


def tensor_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Named tensors and string metadata as the content of a safetensors file."""
    from safetensors.torch import save as dump_safetensors  # brings PyTorch along, which plain files do without

    contiguous = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    content: bytes = dump_safetensors(contiguous, dict(metadata or {}))
    return content


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors and string metadata as one safetensors file."""
    write_bytes(path, tensor_bytes(tensors, metadata))


def _sync_folder(folder: Path) -> None:
    """Bring the rename itself to the disk, where the file system can; the file is whole either way."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
