"""Trains the teachers an objective distills from: the dense model, or sub-models that each hold out some rows."""

# N rows of a task, C classes.

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from safecompress.seeding import derive_seed
from safecompress.training.inference import predict_logits
from safecompress.training.loop import train
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask

Weights = Mapping[str, Tensor]


def train_whole(model: nn.Module, task: TrainingTask) -> Weights:
    """The weights of ``model`` after the whole task."""
    return train(model, TrainingState.capture(0, model), task, until=task.total_steps).model


@dataclass(frozen=True, eq=False)
class TeacherTrainer:
    """Trains teachers from the weights that ``model`` has, on ``task``, which is the dense model's.

    ``dense`` are the dense model's trained weights, where they are known already. ``train`` may be a function that
    caches what it trained.
    """

    model: nn.Module = field(repr=False)
    task: TrainingTask
    dense: Weights | None = field(default=None, repr=False)
    train: Callable[[nn.Module, TrainingTask], Weights] = train_whole

    @property
    def num_rows(self) -> int:
        """Rows of the task."""
        return len(self.task.labels)

    @property
    def seed(self) -> int:
        """The task's."""
        return self.task.seed

    def dense_logits(self) -> Tensor:
        """Logits (N, C) of the dense model for the task's rows."""
        return self._logits_of(self.dense if self.dense is not None else self.train(self._scratch(), self.task))

    def logits_without(self, is_out_N: Tensor, name: str) -> Tensor:
        """Logits (N, C), for all rows, of a model that was trained without those marked in ``is_out_N``."""
        seen = torch.nonzero(~is_out_N).flatten()
        features, labels = self.task.features[seen], self.task.labels[seen]
        own = replace(self.task, features=features, labels=labels, seed=derive_seed(self.task.seed, name))
        return self._logits_of(self.train(self._scratch(), own))

    def _scratch(self) -> nn.Module:
        return copy.deepcopy(self.model)

    def _logits_of(self, learned: Weights) -> Tensor:
        model = self._scratch()
        model.load_state_dict(learned)
        return predict_logits(model, self.task.features)
