"""Train rows that lie in tensors: exactly, rounded to float16 or int8, shifted and scaled as a whole.

P numbers of a tensor, F features of a row, K anchors of them, M members, N rows that were never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

ANCHORS = 32
"""Features by which the place of a row is found in a tensor; all of them are compared there."""

FEWEST_FEATURES = 6
"""Features under which any row is like some window, when both may be shifted and scaled: only equal ones count."""

TELLING = 16
"""Features that must stand out of a row's median, and agree, so that chance is out of the question."""

LEAST_TELLING = 6
"""As many, where members must agree significantly more often than rows that were never trained on."""

ALIKE = 0.995
"""Correlation of a row with its int8 copy: 0.9977 where the row's deviation is a thirtieth of the largest number."""

STEP = 0.75 / 127
"""Largest difference from a copy in int8, as a share of the tensor's largest number: half a step, and the fit's own."""

SIGNIFICANT = 1e-6
"""Of Fisher's exact test. With 500 tensors, two readings and two ways of comparing, one file in 500 at most."""

_WORK = 500_000_000
"""Products, about, that finding the places may take; fewer rows are looked for in larger networks."""

_ROWS = (16, 256)
"""Fewest and most rows of a side that are looked for."""

_CHUNK = 1 << 12
"""Windows that are compared at once."""


@dataclass(frozen=True)
class Match:
    """How many of ``num_members`` rows one tensor holds, and of ``num_others`` that were never trained on."""

    members: int
    num_members: int
    others: int
    num_others: int


