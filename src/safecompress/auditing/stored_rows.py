"""Train rows that lie in tensors: exactly, rounded to float16 or int8, shifted and scaled as a whole.

P numbers of a tensor, F features of a row, K anchors of them, M members, N rows that were never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

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

FLAT = 1e-5
"""Variance of a window, as a share of its mean square, under which it is one value and float32's rounding."""

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


class SoughtRows:
    """Different rows (M, F) that are sought in tensors, those of a single value left out."""

    def __init__(self, samples: Tensor) -> None:
        flat = samples.detach().cpu().flatten(1).to(torch.float32)
        flat = flat[flat.amin(dim=1) < flat.amax(dim=1)] if flat.numel() else flat
        distinct = {row.tobytes(): row for row in flat.numpy()}
        self.rows_MF: Floats = np.stack([*distinct.values()]) if distinct else flat.numpy()
        self.anchors_K = np.sort(np.argsort(-self.rows_MF.var(axis=0), kind="stable")[:ANCHORS]) if distinct else None

    @property
    def count(self) -> int:
        """M."""
        return len(self.rows_MF)

    @property
    def width(self) -> int:
        """F."""
        return int(self.rows_MF.shape[1])

    @cached_property
    def directions_MK(self) -> Tensor:
        """The anchors of each row with mean 0 and length 1; 0 where they are all alike."""
        anchors_MK = self.rows_MF[:, self.anchors_K]
        centred = anchors_MK - anchors_MK.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        floor = FLAT**0.5 * np.linalg.norm(anchors_MK, axis=1, keepdims=True)
        return torch.from_numpy(np.divide(centred, length, out=np.zeros_like(centred), where=length > floor))


def find_rows(tensor: Tensor, sought: SoughtRows, others: SoughtRows) -> Match | None:
    """The rows of ``sought`` in ``tensor``, or None where it holds none beyond chance.

    A row is sought at every place of the tensor, read along its last axes and along its first. ``others`` show what
    chance is: a copy that is found for both alike says nothing of train. Rows with many features cannot be found by
    chance, unless what is found is as much like other rows: one ramp is like all ramps.
    """
    numbers = _numbers(tensor)
    if numbers is None or not sought.count or tensor.numel() < sought.width:
        return None
    find = _equal if sought.width < FEWEST_FEATURES else _scaled
    step = 0.75 if not tensor.is_floating_point() else STEP * float(np.abs(numbers).max())
    for view_P in _views(numbers):
        is_likely_M, is_sure_M, places_M = find(view_P, sought, step)
        if not is_likely_M.any():
            continue
        is_likely_N, _, _ = find(view_P, others, step)
        is_own = _is_own(view_P, sought, np.flatnonzero(is_sure_M), places_M, others)
        match = Match(int(is_likely_M.sum()), sought.count, int(is_likely_N.sum()), others.count)
        if is_own or _is_significant(match):
            return match
    return None


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


def _equal(view_P: Floats, sought: SoughtRows, step: float) -> Found:
    """Rows that stand in the view as they are, to float16. None is sure: others may be equal."""
    nobody, nowhere = np.zeros(sought.count, dtype=bool), np.zeros(sought.count, dtype=np.int64)
    if not sought.count:
        return nobody, nobody, nowhere
    with np.errstate(over="ignore"):
        narrow = np.lib.stride_tricks.sliding_window_view(view_P.astype(np.float16), sought.width)
        windows, wanted = (np.ascontiguousarray(part) for part in (narrow, sought.rows_MF.astype(np.float16)))
    kind = np.dtype((np.void, windows.dtype.itemsize * sought.width))
    return np.isin(wanted.view(kind)[:, 0], windows.view(kind)[:, 0]), nobody, nowhere


def _scaled(view_P: Floats, sought: SoughtRows, step: float) -> Found:
    """Rows x that stand in the view as a x + b, to rounding by ``step``."""
    if not sought.count:
        return _equal(view_P, sought, step)
    places_M = _most_alike(view_P, sought)
    windows_MF = np.stack([view_P[place : place + sought.width] for place in places_M]).astype(np.float64)
    rows_MF = sought.rows_MF.astype(np.float64)
    x, w = (part - part.mean(axis=1, keepdims=True) for part in (rows_MF, windows_MF))
    slope_M1 = (x * w).sum(axis=1, keepdims=True) / (x * x).sum(axis=1, keepdims=True)
    length_M = np.maximum(np.linalg.norm(w, axis=1) * np.linalg.norm(x, axis=1), np.finfo(np.float64).tiny)
    is_alike_M = np.abs((x * w).sum(axis=1)) / length_M >= ALIKE
    is_alike_M &= np.abs(w - slope_M1 * x).max(axis=1) <= step
    stands_out_MF = np.abs(slope_M1 * (rows_MF - np.median(rows_MF, axis=1, keepdims=True))) > 3 * step
    telling_M = stands_out_MF.sum(axis=1)
    return (
        is_alike_M & (telling_M >= min(LEAST_TELLING, sought.width - 1)),
        is_alike_M & (telling_M >= TELLING),
        places_M,
    )


def _most_alike(view_P: Floats, sought: SoughtRows) -> NDArray[np.int64]:
    """For each row the place (M,) of the window whose anchors correlate best with the row's, of either sign."""
    view, anchors_K = torch.from_numpy(view_P - view_P.mean()), sought.anchors_K
    assert anchors_K is not None  # there are rows
    best_M, places_M = torch.full((sought.count,), -1.0), torch.zeros(sought.count, dtype=torch.int64)
    count = len(view_P) - sought.width + 1
    for first in range(0, count, _CHUNK):
        size = min(_CHUNK, count - first)
        windows_KB = torch.stack([view[first + anchor : first + anchor + size] for anchor in anchors_K.tolist()])
        square_B = (windows_KB * windows_KB).sum(dim=0)
        spread_B = square_B - windows_KB.sum(dim=0).square() / len(windows_KB)
        inverse_B = torch.where(spread_B > FLAT * square_B, spread_B, torch.inf).rsqrt()
        likeness_MB = (sought.directions_MK @ windows_KB).mul_(inverse_B).abs_()
        better = (likeness_MB.amax(dim=1) > best_M).nonzero()[:, 0]
        best_M[better], where = likeness_MB[better].max(dim=1)
        places_M[better] = where + first
    return places_M.numpy()


def _is_own(
    view_P: Floats, sought: SoughtRows, sure: NDArray[np.int64], places_M: NDArray[np.int64], others: SoughtRows
) -> bool:
    """Whether the place of one of the ``sure`` members holds something that is like no other row."""
    if not len(sure):
        return False
    windows = _directions(np.stack([view_P[place : place + sought.width] for place in places_M[sure]]))
    likeness = np.abs(windows @ _directions(np.concatenate([sought.rows_MF, others.rows_MF])).T)
    return bool(((likeness >= ALIKE).sum(axis=1) <= 1).any())


def _directions(vectors: Floats) -> Floats:
    """Rows with mean 0 and length 1."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    directions: Floats = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-30)
    return directions


def _is_significant(match: Match) -> bool:
    """Whether members are found more often than the others, by Fisher's exact test."""
    from scipy.stats import hypergeom

    total, found = match.num_members + match.num_others, match.members + match.others
    return bool(hypergeom.sf(match.members - 1, total, found, match.num_members) < SIGNIFICANT)
