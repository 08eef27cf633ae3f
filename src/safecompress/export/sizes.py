"""How many bytes a model takes, and how many its pattern and its values would take if nothing about them were known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ByteCount:
    """Where the bytes of an artifact are: ``file`` = ``payload`` (masks and values) + ``header`` (what they mean).

    ``reference`` is what `reference_size_bytes` gives for the same tensors.
    """

    file: int
    payload: int
    header: int
    reference: float

    @property
    def ratio(self) -> float:
        """Payload per reference byte: 1 is as small as random values and a random pattern can be; nan for nothing."""
        return self.payload / self.reference if self.reference else math.nan


def reference_size_bytes(tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> float:
    """The reference size of a state dict: the entropy of the masks, the active values, and the dense tensors whole.

    Each masked tensor of n elements of b bits at density d counts n (H2(d) + d b) / 8 bytes, H2 the binary entropy;
    a dense tensor counts its stored width. Real float values compress a little, so a file can go under it.
    """
    masked = sum(
        _masked_bits(masks[name], tensor.dtype.itemsize * 8) for name, tensor in tensors.items() if name in masks
    )
    dense = sum(tensor.numel() * tensor.dtype.itemsize for name, tensor in tensors.items() if name not in masks)
    return masked / 8 + dense


def binary_entropy(share: float) -> float:
    """Bits that one yes-or-no needs when a ``share`` in [0, 1] of them is yes: H2 of Shannon (1948)."""
    return -sum(part * math.log2(part) for part in (share, 1.0 - share) if part > 0.0)


def _masked_bits(mask: Tensor, bits_per_value: int) -> float:
    num_active = int(mask.sum())
    return mask.numel() * binary_entropy(num_active / max(1, mask.numel())) + num_active * bits_per_value
