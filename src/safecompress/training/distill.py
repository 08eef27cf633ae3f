"""Distillation: learning from a teacher's probabilities beside, or instead of, the labels."""

# B rows of a batch, C classes.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from safecompress.errors import UsageError
from safecompress.training.checks import require_within
from safecompress.training.objective import Batch, Need, Objective


@dataclass(frozen=True)
class Distillation(Objective):
    """weight * T^2 * KL(teacher_T || student_T) + (1 - weight) * CE, both softened by the ``temperature`` T.

    The KL is the mean over rows; T^2 keeps its gradient's size when T changes (Hinton et al. 2015, section 2). With
    ``weight`` 1 the labels are not read, so rows without any will do; what the teacher leaked comes along.
    """

    temperature: float = 4.0
    weight: float = 0.9
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        require_within(
            self,
            "temperature",
            least=0.1,
            most=100,
            advice="1 takes the teacher's probabilities as they are; more makes them softer.",
        )
        require_within(
            self, "weight", least=0, most=1, advice="1 learns from the teacher alone, 0 from the labels alone."
        )

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0. Raises UsageError for a batch without a teacher's logits."""
        if batch.teacher_BC is None:
            raise UsageError("Distillation: the batch has no teacher's logits. Give its course teacher=... .")
        student_BC = log_softmax(logits_BC / self.temperature, dim=1)
        teacher_BC = log_softmax(batch.teacher_BC.detach().to(logits_BC) / self.temperature, dim=1)
        divergence = kl_div(student_BC, teacher_BC, reduction="batchmean", log_target=True)
        taught = self.weight * self.temperature**2 * divergence
        if self.weight == 1:
            return taught
        return taught + (1 - self.weight) * cross_entropy(logits_BC, batch.labels_B)
