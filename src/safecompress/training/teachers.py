"""A School: where an objective's teachers are trained, the dense model or sub-models that each miss some rows."""

# N rows of a course, C classes.

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
from safecompress.training.task import Course

Weights = Mapping[str, Tensor]


def train_whole(model: nn.Module, course: Course) -> Weights:
    """The weights of ``model`` after the whole course."""
    return train(model, TrainingState.capture(0, model), course, until=course.total_steps).model


@dataclass(frozen=True, eq=False)
class School:
    """Trains teachers from the weights that ``model`` has, by ``course``, that of the dense model.

    ``dense`` are its trained weights, where they are known already. ``train`` may be one that remembers.
    """

    model: nn.Module = field(repr=False)
    course: Course
    dense: Weights | None = field(default=None, repr=False)
    train: Callable[[nn.Module, Course], Weights] = train_whole

    @property
    def num_rows(self) -> int:
        """Rows of the course."""
        return len(self.course.labels)

    @property
    def seed(self) -> int:
        """The course's."""
        return self.course.seed

    def ask_dense(self) -> Tensor:
        """What the dense model says of the course's rows: logits (N, C)."""
        return self._said(self.dense if self.dense is not None else self.train(self._scratch(), self.course))

    def ask_without(self, is_out_N: Tensor, name: str) -> Tensor:
        """What a model says of all rows that was trained without those marked in ``is_out_N``: logits (N, C)."""
        seen = torch.nonzero(~is_out_N).flatten()
        features, labels = self.course.features[seen], self.course.labels[seen]
        own = replace(self.course, features=features, labels=labels, seed=derive_seed(self.course.seed, name))
        return self._said(self.train(self._scratch(), own))

    def _scratch(self) -> nn.Module:
        return copy.deepcopy(self.model)

    def _said(self, weights: Weights) -> Tensor:
        model = self._scratch()
        model.load_state_dict(weights)
        return predict_logits(model, self.course.features)
