"""One safetensors file that holds packed tensors, and facts about them as compressed JSON.

    __metadata__   format, version, digest (of what the file means; the writer's business)
    "structure"    uint8, zstd'd JSON: for each tensor its name, type, shape and numbers of bytes; and the facts
    "payload"      uint8: for each tensor the bytes of its mask and of its planes, all end to end

The same contents give the same bytes. Nothing in a file is believed: sizes are checked before memory is taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, uint8

from safecompress.errors import ArtifactError
from safecompress.export.pack import LEVEL, PackedTensor, pack, unpack, unzip, width_of
from safecompress.storage import read_tensors

FORMAT = "safecompress-artifact"
VERSION = 3  # the newest that is read; a file says the oldest that can read it
MAX_STRUCTURE_BYTES = 4 << 20  # JSON of some 30,000 tensors
FREE_BYTES = 64 << 20  # what any file may expand to ...
MAX_EXPANSION = 1024  # ... and, beyond that, how many bytes for each of its own: a density of 0.001 needs 740

Size = Annotated[int, Field(ge=0, lt=1 << 40)]


class _Part(BaseModel):
    """One tensor: how many bytes of the payload are its mask (None: dense) and its planes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: str
    dtype: str
    shape: Annotated[tuple[Size, ...], Field(max_length=16)]
    mask: Size | None
    planes: Annotated[tuple[Size, ...], Field(max_length=8)]

    def expanded_bytes(self) -> int:
        """Bytes that the tensor and its mask take in memory, zero-sized dimensions counted as one."""
        return math.prod(max(1, size) for size in self.shape) * (width_of(self.dtype) + (self.mask is not None))


class _Structure(BaseModel):
    """What the payload holds, in its order, and the facts beside it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    parts: tuple[_Part, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds: tensors by name, the masks of some of them, facts as JSON values, and the writer's digest.

    ``version`` is the oldest format version that knows all of it.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    facts: Mapping[str, Any]
    digest: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file's bytes, and how many of them are payload."""

    content: bytes = field(repr=False)
    num_payload_bytes: int


