"""Where shadow models are kept between processes: one private folder, one file a model, named by content."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from safecompress.storage import read_tensors, write_bytes, write_tensors, writing


class ShadowStore:
    """Weights of shadows under ``folder`` (mode 0700), by keyed digest of all that they depend on.

    They were trained on the private rows, so the folder is as private as the data. Safe under several processes: every
    file is whole or absent, and two that train the same shadow write the same bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, key: str, number: int) -> bool:
        """Whether shadow ``number`` of the family ``key`` is there."""
        return self._path(key, number).exists()

    def load(self, key: str, number: int) -> dict[str, Tensor]:
        """Its weights. Raises ArtifactError when the file is broken."""
        return read_tensors(self._path(key, number))[0]

    def save(self, key: str, number: int, weights: Mapping[str, Tensor]) -> None:
        """Keep its weights. Raises StorageError when the disk refuses."""
        write_tensors(self._path(key, number), weights)

    def _path(self, key: str, number: int) -> Path:
        name = hmac.digest(self._salt(), key.encode(), "sha256").hex()[:32]
        return self.folder / name / f"{number:04d}.safetensors"

    def _salt(self) -> bytes:
        """The folder's key: names in it tell nothing about rows to somebody who guesses."""
        path = self.folder / "store.key"
        if not path.exists():
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.folder.chmod(0o700)
            with FileLock(self.folder / ".lock"):
                if not path.exists():
                    write_bytes(path, secrets.token_bytes(32), mode=0o600)
        return path.read_bytes()
