"""How long calls take: in turns, so that what disturbs one disturbs all; medians, with intervals that know of drift."""

# R rounds

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from safecompress.metrics.measurement import Interval

Call = Callable[[], object]

CONFIDENCE = 0.95
BLOCK_S = 0.004  # of calls of one kind before it is the next one's turn: long enough to warm caches


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of every timed call, in blocks: one for each round, all calls having had a block in every round."""

    blocks: tuple[tuple[float, ...], ...] = field(repr=False)

    @property
    def num_calls(self) -> int:
        """Calls of all blocks."""
        return sum(map(len, self.blocks))

    def quantile(self, share: float) -> float:
        """Seconds that a ``share`` of the calls stayed within."""
        return float(np.quantile(np.concatenate(self.blocks), share))

    def medians(self) -> list[float]:
        """The median of each round."""
        return [float(np.median(block)) for block in self.blocks]


def in_turns(calls: Mapping[str, Call], *, rounds: int, block_s: float = BLOCK_S) -> dict[str, Timing]:
    """Time every call in ``rounds`` blocks of at least ``block_s`` seconds and one call, each block after a warm-up."""
    blocks: dict[str, list[tuple[float, ...]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            blocks[name].append(_block(call, block_s))
    return {name: Timing(tuple(done)) for name, done in blocks.items()}


def quickest(calls: Mapping[str, Call], *, rounds: int = 3, block_s: float = 0.001) -> dict[str, float]:
    """Seconds that each call takes, the shortest first: the least of its rounds' medians, in a few milliseconds."""
    taken = {name: min(timing.medians()) for name, timing in in_turns(calls, rounds=rounds, block_s=block_s).items()}
    return dict(sorted(taken.items(), key=lambda pair: pair[1]))


def median_interval(values: Sequence[float], scale: float = 1.0, *, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the median of R independent ``values``, times ``scale``, between two of them (order statistics).

    It holds at the level ``confidence``; its ranks are those of the normal approximation to the binomial distribution.
    Rounds, not calls, are what comes near to independence: whatever else the machine does lasts longer than one call.
    """
    ordered, num = sorted(values), len(values)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(num) / 2
    low, high = max(0, math.floor(num / 2 - reach)), min(num - 1, math.ceil(num / 2 + reach) - 1)
    return Interval(ordered[low] * scale, ordered[max(low, high)] * scale, confidence)


def _block(call: Call, seconds: float) -> tuple[float, ...]:
    taken: list[float] = []
    begun = now = time.perf_counter()
    while not taken or now - begun < seconds:
        before = time.perf_counter()
        call()
        now = time.perf_counter()
        taken.append(now - before)
    return tuple(taken)
