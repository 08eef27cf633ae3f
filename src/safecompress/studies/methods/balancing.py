"""Pair-based posterior balancing: fine-tuning after a cut in which any two rows' sorted posteriors become alike."""

# B rows of a batch, P pairs of rows, C classes.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from safecompress.ranges import require_within
from safecompress.sparsity import ALLOCATIONS
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.studies.methods.pruning import pruned
from safecompress.training import Batch, Objective


@dataclass(frozen=True)
class PosteriorBalancing(Objective):
    """CE + weight * KL(R(p_b) || R(p_a)), the mean over pairs (a, b); R sorts a posterior.

    The first half of a batch is paired with the second; an odd row is left over. Batches are drawn in random order, so
    the pairs are random. Both rows of a pair move.

    Source: Yuan & Zhang 2022, USENIX Security; halves, direction and weight as in their published code.
    """

    weight: float = 4.0

    def __post_init__(self) -> None:
        require_within(self, "weight", least=0, advice="0 is plain cross entropy.")

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0; of a single row its cross entropy."""
        loss = cross_entropy(logits_BC, batch.labels_B)
        num_pairs = len(logits_BC) // 2
        if num_pairs == 0:
            return loss
        log_ranked_BC = log_softmax(logits_BC, dim=1).sort(dim=1, descending=True).values
        first_PC, second_PC = log_ranked_BC[:num_pairs], log_ranked_BC[num_pairs : 2 * num_pairs]
        return loss + self.weight * kl_div(first_PC, second_PC, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class PosteriorBalanced(Method):
    """The dense model cut by magnitude at once, then fine-tuned for one whole training by posterior balancing."""

    weight: float = 4.0
    allocation: str = "erk"

    source: ClassVar[str] = (
        "Yuan & Zhang 2022, USENIX Security (PPB); the loss as in their published code. Differs: counts by ERK, no "
        "early stop, one whole training, where that code takes half as many epochs. Unconfirmed: the paper's weights."
    )

    def __post_init__(self) -> None:
        PosteriorBalancing(self.weight)
        ALLOCATIONS.make(self.allocation)

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The pruned model."""
        recipe = replace(inputs.recipe, objective=PosteriorBalancing(self.weight))
        return pruned(inputs, inputs.dense(), inputs.training_task(recipe), self.allocation)
