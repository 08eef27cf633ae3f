"""How many active weights each layer gets, so that all together are exactly round(density x N)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from safecompress.errors import UsageError
from safecompress.registry import Registry
from safecompress.sparsity.layers import flat_array
from safecompress.sparsity.topk import largest


class Allocation(Protocol):
    """Shares ``num_active`` active weights out over the layers; ``weights`` are the tensors by parameter name."""

    def __call__(self, weights: Mapping[str, Tensor], num_active: int) -> dict[str, int]:
        """Active weights by parameter name: they sum to ``num_active`` and none exceeds its layer."""
        ...


@dataclass(frozen=True)
class AllocateUniform:
    """The same density in every layer."""

    def __call__(self, weights: Mapping[str, Tensor], num_active: int) -> dict[str, int]:
        """Counts by parameter name."""
        return _share_out(dict.fromkeys(weights, 1.0), weights, num_active)


@dataclass(frozen=True)
class AllocateErk:
    """Erdos-Renyi-Kernel: density of a layer in proportion to (sum of its dimensions) / (product), to ``power_scale``.

    Capped at 1 and solved again for the rest. Source: Evci et al. 2020, appendix; Mocanu et al. 2018.
    """

    power_scale: float = 1.0

    def __call__(self, weights: Mapping[str, Tensor], num_active: int) -> dict[str, int]:
        """Counts by parameter name."""
        raw = {name: (sum(w.shape) / w.numel()) ** self.power_scale for name, w in weights.items()}
        return _share_out(raw, weights, num_active)


@dataclass(frozen=True)
class AllocateGlobalMagnitude:
    """As many as each layer has among the largest |weights| of the whole model, at least one: for trained weights."""

    def __call__(self, weights: Mapping[str, Tensor], num_active: int) -> dict[str, int]:
        """Counts by parameter name."""
        names = list(weights)
        flats = [flat_array(weights[name].abs()).copy() for name in names]
        for flat in flats:
            flat[flat.argmax()] = np.inf  # each layer's largest is kept, whatever the others are
        owner = np.repeat(np.arange(len(names)), [flat.size for flat in flats])
        counts = np.bincount(owner[largest(np.concatenate(flats), num_active)], minlength=len(names))
        return dict(zip(names, counts.tolist(), strict=True))


def count_active(weights: Mapping[str, Tensor], density: float) -> int:
    """Exactly round(density x N). Raises UsageError unless 0 < density <= 1 leaves at least one weight a layer."""
    if not 0 < density <= 1:
        raise UsageError(
            f"density must lie in (0, 1], got {density}. It is the share of weights kept: 0.05 keeps one in twenty."
        )
    num_weights = sum(weight.numel() for weight in weights.values())
    num_active = round(density * num_weights)
    if num_active < len(weights):
        raise UsageError(
            f"density {density} keeps {num_active} of {num_weights} weights, fewer than the model's {len(weights)} "
            f"sparse layers. Use at least {len(weights) / num_weights:.2g}."
        )
    return num_active


def _share_out(raw: Mapping[str, float], weights: Mapping[str, Tensor], num_active: int) -> dict[str, int]:
    """Counts whose densities are proportional to ``raw``, capped at 1; largest remainders make the sum exact."""
    sizes = {name: weight.numel() for name, weight in weights.items()}
    full: set[str] = set()
    while True:
        rest = [name for name in sizes if name not in full]
        budget = num_active - sum(sizes[name] for name in full)
        scale = budget / sum(raw[name] * sizes[name] for name in rest) if rest else 0.0
        over = {name for name in rest if scale * raw[name] > 1}
        if not over:
            break
        full |= over
    exact = {name: float(sizes[name]) if name in full else scale * raw[name] * sizes[name] for name in sizes}
    return round_counts(exact, sizes, num_active)


def round_counts(exact: Mapping[str, float], part_sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers near ``exact`` that sum to ``total``, each from 1 to its size; largest remainders come first.

    ``total`` lies between the number of ``part_sizes`` and their sum.
    """
    counts = {name: min(part_sizes[name], max(1, int(exact[name]))) for name in part_sizes}
    by_remainder = sorted(part_sizes, key=lambda name: counts[name] - exact[name])
    while (missing := total - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        for name in by_remainder if step > 0 else reversed(by_remainder):
            if missing and 1 <= counts[name] + step <= part_sizes[name]:
                counts[name] += step
                missing -= step
    return counts


ALLOCATIONS: Registry[Allocation] = Registry(
    "allocation",
    "safecompress.allocations",
    {"erk": AllocateErk, "uniform": AllocateUniform, "global-magnitude": AllocateGlobalMagnitude},
)
