"""Which points no other beats, for two figures that pull apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pareto_front(points_NK: NDArray[np.float64]) -> list[int]:
    """Indices of the points (N, 2) that no other beats, by rising leak, equal points in their own order.

    A point is (accuracy, leak): higher accuracy is better, lower leak is. One beats another when it is at least as
    accurate, leaks no more, and is better in one of the two.
    """
    if len(points_NK) == 0:
        return []
    accuracy, leak = points_NK.T
    is_no_worse = (accuracy[:, None] >= accuracy) & (leak[:, None] <= leak)
    is_better = (accuracy[:, None] > accuracy) | (leak[:, None] < leak)
    is_beaten = (is_no_worse & is_better).any(axis=0)
    front = np.flatnonzero(~is_beaten)
    return [int(index) for index in front[np.argsort(leak[front], kind="stable")]]
