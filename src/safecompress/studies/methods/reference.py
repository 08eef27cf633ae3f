"""What methods do with reference rows: require them before any training, and learn a teacher's soft labels of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from safecompress.errors import UsageError
from safecompress.studies.methods.budget import for_steps
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.training import TrainingTask
from safecompress.training.objectives.distill import Distillation


def require_reference(inputs: MethodInputs, method: object) -> None:
    """Raise UsageError when the split has no population."""
    if not inputs.split.size("population"):
        raise UsageError(
            f"{type(method).__name__} learns on reference rows: data of the same kind that belongs to nobody's "
            "training set. Give the split a population (population = ...), or leave this method out."
        )


def taught_on_reference(inputs: MethodInputs, teacher: Mapping[str, Tensor], temperature: float) -> TrainingTask:
    """A task on the reference rows, with the soft labels that the network with the weights ``teacher`` gives them.

    Their own labels are not read. It takes as many steps as a training on the members, to half an epoch.
    """
    features, labels = inputs.reference
    recipe = for_steps(inputs.recipe, len(labels), inputs.training_task().total_steps)
    recipe = replace(recipe, objective=Distillation(temperature, weight=1.0))
    return TrainingTask(features, labels, recipe, inputs.seed, teacher=inputs.logits(dict(teacher), features))