def rows_to_compare(num_numbers: int) -> int:
    """How many rows of a side are looked for in tensors of so many numbers altogether."""
    fewest, most = _ROWS
    return int(np.clip(_WORK // (2 * ANCHORS * max(1, num_numbers)), fewest, most))


def find_rows(tensor: Tensor, members: Tensor, others: Tensor) -> Match | None:
    """The rows of ``members`` (M, ...) in ``tensor``, or None where it holds none beyond chance.

    A row is sought at every place of the tensor, read along its last axes and along its first. ``others`` (N, ...)
    show what chance is: a copy that is found for both alike says nothing of train. Rows with many features cannot be
    found by chance, unless several have the same place.
    """
    members_MF, others_NF = (_flat(rows) for rows in (members, others))
    numbers = _numbers(tensor)
    if numbers is None or tensor.numel() < members_MF.shape[1] or not len(members_MF):
        return None
    for views, find in ((_views(numbers), _equal), (_views(numbers), _scaled)):
        for view_P in views:
            is_likely_M, is_sure_M, places_M = find(view_P, members_MF, tensor)
            if not is_likely_M.any():
                continue
            is_likely_N, _, places_N = find(view_P, others_NF, tensor)
            sure = places_M[is_sure_M]
            shared = np.unique(np.concatenate([places_M[is_likely_M], places_N[is_likely_N]]), return_counts=True)
            is_own = ~np.isin(sure, shared[0][shared[1] > 1])
            match = Match(int(is_likely_M.sum()), len(members_MF), int(is_likely_N.sum()), len(others_NF))
            if is_own.any() or _is_significant(match):
                return match
    return None


def _flat(rows: Tensor) -> Floats:
    """Different rows (M, F), those of a single value left out."""
    flat: Floats = np.unique(rows.detach().cpu().flatten(1).to(torch.float32).numpy(), axis=0)
    return flat[flat.min(axis=1) < flat.max(axis=1)]


def _numbers(tensor: Tensor) -> Floats | None:
    """The tensor's numbers; None where they are all alike, which holds nothing."""
    if tensor.is_complex() or tensor.numel() < 2 or tensor.layout != torch.strided:
        return None
    values: Floats = tensor.detach().cpu().to(torch.float32).numpy()
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return values if values.min() < values.max() else None


def _views(values: Floats) -> Iterator[Floats]:
    """All numbers in a row (P,): by the last axis first, and by the first."""
    yield np.ascontiguousarray(values).reshape(-1)
    if values.ndim > 1 and len(values) > 1 and values[0].size > 1:
        yield np.ascontiguousarray(values.reshape(len(values), -1).T).reshape(-1)


Found = tuple[Bools, Bools, NDArray[np.int64]]
"""By row: whether it is likely there, whether it surely is, and where."""


def _equal(view_P: Floats, rows_MF: Floats, tensor: Tensor) -> Found:
    """Rows that stand in the view as they are, to float16."""
    width = rows_MF.shape[1]
    nobody = np.zeros(len(rows_MF), dtype=bool)
    if width >= FEWEST_FEATURES:  # `_scaled` finds them
        return nobody, nobody, np.zeros(len(rows_MF), dtype=np.int64)
    with np.errstate(over="ignore"):
        windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(view_P.astype(np.float16), width))
        wanted = np.ascontiguousarray(rows_MF.astype(np.float16))
    kind = np.dtype((np.void, windows.dtype.itemsize * width))
    return np.isin(wanted.view(kind)[:, 0], windows.view(kind)[:, 0]), nobody, np.zeros(len(rows_MF), dtype=np.int64)


def _scaled(view_P: Floats, rows_MF: Floats, tensor: Tensor) -> Found:
    """Rows x that stand in the view as a x + b, to rounding."""
    width = rows_MF.shape[1]
    if width < FEWEST_FEATURES or not len(rows_MF):
        nobody = np.zeros(len(rows_MF), dtype=bool)
        return nobody, nobody, np.zeros(len(rows_MF), dtype=np.int64)
    places_M = _most_alike(view_P, rows_MF)
    windows_MF = np.stack([view_P[place : place + width] for place in places_M]).astype(np.float64)
    rows = rows_MF.astype(np.float64)
    x, w = (part - part.mean(axis=1, keepdims=True) for part in (rows, windows_MF))
    slope_M1 = (x * w).sum(axis=1, keepdims=True) / (x * x).sum(axis=1, keepdims=True)
    length_M = np.maximum(np.linalg.norm(w, axis=1) * np.linalg.norm(x, axis=1), np.finfo(np.float64).tiny)
    is_alike_M = np.abs((x * w).sum(axis=1)) / length_M >= ALIKE
    step = 0.75 if not tensor.is_floating_point() else STEP * float(np.abs(view_P).max())
    is_alike_M &= np.abs(w - slope_M1 * x).max(axis=1) <= step
    stands_out_MF = np.abs(slope_M1 * (rows - np.median(rows, axis=1, keepdims=True))) > 3 * step
    telling_M = stands_out_MF.sum(axis=1)
    return is_alike_M & (telling_M >= min(LEAST_TELLING, width - 1)), is_alike_M & (telling_M >= TELLING), places_M


def _most_alike(view_P: Floats, rows_MF: Floats) -> NDArray[np.int64]:
    """For each row the place (M,) of the window whose anchors correlate best with the row's, of either sign."""
    width = rows_MF.shape[1]
    anchors_K = np.sort(np.argsort(-rows_MF.var(axis=0), kind="stable")[:ANCHORS])
    rows_MK = torch.from_numpy(_directions(rows_MF[:, anchors_K]))
    best_M, places_M = torch.full((len(rows_MF),), -1.0), torch.zeros(len(rows_MF), dtype=torch.int64)
    count = len(view_P) - width + 1
    for first in range(0, count, _CHUNK):
        starts = np.arange(first, min(first + _CHUNK, count))
        windows = torch.from_numpy(_directions(view_P[starts[:, None] + anchors_K]))
        likeness_MB = (rows_MK @ windows.T).abs_()
        better = (likeness_MB.amax(dim=1) > best_M).nonzero()[:, 0]
        best_M[better], where = likeness_MB[better].max(dim=1)
        places_M[better] = where + first
    return places_M.numpy()


def _directions(values: Floats) -> Floats:
    """Rows with mean 0 and length 1; those of a single value become 0."""
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-6 * np.abs(values).max(initial=0))


def _is_significant(match: Match) -> bool:
    """Whether members are found more often than the others, by Fisher's exact test."""
    from scipy.stats import hypergeom

    total, found = match.num_members + match.num_others, match.members + match.others
    return bool(hypergeom.sf(match.members - 1, total, found, match.num_members) < SIGNIFICANT)
