"""Iterative pruning that uses the most memorised rows less often."""

# N member rows, R rounds.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from safecompress.errors import UsageError
from safecompress.seeding import derive, derive_seed
from safecompress.sparsity import ALLOCATIONS
from safecompress.studies.methods.budget import for_steps
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.studies.methods.pruning import cut, falling, require_counts
from safecompress.training import TrainingTask


@dataclass(frozen=True)
class WeMem(Method):
    """Iterative magnitude pruning in which the ``share`` of rows memorised most is in one round's fine-tuning only.

    Memorised most are the rows of smallest loss under the dense model (`rows_of_rounds`). Every cut keeps the same
    share of what was left. The ``rounds`` of fine-tuning take as many steps together as one whole training, in equal
    parts.
    """

    rounds: int = 3
    share: float = 0.5
    allocation: str = "erk"

    source: ClassVar[str] = (
        "After WeMem, Shang et al. 2025, NDSS. Confirmed by its abstract: iterative pruning memorises through data "
        "reuse and inherent memorability, and the defence weakens both. Unconfirmed, and ours: which rows count as "
        "memorised (smallest loss under the dense model), how often they are reused, the rounds, and all sizes."
    )

    def __post_init__(self) -> None:
        ALLOCATIONS.make(self.allocation)
        require_counts(self, ["rounds"])
        if not 0 <= self.share <= 1:
            raise UsageError(
                f"{type(self).__name__}: share must lie in [0, 1], the share of rows used once; got {self.share!r}."
            )

    def make(self, setting: MethodInputs) -> MethodResult:
        """The pruned model."""
        weights, pattern = setting.dense(), None
        features, labels = setting.split.part("train")
        loss_N = cross_entropy(setting.logits(weights, features), labels, reduction="none")
        steps = setting.course().total_steps / self.rounds
        used = self.rows_of_rounds(loss_N, setting.seed)
        for number, density in enumerate(falling(setting.density, self.rounds)):
            rows = torch.from_numpy(used[number])
            pattern = cut(setting, weights, density, self.allocation)
            recipe = for_steps(setting.recipe, len(rows), steps)
            course = TrainingTask(features[rows], labels[rows], recipe, derive_seed(setting.seed, "round", number))
            weights = setting.workshop.train(setting.network(weights), course, pattern=pattern)
        return MethodResult(setting.model, weights, pattern)

    def rows_of_rounds(self, loss_N: Tensor, seed: int) -> list[NDArray[np.int64]]:
        """The rows of each round, ascending: the memorised ones dealt out by lot, one round each; all others always."""
        order = np.argsort(loss_N.numpy(), kind="stable")
        count = min(round(self.share * len(order)), len(order) - 1)  # no round without rows
        dealt = np.array_split(derive(seed, "reuse").permutation(order[:count]), self.rounds)
        return [np.sort(np.concatenate([rows, order[count:]])) for rows in dealt]
