"""The run folder: one job at a time, and never another job's."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from safecompress.errors import RunFolderError, StorageError
from safecompress.storage import read_json, write_bytes, write_json, writing

ARTIFACT = "artifact.safetensors"
_IDENTITY, _KEY, _LOCK = "job.json", "split.key", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """An opened folder: ``key`` keys the digests of this run's rows, ``identity`` is the digest of its job."""

    path: Path
    identity: str
    key: bytes = field(repr=False)


@contextlib.contextmanager
def open_run_folder(path: Path, name: str, digest: Callable[[bytes], str]) -> Iterator[RunFolder]:
    """Make or reopen the folder of the job whose keyed digest is ``digest(key)``; locked while open.

    Raises RunFolderError when it holds another job's run, is in use by another process, or cannot be written.
    """
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK)
        try:
            with writing(path / _LOCK):
                lock.acquire(timeout=0)
        except Timeout as error:
            raise RunFolderError(
                f"Another process is working in {path}. Wait for it, or choose another folder with --out."
            ) from error
    except StorageError as error:
        raise RunFolderError(str(error)) from error
    try:
        key = _key(path / _KEY)
        identity = digest(key)
        _claim(path, name, identity)
        yield RunFolder(path, identity, key)
    finally:
        lock.release()


def _key(path: Path) -> bytes:
    if not path.exists():
        write_bytes(path, secrets.token_bytes(32), mode=0o600)
    return path.read_bytes()


def _claim(path: Path, name: str, identity: str) -> None:
    """Write down whose folder this is, or check that it is ours."""
    if not (path / _IDENTITY).exists():
        write_json(path / _IDENTITY, {"name": name, "digest": identity})
        return
    owner = read_json(path / _IDENTITY)
    if owner.get("digest") != identity:
        raise RunFolderError(
            f"{path} holds a run of another job ({owner.get('name')!r}): its data, spec, seed or version differ from "
            "this one's, so it cannot be gone on with. Choose another folder with --out, or delete this one."
        )