def encode(contents: Contents) -> Encoded:
    """The file of ``contents``, tensors in their own order.

    Raises ArtifactError for a tensor that cannot be packed, or contents so empty that no reader would believe them.
    """
    packed = {name: pack(tensor, contents.masks.get(name)) for name, tensor in contents.tensors.items()}
    payload = b"".join(blob for one in packed.values() for blob in _blobs(one))
    parts = tuple(_describe(name, one) for name, one in packed.items())
    _refuse_bomb(parts, len(payload))
    text = _to_json(_Structure(parts=parts, facts=dict(contents.facts)))
    structure = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text)
    return Encoded(_safetensors(structure, payload, contents), len(payload))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The byte tensors and the metadata of the file at ``path``, for `decode`.

    Raises ArtifactError when the file is missing, truncated, or no safetensors file.
    """
    try:
        tensors, metadata = read_tensors(path)
    except KeyError as error:  # an element type that safetensors knows and PyTorch does not
        raise ArtifactError(f"{path} holds tensors of type {error}. {_OTHER_KIND}") from error
    return tensors, metadata or {}


def decode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Contents:
    """What `encode` was given; whether it matches its digest is for the caller to check.

    Raises ArtifactError when the file is altered, of another kind, or of a newer version.
    """
    version = _version(metadata)
    structure_bytes, payload = (_raw(tensors, name) for name in ("structure", "payload"))
    structure = _from_json(unzip(structure_bytes, at_most=MAX_STRUCTURE_BYTES))
    _require_sizes(structure.parts, len(payload))
    unpacked = {part.name: unpack(packed) for part, packed in _cut(structure.parts, payload)}
    return Contents(
        tensors={name: tensor for name, (tensor, _) in unpacked.items()},
        masks={name: mask for name, (_, mask) in unpacked.items() if mask is not None},
        facts=structure.facts,
        digest=metadata.get("digest", ""),
        version=version,
    )


def fault_of(invalid: ValidationError) -> str:
    """The first fault, in one line: where it is, and what is wrong."""
    fault = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"


_OTHER_KIND = "Check the path: this is not a file that SafeCompress saved, or it was altered since."


def _blobs(packed: PackedTensor) -> tuple[bytes, ...]:
    return packed.planes if packed.mask is None else (packed.mask, *packed.planes)


def _describe(name: str, packed: PackedTensor) -> _Part:
    mask = None if packed.mask is None else len(packed.mask)
    planes = tuple(map(len, packed.planes))
    return _Part(name=name, dtype=packed.dtype, shape=packed.shape, mask=mask, planes=planes)


def _cut(parts: tuple[_Part, ...], payload: bytes) -> Iterator[tuple[_Part, PackedTensor]]:
    start = 0

    def take(size: int) -> bytes:
        nonlocal start
        start += size
        return payload[start - size : start]

    for part in parts:
        mask = None if part.mask is None else take(part.mask)
        yield part, PackedTensor(part.dtype, part.shape, mask, tuple(map(take, part.planes)))


def _safetensors(structure: bytes, payload: bytes, contents: Contents) -> bytes:
    """The file written by hand: the library shuffles its metadata, and the same contents must give the same bytes."""
    end = len(structure) + len(payload)
    head = {
        "__metadata__": {"format": FORMAT, "version": str(contents.version), "digest": contents.digest},
        "structure": {"dtype": "U8", "shape": [len(structure)], "data_offsets": [0, len(structure)]},
        "payload": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [len(structure), end]},
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns its data to 8 bytes
    return len(text).to_bytes(8, "little") + text + structure + payload


def _version(metadata: Mapping[str, str]) -> int:
    if metadata.get("format") != FORMAT:
        raise ArtifactError(f"It is a safetensors file, but no artifact. {_OTHER_KIND}")
    version = metadata.get("version", "")
    is_number = version.isascii() and version.isdecimal() and len(version) < 10
    if is_number and int(version) > VERSION:
        raise ArtifactError(
            f"It has format version {version}; this SafeCompress reads versions up to {VERSION}: "
            "upgrade SafeCompress to load the file."
        )
    if not is_number or str(int(version)) != version or int(version) < 1:
        raise ArtifactError(f"It claims the format version {version[:20]!r}, which never was. {_OTHER_KIND}")
    return int(version)


def _raw(tensors: Mapping[str, Tensor], name: str) -> bytes:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != uint8 or tensor.dim() != 1 or len(tensors) != 2:
        raise ArtifactError(f"It does not hold exactly the byte tensors 'payload' and 'structure'. {_OTHER_KIND}")
    return tensor.numpy().tobytes()


def _to_json(structure: _Structure) -> bytes:
    try:
        text = structure.model_dump_json().encode()
    except ValueError as error:
        raise ArtifactError(f"A name or a text of the artifact is not valid Unicode: {error}") from error
    if len(text) > MAX_STRUCTURE_BYTES:
        raise ArtifactError(
            f"The names, shapes and facts of this model take {len(text)} bytes of text; an artifact holds up to "
            f"{MAX_STRUCTURE_BYTES}. Shorten its metadata."
        )
    return text


def _from_json(text: bytes) -> _Structure:
    try:
        return _Structure.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"It describes its tensors wrongly ({fault_of(error)}). {_OTHER_KIND}") from error


def _require_sizes(parts: tuple[_Part, ...], num_payload_bytes: int) -> None:
    described = sum((part.mask or 0) + sum(part.planes) for part in parts)
    if described != num_payload_bytes or len({part.name for part in parts}) != len(parts):
        raise ArtifactError(
            f"It describes {described} bytes of tensors, each by its own name, and holds {num_payload_bytes}. "
            "It is truncated or altered: take a fresh copy of it."
        )
    _refuse_bomb(parts, num_payload_bytes)


def _refuse_bomb(parts: tuple[_Part, ...], num_payload_bytes: int) -> None:
    expanded = sum(part.expanded_bytes() for part in parts)
    limit = FREE_BYTES + MAX_EXPANSION * num_payload_bytes
    if expanded > limit:
        raise ArtifactError(
            f"{num_payload_bytes} bytes of payload would expand to {expanded} in memory; {limit} is the most that "
            "is believed of so small a file. Either the file is altered, or the model is nearly all zeros."
        )
