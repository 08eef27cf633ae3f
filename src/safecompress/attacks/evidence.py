"""Evidence: what an attack brings back about each row. The framework makes all figures of it.

N rows, S ways to split an attack's shadow models in two, H halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import AttackError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import FPRS

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RankingNoise:
    """What draws of shadow models add to each figure of a ranking, ``tprs`` by false positive rate."""

    auc: stats.DrawNoise
    advantage: stats.DrawNoise
    tprs: Mapping[float, stats.DrawNoise]

    @property
    def balanced_accuracy(self) -> stats.DrawNoise:
        """That of half of the advantage."""
        return stats.DrawNoise(self.advantage.variance / 4, self.advantage.df)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores that should set the rows of one kind above the others.

    ``scores_N`` (N,) are finite, higher = more surely true; ``truth_N`` (N,) is what is true (is a member,
    has the value); rows at or above ``threshold`` are called true. They stay in the process: never printed, logged or
    written.

    ``halves_SHN`` (S, 2, N) are the scores by either half of the attack's shadow models, for several ways to split
    them. They say how far its figures hang on which shadows were drawn; None for attacks without shadows, or with too
    few to be split.
    """

    scores_N: NDArray[np.float64] = field(repr=False)
    truth_N: Bools = field(repr=False)
    threshold: float
    halves_SHN: NDArray[np.float64] | None = field(default=None, repr=False)

    @cached_property
    def noise(self) -> RankingNoise:
        """How far the figures hang on the draw of shadows; nothing without halves."""
        halves_SHN, is_member = self.halves_SHN, self.truth_N
        if halves_SHN is None:
            none = stats.DrawNoise()
            return RankingNoise(none, none, dict.fromkeys(FPRS, none))
        return RankingNoise(
            stats.auc_noise(halves_SHN, is_member),
            stats.advantage_noise(halves_SHN, is_member, self.threshold),
            {fpr: stats.tpr_noise(halves_SHN, is_member, fpr) for fpr in FPRS},
        )


@dataclass(frozen=True, eq=False)
class Tally:
    """Whether an attack succeeded on each row: ``is_hit_N`` (N,), among the rows that count, ``is_counted_N`` (N,).

    An evasion attack counts the rows that the model classifies right without it. Raises AttackError for unequal
    lengths, for arrays that are not bool, and where no row counts.
    """

    is_hit_N: Bools = field(repr=False)
    is_counted_N: Bools = field(repr=False)

    def __post_init__(self) -> None:
        arrays = (self.is_hit_N, self.is_counted_N)
        if len({array.shape for array in arrays}) > 1 or any(array.dtype != np.bool_ for array in arrays):
            raise AttackError(
                f"A tally needs two bool arrays of one length, got shapes {[array.shape for array in arrays]} and "
                f"types {[str(array.dtype) for array in arrays]}."
            )
        if not self.is_counted_N.any():
            raise AttackError(
                "No row counts, so that there is no rate: an attack that counts only what the model classifies right "
                "needs a model that classifies something right."
            )

    @property
    def num_hits(self) -> int:
        """Rows that count and were hit."""
        return int(np.count_nonzero(self.is_hit_N & self.is_counted_N))

    @property
    def num_counted(self) -> int:
        """Rows that count."""
        return int(np.count_nonzero(self.is_counted_N))


Evidence = Ranking | Tally
