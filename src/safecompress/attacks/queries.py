"""Fixed variants of a row, for attacks that ask a model several times about it.

Every variant is the same transform for every row, member or not, whatever its place: a mirror image, a shift by one
pixel, one fixed direction of noise, or, of a text, the same places left out. Number 0 is the row itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from safecompress.data import AuditData
from safecompress.seeding import derive

NOISE = 0.05
"""Size of the noise, as a share of the row's own root mean square."""

LEFT_OUT = 0.1
"""The share of a text's places that a variant leaves out."""

_SHIFTS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


def varied(audit: AuditData, number: int) -> AuditData:
    """The audit with the ``number``-th variant of its rows."""
    return audit if number == 0 else AuditData(vary(audit.features, number), audit.labels, audit.is_member)


def vary(features: Tensor, number: int) -> Tensor:
    """The ``number``-th variant of ``features``: images (N, channels, height, width), tokens (N, L), others."""
    if number == 0:
        return features
    if not features.is_floating_point():
        chance = derive(0, "query", number, features.shape[1])
        return shortened(features, torch.from_numpy(chance.random(features.shape[1]) < LEFT_OUT))
    if features.ndim == 4:
        return _moved(features, number)
    direction = torch.from_numpy(derive(0, "query", number, *features.shape[1:]).normal(size=tuple(features.shape[1:])))
    size = features.flatten(1).square().mean(dim=1).sqrt().view(-1, *[1] * (features.ndim - 1))
    return features + NOISE * size * direction.to(features)


def shortened(tokens: Tensor, is_out_L: Tensor) -> Tensor:
    """``tokens`` (N, L) without those at the places ``is_out_L``; the others move up, -1 follows.

    A row's first and last token stay: they are marks of the tokenizer.
    """
    is_token = tokens >= 0
    places = torch.arange(tokens.shape[1])
    is_mark = (places == 0) | (places == is_token.sum(1, keepdim=True) - 1)
    kept = torch.where(is_out_L & ~is_mark, -1, tokens)
    order = (kept < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return kept.gather(1, order)


def _moved(images: Tensor, number: int) -> Tensor:
    """Images mirrored (odd numbers) and shifted by one pixel or more, edges repeated."""
    mirrored = images.flip(3) if number % 2 else images
    if number < 2:
        return mirrored
    turn, place = divmod(number // 2 - 1, len(_SHIFTS))
    down, right = (step * (turn + 1) for step in _SHIFTS[place])
    reach = turn + 1
    padded = torch.nn.functional.pad(mirrored, (reach,) * 4, mode="replicate")
    top, left = reach - down, reach - right
    return padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]
