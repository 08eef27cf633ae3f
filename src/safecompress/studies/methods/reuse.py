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

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The pruned model."""
        weights, pattern = inputs.dense(), None
        features, labels = inputs.split.part("train")
        loss_N = cross_entropy(inputs.logits(weights, features), labels, reduction="none")
        steps = inputs.training_task().total_steps / self.rounds
        used = self.rows_of_rounds(loss_N, inputs.seed)
        for number, density in enumerate(falling(inputs.density, self.rounds)):
            rows = torch.from_numpy(used[number])
            pattern = cut(inputs, weights, density, self.allocation)
            recipe = for_steps(inputs.recipe, len(rows), steps)
            task = TrainingTask(features[rows], labels[rows], recipe, derive_seed(inputs.seed, "round", number))
            weights = inputs.cache.train(inputs.network(weights), task, pattern=pattern)
        return MethodResult(inputs.model, weights, pattern)

    def rows_of_rounds(self, loss_N: Tensor, seed: int) -> list[NDArray[np.int64]]:
        """The rows of each round, ascending: memorised ones in one random round each, all others in every round."""
        order = np.argsort(loss_N.numpy(), kind="stable")
        count = min(round(self.share * len(order)), len(order) - 1)  # no round without rows
        dealt = np.array_split(derive(seed, "reuse").permutation(order[:count]), self.rounds)
        return [np.sort(np.concatenate([rows, order[count:]])) for rows in dealt]
