"""A tensor as few bytes: where its active values are, and the values themselves, each squeezed by zstd.

A mask is stored as packed bits or as byte gaps (the distance from one active position to the next), whichever is
smaller. Values are split into byte planes (all first bytes, then all second bytes, ...): the planes of sign and
exponent compress, the planes of random mantissa bits do not and stay as they are. Bits come back exactly as they went
in: -0.0, denormals and the payload of a NaN included.
"""

# K number of elements, B bytes of one element

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from torch import Tensor

from safecompress.errors import ArtifactError, suggest

DTYPES: Mapping[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
"""The element types that a file can hold, by name."""

LEVEL = 19  # of zstd: small before fast; decompression costs the same at every level
ESCAPE = 255  # a gap byte of 255 adds 255 to the gap that the next byte ends

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class MaskCode(IntEnum):
    """The first byte of a packed mask: how the rest says which positions are active."""

    BITS = 0
    GAPS = 1


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """One tensor in bytes: its type and shape, the coded mask (None when dense), one byte plane per byte of the type.

    A plane is zstd data, or raw bytes where zstd would not make it shorter; its length tells which.
    """

    dtype: str
    shape: tuple[int, ...]
    mask: bytes | None = field(repr=False)
    planes: tuple[bytes, ...] = field(repr=False)

    @property
    def num_bytes(self) -> int:
        """Bytes of mask and values together."""
        return len(self.mask or b"") + sum(map(len, self.planes))


def pack(tensor: Tensor, mask: Tensor | None = None) -> PackedTensor:
    """``tensor`` in bytes; with a ``mask`` (bool, same shape) only the active values are kept.

    Raises ArtifactError for an element type without a place in the file, a mask of another shape or type, and for a
    masked place that is not +0.0.
    """
    name, shape = dtype_name(tensor), tuple(tensor.shape)
    rows_KB = to_bytes(tensor)
    if mask is None:
        return PackedTensor(name, shape, None, _split(rows_KB))
    require_masked(tensor, mask)
    active_K = _flags(mask)
    return PackedTensor(name, shape, _code_mask(active_K), _split(rows_KB[active_K]))


def unpack(packed: PackedTensor) -> tuple[Tensor, Tensor | None]:
    """The tensor and the mask that ``pack`` was given, to the bit.

    Allocates no more than the declared type and shape ask for (twice, while planes are joined). Raises ArtifactError
    when the bytes do not add up to that type and shape.
    """
    width, count = width_of(packed.dtype), math.prod(packed.shape)
    if len(packed.planes) != width:
        raise ArtifactError(f"A {packed.dtype} tensor has {width} byte planes; got {len(packed.planes)}. {_BROKEN}")
    if packed.mask is None:
        return _from_bytes(_join(packed.planes, count), packed.dtype, packed.shape), None
    active_K = _decode_mask(packed.mask, count)
    rows_KB = np.zeros((count, width), np.uint8)
    rows_KB[active_K] = _join(packed.planes, int(active_K.sum()))
    return _from_bytes(rows_KB, packed.dtype, packed.shape), torch.from_numpy(active_K).reshape(packed.shape)


def dtype_name(tensor: Tensor) -> str:
    """The file's word for the element type. Raises ArtifactError when it has none (complex, quantised, sparse)."""
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES or tensor.layout != torch.strided:
        raise ArtifactError(f"A {tensor.layout} tensor of {name} cannot be packed. {suggest(name, DTYPES)}")
    return name


def width_of(dtype: str) -> int:
    """Bytes of one element of the type called ``dtype``. Raises ArtifactError for an unknown name."""
    if dtype not in DTYPES:
        raise ArtifactError(f"The file holds a tensor of the unknown type {dtype!r}. {suggest(dtype, DTYPES)}")
    return DTYPES[dtype].itemsize


def to_bytes(tensor: Tensor) -> Bytes:
    """The elements of ``tensor`` in order, as stored: one row of B bytes for each of the K elements."""
    count, width = tensor.numel(), tensor.dtype.itemsize
    flat = tensor.detach().to("cpu").contiguous().as_strided((count,), (1,))  # an empty one may have stride 0
    rows_KB: Bytes = flat.view(torch.uint8).numpy().reshape(count, width)
    return rows_KB


def require_masked(tensor: Tensor, mask: Tensor, name: str = "the tensor") -> None:
    """Raise ArtifactError unless ``mask`` fits ``tensor`` and every place that it switches off holds +0.0."""
    if mask.dtype != torch.bool or mask.shape != tensor.shape:
        raise ArtifactError(
            f"The mask of {name} must be bool of shape {tuple(tensor.shape)}; got {mask.dtype} of shape "
            f"{tuple(mask.shape)}."
        )
    kept = to_bytes(tensor)[~_flags(mask)]
    num_wrong = int(kept.any(axis=1).sum()) if kept.size else 0
    if num_wrong:
        raise ArtifactError(
            f"{num_wrong} of the masked places of {name} do not hold +0.0, so that packing would change the model. "
            "Assign zero to them first (`weight[~mask] = 0`; multiplying by the mask can leave -0.0 behind)."
        )


def squeeze(raw: bytes) -> bytes:
    """``raw`` as zstd data, or as it is where that is not shorter."""
    squeezed = zstandard.ZstdCompressor(level=LEVEL).compress(raw)
    return squeezed if len(squeezed) < len(raw) else raw


def expand(packed: bytes, num_bytes: int) -> bytes:
    """The ``num_bytes`` that ``squeeze`` was given.

    Raises ArtifactError for anything else; a frame that declares another size is refused before it is expanded.
    """
    return packed if len(packed) == num_bytes else unzip(packed, num_bytes, at_least=num_bytes)


def unzip(packed: bytes, at_most: int, *, at_least: int = 0) -> bytes:
    """What one whole zstd frame holds.

    Raises ArtifactError unless the frame declares, before it is expanded, from ``at_least`` to ``at_most`` bytes.
    """
    try:
        declared = zstandard.frame_content_size(packed)  # -1: not declared
        if not at_least <= declared <= at_most:
            raise ArtifactError(f"A part declares {declared} bytes where {at_least} to {at_most} belong. {_BROKEN}")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=at_most, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ArtifactError(f"A part cannot be decompressed ({error}). {_BROKEN}") from error


_BROKEN = "The file is truncated or altered: take a fresh copy of it."


def _flags(mask: Tensor) -> Flags:
    flags: Flags = mask.detach().to("cpu").reshape(-1).numpy()
    return flags


def _from_bytes(rows_KB: Bytes, dtype: str, shape: tuple[int, ...]) -> Tensor:
    if dtype == "bool" and (rows_KB > 1).any():
        raise ArtifactError(f"A bool tensor holds a byte that is neither 0 nor 1. {_BROKEN}")
    return torch.from_numpy(rows_KB.reshape(-1)).view(DTYPES[dtype]).reshape(shape)


def _split(rows_KB: Bytes) -> tuple[bytes, ...]:
    return tuple(squeeze(plane_K.tobytes()) for plane_K in rows_KB.T)


def _join(planes: tuple[bytes, ...], count: int) -> Bytes:
    rows_KB = np.empty((count, len(planes)), np.uint8)
    for column, plane in enumerate(planes):
        rows_KB[:, column] = np.frombuffer(expand(plane, count), np.uint8)
    return rows_KB


def _code_mask(active_K: Flags) -> bytes:
    bits = bytes([MaskCode.BITS]) + squeeze(np.packbits(active_K).tobytes())
    gaps = bytes([MaskCode.GAPS]) + zstandard.ZstdCompressor(level=LEVEL).compress(_to_gaps(active_K).tobytes())
    return min(bits, gaps, key=len)


def _decode_mask(coded: bytes, count: int) -> Flags:
    if coded[:1] == bytes([MaskCode.BITS]):
        bits = np.frombuffer(expand(coded[1:], (count + 7) // 8), np.uint8)
        return np.unpackbits(bits, count=count).astype(np.bool_)
    if coded[:1] == bytes([MaskCode.GAPS]):
        gaps = unzip(coded[1:], at_most=count + count // ESCAPE)
        return _from_gaps(np.frombuffer(gaps, np.uint8), count)
    raise ArtifactError(f"A mask is coded in a way that this version does not know ({coded[:1]!r}). {_BROKEN}")


def _to_gaps(active_K: Flags) -> Bytes:
    """The number of inactive positions before each active one, in bytes; 255 means 255 of them and more to come."""
    escapes, rest = np.divmod(np.diff(np.flatnonzero(active_K), prepend=-1) - 1, ESCAPE)
    coded = np.full(len(rest) + int(escapes.sum()), ESCAPE, np.uint8)
    coded[np.cumsum(escapes + 1) - 1] = rest
    return coded


def _from_gaps(coded: Bytes, count: int) -> Flags:
    ends = coded < ESCAPE
    positions = np.cumsum(coded + ends.astype(np.int64))[ends] - 1
    if (len(coded) and not ends[-1]) or (len(positions) and positions[-1] >= count):
        raise ArtifactError(f"A mask names positions beyond the {count} of its tensor. {_BROKEN}")
    active_K = np.zeros(count, np.bool_)
    active_K[positions] = True
    return active_K
