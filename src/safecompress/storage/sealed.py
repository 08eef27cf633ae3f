"""Files that are read back only as they were written: each carries a keyed digest of its name and content (a MAC).

A seal shows that a file is whole and under its own name, and that whoever wrote it had the key. It is no secret cover,
and says nothing against somebody who may read the key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safecompress.errors import ArtifactError
from safecompress.storage.places import read_regular
from safecompress.storage.reading import parse_tensors, read_json
from safecompress.storage.whole import json_bytes, tensor_bytes, write_bytes, write_json

if TYPE_CHECKING:
    import torch

_BLANK = "0" * 64
_IN_HEADER = re.compile(rb'"seal":"([0-9a-f]{64})"')  # a name that holds this text has its quotes escaped


@dataclass(frozen=True, slots=True)
class Seal:
    """Seals files with ``key``; they are private. ``name`` is what a file stands for, whatever its path."""

    key: bytes = field(repr=False)

    def write_tensors(
        self, path: Path, name: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a safetensors file with its seal in the metadata. Raises StorageError where the disk refuses."""
        content = tensor_bytes(tensors, {**(metadata or {}), "seal": _BLANK})
        (place,) = _seals_in(content)
        seal = self._digest(name, content).encode()
        write_bytes(path, content[: place.start(1)] + seal + content[place.end(1) :])

    def read_tensors(self, path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]] | None:
        """The tensors and metadata of a file that `write_tensors` left under ``name``; None for any other, or none."""
        try:
            content = read_regular(path)
        except OSError:
            return None
        if not self._is_sealed(content, name):
            return None
        tensors, metadata = parse_tensors(content, path)
        return tensors, {key: value for key, value in metadata.items() if key != "seal"}

    def is_sealed(self, path: Path, name: str) -> bool:
        """Whether the file at ``path`` is what `write_tensors` left under ``name``."""
        try:
            return self._is_sealed(read_regular(path), name)
        except OSError:
            return False

    def write_json(self, path: Path, name: str, value: Any) -> None:
        """Write a JSON object of the value and its seal. Raises StorageError where the disk refuses."""
        write_json(path, {"seal": self._digest(name, json_bytes(value)), "content": value})

    def read_json(self, path: Path, name: str) -> Any:
        """The value of a file that `write_json` left under ``name``; None for any other, or none."""
        try:
            stored = read_json(path)
        except ArtifactError:
            return None
        if not isinstance(stored, dict) or stored.keys() != {"seal", "content"} or not isinstance(stored["seal"], str):
            return None
        seal = self._digest(name, json_bytes(stored["content"])).encode()
        return stored["content"] if hmac.compare_digest(seal, stored["seal"].encode(errors="replace")) else None

    def _is_sealed(self, content: bytes, name: str) -> bool:
        found = _seals_in(content)
        if len(found) != 1:
            return False
        (place,) = found
        blank = content[: place.start(1)] + _BLANK.encode() + content[place.end(1) :]
        return hmac.compare_digest(self._digest(name, blank).encode(), place[1])

    def _digest(self, name: str, content: bytes) -> str:
        said = name.encode()
        return hmac.digest(self.key, len(said).to_bytes(8, "little") + said + content, "sha256").hex()


def _seals_in(content: bytes) -> list[re.Match[bytes]]:
    """The places of seals in the header of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return list(_IN_HEADER.finditer(content, 8, min(end, len(content))))
