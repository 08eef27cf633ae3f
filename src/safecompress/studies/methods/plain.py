"""Dense controls: the big model as everybody trains it, and stopped early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from safecompress.errors import UsageError
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.training import TrainingState, train


@dataclass(frozen=True)
class Dense(Method):
    """The big model, trained to the end by plain cross entropy."""

    source: ClassVar[str] = "the setting's own recipe"

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The dense model."""
        return MethodResult(inputs.model, inputs.dense())

    def is_dense(self) -> bool:
        """It is."""
        return True


@dataclass(frozen=True)
class EarlyStopped(Method):
    """The big model after the epoch that classifies most validation rows right; of equal epochs after the first.

    It is the dense training itself, looked at after every epoch: learning rates follow the whole schedule.
    """

    source: ClassVar[str] = (
        "Folklore; named as a defence to compare with by Song & Mittal 2021. Unconfirmed: how others choose the epoch."
    )

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The dense model of the best epoch; a note names it. Raises UsageError without validation rows."""
        if not inputs.split.size("validation"):
            raise UsageError(
                "Early stopping watches the validation rows, and the split has none. Give it some (validation = ...)."
            )
        features, labels = inputs.split.part("validation")
        task, scratch = inputs.training_task(), inputs.fresh()
        per_epoch = task.recipe.steps_per_epoch(len(task.labels))
        state = TrainingState.capture(0, scratch)
        best, most_right, stopped = state, -1, 0
        for epoch in range(1, task.recipe.epochs + 1):
            state = train(scratch, state, task, until=epoch * per_epoch)
            num_right = int((inputs.logits(dict(state.model), features).argmax(1) == labels).sum())
            if num_right > most_right:
                best, most_right, stopped = state, num_right, epoch
        notes = (f"stopped after epoch {stopped} of {task.recipe.epochs}",)
        return MethodResult(inputs.model, best.model, notes=notes)

    def is_dense(self) -> bool:
        """It is."""
        return True
