"""What methods do with reference rows: ask for them before any training, and learn there what a teacher says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from safecompress.errors import UsageError
from safecompress.studies.methods.budget import for_steps
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.training import Course
from safecompress.training.objectives.distill import Distillation


def require_reference(setting: MethodInputs, method: object) -> None:
    """Raise UsageError when the split has no population."""
    if not setting.split.size("population"):
        raise UsageError(
            f"{type(method).__name__} learns on reference rows: data of the same kind that belongs to nobody's "
            "training set. Give the split a population (population = ...), or leave this method out."
        )


def taught_on_reference(setting: MethodInputs, teacher: Mapping[str, Tensor], temperature: float) -> Course:
    """A course on the reference rows and the soft labels that the setting's network with ``teacher``'s weights gives
    them; their own labels are not read. It takes as many steps as a training on the members, to half an epoch."""
    features, labels = setting.reference
    recipe = for_steps(setting.recipe, len(labels), setting.course().total_steps)
    recipe = replace(recipe, objective=Distillation(temperature, weight=1.0))
    return Course(features, labels, recipe, setting.seed, teacher=setting.logits(dict(teacher), features))
