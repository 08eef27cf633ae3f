"""The inputs of a training run (rows, recipe, seed, optional teacher) and its deterministic batches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from safecompress.errors import UsageError
from safecompress.seeding import derive
from safecompress.training.augment import augmented, check_images
from safecompress.training.layout import laid_out
from safecompress.training.objectives.base import Batch, Objective
from safecompress.training.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTask:
    """What training runs on: the rows, the recipe and the seed that orders them. Features (N, ...), labels (N,).

    ``teacher`` are a teacher's logits (N, C) of the rows, ``reference`` other rows and their labels, for objectives
    that need them. Raises UsageError, with the remedy, when the recipe's objective needs what is not there, or rows
    that are no images are to be augmented.
    """

    features: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    recipe: Recipe
    seed: int
    teacher: Tensor | None = field(default=None, repr=False)
    reference: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        objective = self.recipe.objective
        if "teacher" in objective.needs and self.teacher is None:
            raise UsageError(
                f"The objective {objective!r} learns from a teacher, and none is given. Give the task the logits of "
                "a trained model on its rows (teacher=...); a compression takes its dense model."
            )
        if "reference" in objective.needs and (self.reference is None or not len(self.reference[1])):
            raise UsageError(
                f"The objective {objective!r} needs reference rows: data of the same kind that belongs to nobody's "
                "training set. Give the split a population (population = ...), or the task reference=(x, y)."
            )
        if self.teacher is not None and len(self.teacher) != len(self.labels):
            raise UsageError(f"The teacher's logits are of {len(self.teacher)} rows, the task has {len(self.labels)}.")
        check_images(self.features, self.recipe.augmentations)

    def towards(self, objective: Objective) -> TrainingTask:
        """The same task with another objective."""
        if objective == self.recipe.objective:
            return self
        return replace(self, recipe=replace(self.recipe, objective=objective))

    @property
    def batch_size(self) -> int:
        """Rows of a step, as the recipe has it."""
        return self.recipe.batch_size

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.recipe.total_steps(len(self.labels))

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Row indices of each batch of an epoch; their order is drawn from the seed and the epoch's number."""
        order = derive(self.seed, "order", epoch).permutation(len(self.labels))
        return np.array_split(order, self.recipe.steps_per_epoch(len(self.labels)))


class Loader:
    """The task's batches by step, augmented, on ``device``; the current epoch's order is drawn once."""

    def __init__(self, task: TrainingTask, device: torch.device) -> None:
        self._task = task
        self._features, self._labels = task.features.to(device), task.labels.to(device)
        self._teacher = None if task.teacher is None else task.teacher.to(device)
        self._per_epoch = task.recipe.steps_per_epoch(len(task.labels))
        self._epoch = -1
        self._current: list[np.ndarray] = []

    def rows(self, step: int) -> Tensor:
        """The row indices of the batch at ``step``."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._current = epoch, self._task.epoch_batches(epoch)
        return torch.from_numpy(self._current[position])

    def at(self, step: int) -> Batch:
        """The batch at ``step``."""
        rows, task = self.rows(step), self._task
        teacher = None if self._teacher is None else self._teacher[rows]
        features = self._features.index_select(0, rows)
        if task.recipe.augment:
            features = augmented(features, task.recipe.augmentations, task.seed, step)
        labels, epoch = self._labels[rows], step // self._per_epoch
        return Batch(laid_out(features), labels, epoch, step / task.total_steps, teacher)
