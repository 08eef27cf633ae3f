"""A private folder: what attacks keep on disk between processes, by content, readable by its owner only."""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from safecompress.storage import Seal, write_bytes, writing


class PrivateFolder:
    """Named tensors under ``folder`` (mode 0700); at most ``max_bytes`` of them, the least recently written go first.

    What lies here was computed from private rows, so the folder is as private as they are. Names are digests keyed with
    a secret of the folder, so that they confirm no guess of a row, and every file is sealed with it: one that was
    altered, or lies under another's name, counts as missing. Safe under several processes: every file is whole or
    absent, and two that compute the same write the same.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def has(self, name: str) -> bool:
        """Whether something is kept under ``name``, as it was saved."""
        return self._seal().is_sealed(self._path(name), name)

    def load(self, name: str) -> dict[str, Tensor] | None:
        """What is kept under ``name``, or None where there is nothing, or not what was saved."""
        found = self._seal().read_tensors(self._path(name), name)
        return None if found is None else found[0]

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep ``tensors`` under ``name``. Raises StorageError when the disk refuses."""
        path = self._path(name)
        self._seal().write_tensors(path, name, tensors)
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

    def _seal(self) -> Seal:
        return Seal(hmac.digest(self._secret(), b"seal", "sha256"))

    def _secret(self) -> bytes:
        path = self.folder / "folder.key"
        if not path.exists():
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.folder.chmod(0o700)
                with FileLock(self.folder / ".lock"):
                    if not path.exists():
                        write_bytes(path, secrets.token_bytes(32))
        return path.read_bytes()
