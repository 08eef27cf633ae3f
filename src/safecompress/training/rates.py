"""The learning rate over time: a warm-up, if any, then a decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

DecayName = Literal["step", "cosine", "linear", "constant"]


def rate_share(
    step: int, total_steps: int, *, decay: DecayName, milestones: Sequence[float], factor: float, warmup: float
) -> float:
    """The share in [0, 1] of the highest rate that the step with this index, counted from 0, trains at.

    In the first ``warmup`` of training the rate rises linearly and reaches its highest in the last step of it. Then
    ``cosine`` and ``linear`` fall to zero over what is left; ``step`` multiplies by ``factor`` at each of
    ``milestones``, which are shares of the whole training.
    """
    warm_steps = math.ceil(warmup * total_steps)
    if step < warm_steps:
        return (step + 1) / warm_steps
    if decay == "step":
        return factor ** sum(step / total_steps >= share for share in milestones)
    progress = min((step - warm_steps) / max(1, total_steps - warm_steps), 1.0)
    if decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1 - progress if decay == "linear" else 1.0
