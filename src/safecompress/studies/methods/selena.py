"""Split distillation: each member row is taught by sub-models that never saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern, rescale_
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.studies.methods.pruning import require_counts
from safecompress.training import TeacherTrainer
from safecompress.training.objectives.distill import SplitDistillation


@dataclass(frozen=True)
class SplitDistilled(Method):
    """Sub-models that each miss some rows; a student learns each member row from the sub-models that missed it.

    What `SplitDistillation` does, by the soft labels alone, to a fresh student of the dense model's kind; with
    ``sparse`` to one in a static ERK pattern at the density. With the defaults the sub-models take three trainings.
    """

    num_models: int = 5
    held_out: int = 2
    sparse: bool = False

    source: ClassVar[str] = (
        "Tang et al. 2022, USENIX Security (SELENA); soft labels and student as in its published code. Differs: fewer "
        "sub-models than the 25 of that code, of which it holds each row out of 10; held out in equal numbers, not by "
        "lot for each row; no epoch is chosen. Unconfirmed: the paper's own settings."
    )

    def __post_init__(self) -> None:
        require_counts(self, ["num_models", "held_out"])
        SplitDistillation(num_models=self.num_models, held_out=self.held_out)

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The student, dense unless ``sparse``."""
        objective = SplitDistillation(num_models=self.num_models, held_out=self.held_out)
        logits_NC = objective.teacher_logits(
            TeacherTrainer(inputs.fresh(), inputs.training_task(), train=inputs.cache.train)
        )
        student = inputs.fresh("student")
        pattern = _static(inputs, student) if self.sparse else None
        task = inputs.training_task(replace(inputs.recipe, objective=objective), teacher=logits_NC)
        return MethodResult(inputs.model, inputs.cache.train(student, task, pattern=pattern), pattern)

    def is_dense(self) -> bool:
        """Unless a sparse student was asked for."""
        return not self.sparse


def _static(inputs: MethodInputs, student: nn.Module) -> SparsityPattern:
    """A random ERK pattern at the density asked for; ``student`` is rescaled for its active weights."""
    pattern = initial_pattern(
        find_maskable(student), inputs.density, allocation=AllocateErk(), start=Start.SCRATCH, seed=inputs.seed
    )
    rescale_(student, pattern)
    return pattern
