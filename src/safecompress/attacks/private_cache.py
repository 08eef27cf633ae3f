"""A private folder: what attacks keep on disk between processes, by content, readable by its owner only."""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from safecompress.errors import ArtifactError
from safecompress.storage import read_tensors, write_bytes, write_tensors, writing


class PrivateFolder:
    """Named tensors under ``folder`` (mode 0700); at most ``max_bytes`` of them, the least recently written go first.

    What lies here was computed from private rows, so the folder is as private as they are. Names are digests keyed with
    a secret of the folder, so that they confirm no guess of a row. Safe under several processes: every
    file is whole or absent, and two that compute the same write the same.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def has(self, name: str) -> bool:
        """Whether something is kept under ``name``."""
        return self._path(name).exists()

    def load(self, name: str) -> dict[str, Tensor] | None:
        """What is kept under ``name``, or None. Raises ArtifactError when the file is broken."""
        path = self._path(name)
        try:
            return read_tensors(path)[0]
        except ArtifactError:
            if path.exists():
                raise
            return None  # never there, or another process made room

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep ``tensors`` under ``name``. Raises StorageError when the disk refuses."""
        path = self._path(name)
        write_tensors(path, tensors, None)
        with contextlib.suppress(FileNotFoundError):  # another process made room
            path.chmod(0o600)
        if self.max_bytes is not None:
            self._make_room(self.max_bytes, path)

    def _make_room(self, max_bytes: int, last: Path) -> None:
        with FileLock(self.folder / ".lock"):
            # clocks of file systems are coarse: two files may carry one time
            files = sorted(self.folder.glob("*.safetensors"), key=lambda file: (file.stat().st_mtime_ns, file == last))
            total = sum(file.stat().st_size for file in files)
            for file in files[:-1]:  # what was written last stays, however large
                if total <= max_bytes:
                    return
                total -= file.stat().st_size
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{hmac.digest(self._secret(), name.encode(), 'sha256').hex()[:40]}.safetensors"

    def _secret(self) -> bytes:
        path = self.folder / "folder.key"
        if not path.exists():
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.folder.chmod(0o700)
                with FileLock(self.folder / ".lock"):
                    if not path.exists():
                        write_bytes(path, secrets.token_bytes(32), mode=0o600)
        return path.read_bytes()
