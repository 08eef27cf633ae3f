"""Whether weights have been trained: told from the weights alone, without data, by what a fresh draw never shows.

Initial weights are drawn independently of one another, so shuffling the entries of a fresh matrix leaves its spectrum
as it was. Training adds directions that inputs and labels share: the largest singular value then stands far above those
of the shuffled matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_MATRICES, _ROWS, _COLUMNS = 6, 256, 1024
"""How much is looked at: so many matrices of a network, and of each a part of this size."""

_SHUFFLES, _ITERATIONS = 16, 12

_DEVIATIONS, _RATIO = 8.0, 1.05
"""How far a trained matrix stands above its shuffles: so many standard deviations, and this ratio to their mean."""


def are_trained(weights: Mapping[str, Tensor]) -> bool:
    """Whether any of the matrices ``weights`` (by name, two dimensions or more) shows that it was trained.

    A fresh network is not taken for a trained one, whatever independent or orthogonal draw it began with: 2,600 fresh
    matrices of nine kinds stood at most 4.3 deviations above their shuffles, those of networks that classify digits
    right eight times in ten 11 and more. A network that was trained for a moment may be missed. A matrix takes
    milliseconds; no random numbers of the caller's are used.
    """
    names = list(weights)
    step = max(1, -(-len(names) // _MATRICES))
    picked = dict.fromkeys([names[-1], *names[::step]]) if names else {}  # the last shows it soonest
    return any(_stands_out(weights[name]) for name in picked)


def _stands_out(weight: Tensor) -> bool:
    """Whether the largest singular value of ``weight`` is larger than a shuffled matrix could have."""
    matrix = weight.detach().flatten(1)[:_ROWS, :_COLUMNS].float().cpu()
    matrix = matrix - matrix.mean()
    if min(matrix.shape) < 2 or not bool(matrix.isfinite().all()) or not bool(matrix.any()):
        return False
    generator = torch.Generator().manual_seed(matrix.numel())
    flat = matrix.flatten()
    orders = [
        torch.arange(flat.numel()),
        *(torch.randperm(flat.numel(), generator=generator) for _ in range(_SHUFFLES)),
    ]
    values = _largest_singular(torch.stack([flat[order] for order in orders]).view(-1, *matrix.shape), generator)
    own, shuffled = values[0], values[1:]
    far = own > shuffled.mean() + _DEVIATIONS * shuffled.std()
    return bool(far and own > _RATIO * shuffled.mean())


def _largest_singular(matrices_KRC: Tensor, generator: torch.Generator) -> Tensor:
    """The largest singular value (K,) of each matrix (K, R, C), by power iteration from below."""
    vectors = torch.randn(matrices_KRC.shape[0], matrices_KRC.shape[2], 1, generator=generator)
    for _ in range(_ITERATIONS):
        vectors = matrices_KRC.mT @ (matrices_KRC @ vectors)
        vectors /= vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    values_K: Tensor = (matrices_KRC @ vectors).norm(dim=1).squeeze(1)
    return values_K
