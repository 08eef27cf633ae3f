"""How much of the plane the trials cover: exact in two dimensions.

Points (N, 2) are (accuracy, leak): accuracy is better when higher, leak when lower.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safecompress.metrics.stats.pareto import pareto_front

Floats = NDArray[np.float64]

GUESSING, HOPELESS = 0.5, 1.0
"""The leak (an AUC) under which nothing is earned, and the worst there is."""


def guarded(leak: float) -> float:
    """``leak``, but at least GUESSING: an attack that guesses wrong by chance earns nothing."""
    return max(GUESSING, leak)


def hypervolume(front: Floats) -> float:
    """The share, from 0 to 1, of the rectangle accuracy 0 to 1 by leak GUESSING to HOPELESS that ``front`` dominate.

    0 for no points. Source: Zitzler and Thiele 1998 (size of the space covered), with the reference point (accuracy 0,
    leak 1), as a share so that 1 is a perfect classifier that no attack tells anything of. Leaks under GUESSING count
    as GUESSING.
    """
    area, best = 0.0, 0.0
    clipped = np.column_stack([np.clip(front[:, 0], 0, 1), np.clip(front[:, 1], GUESSING, HOPELESS)])
    for index in pareto_front(clipped):  # by rising leak, and so by rising accuracy
        accuracy, leak = clipped[index]
        area += (HOPELESS - leak) * (accuracy - best)
        best = accuracy
    return float(area / (HOPELESS - GUESSING))
