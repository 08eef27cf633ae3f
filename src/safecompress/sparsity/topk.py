"""Exactly k: the positions of the k smallest or largest scores, whatever the ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Flat positions in an array."""


def smallest(keys: np.ndarray, count: int) -> Indices:
    """Positions of the ``count`` smallest of ``keys`` (n,), ascending; ties at the edge go to the lowest positions.

    A partition, not a sort: O(n). Scores equal to the edge value are counted out by position, so that the count never
    drifts (a comparison with a threshold alone would take all ties or none). A score that is not a number comes last.
    """
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    if count >= keys.size:
        return np.arange(keys.size)
    edge = np.partition(keys, count - 1)[count - 1]
    if np.isnan(edge):
        chosen, at_edge = ~np.isnan(keys), np.isnan(keys)
    else:
        chosen, at_edge = keys < edge, keys == edge
    chosen[np.flatnonzero(at_edge)[: count - np.count_nonzero(chosen)]] = True
    return np.flatnonzero(chosen)


def largest(keys: np.ndarray, count: int) -> Indices:
    """Positions of the ``count`` largest of ``keys`` (n,), ascending; ties at the edge go to the lowest positions."""
    return smallest(-keys, count)
