"""A private folder: what attacks keep on disk between processes, by content, readable by its owner only."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from safecompress.errors import UsageError, printable
from safecompress.storage import Seal, is_part, make_private_folder, read_regular, sweep_parts, write_bytes, writing

KEY, LOCK = "folder.key", ".lock"
KEY_BYTES = 32


class PrivateFolder:
    """Named tensors under ``folder``; at most ``max_bytes`` of them, the least recently written go first.

    What lies here was computed from private rows, so the folder is made with mode 0700, and one that is there must be
    the user's own (`prepare`). Names are digests keyed with
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
        with FileLock(self.folder / LOCK):
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

    def prepare(self) -> None:
        """Make the folder, with its key, or check and sweep the one that is there; its mode is left as it is.

        Raises UsageError for one that is not private: that another user owns, that others may write to, or that holds
        files and no key of ours; and StorageError when the disk refuses.
        """
        self._require_own()
        self._secret()
        sweep_parts([self.folder])

    def _secret(self) -> bytes:
        path = self.folder / KEY
        if not path.exists():
            self._require_own()
            with writing(self.folder):
                make_private_folder(self.folder)
                with FileLock(self.folder / LOCK):
                    if not path.exists():
                        write_bytes(path, secrets.token_bytes(KEY_BYTES))
        try:
            key = read_regular(path, at_most=KEY_BYTES)
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror or error}). Name a new folder.") from error
        if len(key) != KEY_BYTES:
            raise UsageError(f"{path} is no key of {KEY_BYTES} bytes: it was cut short or altered. Name a new folder.")
        return key

    def _require_own(self) -> None:
        """Raise UsageError for a folder that is not private."""
        if not self.folder.is_dir():
            return
        state = self.folder.stat()
        fault = None
        if state.st_uid != os.geteuid():
            fault = "belongs to another user"
        elif state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            fault = f"may be written to by others (its mode is {stat.S_IMODE(state.st_mode):04o})"
        elif not (self.folder / KEY).exists():
            present = [entry.name for entry in self.folder.iterdir() if entry.name != LOCK and not is_part(entry.name)]
            fault = f"holds other files, such as {printable(sorted(present)[0])}" if present else None
        if fault:
            raise UsageError(
                f"{self.folder} cannot keep what was computed from private rows: it {fault}. Name a new folder, or an "
                "empty one of yours alone."
            )
