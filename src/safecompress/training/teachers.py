"""Trains the teachers an objective distills from: the dense model, or sub-models that each hold out some rows."""

# N rows of a task, C classes, K sub-models.

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.digests import digest_json, digest_tensors
from safecompress.errors import UsageError
from safecompress.seeding import derive_seed
from safecompress.sparsity import parse_rules
from safecompress.training.dynamic import DynamicSparsity, train_sparse
from safecompress.training.identity import training_facts
from safecompress.training.inference import predict_logits
from safecompress.training.loop import train
from safecompress.training.objectives.base import CrossEntropy, SubModelOptions
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask

Weights = Mapping[str, Tensor]


class TensorStore(Protocol):
    """Keeps tensors by name, in a folder that only its owner reads."""

    def load(self, name: str, /) -> Mapping[str, Tensor] | None:
        """What is kept under ``name``, or None."""
        ...

    def save(self, name: str, tensors: Mapping[str, Tensor], /) -> None:
        """Keep ``tensors`` under ``name``."""
        ...


def train_whole(model: nn.Module, task: TrainingTask) -> Weights:
    """The weights of ``model`` after the whole task."""
    return train(model, TrainingState.capture(0, model), task, until=task.total_steps).model


@dataclass(frozen=True, eq=False)
class FoldTraining:
    """How sparse sub-models are trained: by ``recipe``, whatever its objective, in patterns of ``sparsity``.

    ``store`` keeps each as it ends, by content, so that a killed run has them; ``run`` maps over those to be trained,
    in this process or in others.
    """

    recipe: Recipe
    sparsity: DynamicSparsity
    store: TensorStore | None = field(default=None, repr=False)
    run: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]] = field(default=map, repr=False)


@dataclass(frozen=True, eq=False)
class Fold:
    """One sub-model to be trained: fresh ``model``, its own rows in ``task``, and all ``features`` (N, ...) to answer.

    It is what a worker receives.
    """

    model: nn.Module = field(repr=False)
    task: TrainingTask
    features: Tensor = field(repr=False)
    sparsity: DynamicSparsity
    store: TensorStore | None = field(default=None, repr=False)

    def logits(self) -> Tensor:
        """Its logits (N, C), from the store where it was trained before."""
        name = self._name() if self.store is not None else ""
        kept = self.store.load(name) if self.store is not None else None
        if kept is not None:
            return kept["logits"]
        model = copy.deepcopy(self.model)  # what was sent to workers lies in memory that all of them share
        trained = train_sparse(model, self.task, self.sparsity)
        model.load_state_dict(trained.state.model)
        logits_NC = predict_logits(model, self.features)
        if self.store is not None:
            self.store.save(name, {"logits": logits_NC})
        return logits_NC

    def _name(self) -> str:
        facts = training_facts(self.model, TrainingState.capture(0, self.model), self.task)
        return digest_json(["fold", *facts, repr(self.sparsity), digest_tensors({"all": self.features})])


@dataclass(frozen=True, eq=False)
class TeacherTrainer:
    """Trains teachers from the weights that ``model`` has, on ``task``, which is the dense model's.

    ``dense`` are the dense model's trained weights, where they are known already. ``train`` may be a function that
    caches what it trained. ``folds`` says how sparse sub-models are trained; ``units`` (N,) which rows belong together.
    """

    model: nn.Module = field(repr=False)
    task: TrainingTask
    dense: Weights | None = field(default=None, repr=False)
    train: Callable[[nn.Module, TrainingTask], Weights] = train_whole
    folds: FoldTraining | None = None
    units: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def num_rows(self) -> int:
        """Rows of the task."""
        return len(self.task.labels)

    @property
    def labels(self) -> Tensor:
        """Labels (N,) of the task."""
        return self.task.labels

    @property
    def seed(self) -> int:
        """The task's."""
        return self.task.seed

    def dense_logits(self) -> Tensor:
        """Logits (N, C) of the dense model for the task's rows."""
        return self._logits_of(self.dense if self.dense is not None else self.train(self._scratch(), self.task))

    def logits_without(self, is_out_N: Tensor, name: str) -> Tensor:
        """Logits (N, C), for all rows, of a model that was trained without those marked in ``is_out_N``."""
        return self._logits_of(self.train(self._scratch(), self._without(self.task, is_out_N, name)))

    def sub_model_logits(self, is_out_KN: Tensor, wanted: SubModelOptions) -> Sequence[Tensor]:
        """Logits (N, C), for all rows, of each sparse sub-model. Raises UsageError when none can be trained here."""
        if self.folds is None:
            raise UsageError(
                "Sub-models that teach are sparse, and it is not known how sparse: give the TeacherTrainer folds=... ."
            )
        plain, (drop, grow) = self.folds.recipe, parse_rules(wanted.rewiring)
        recipe = replace(plain, objective=CrossEntropy(), epochs=wanted.epochs or plain.epochs)
        whole = replace(self.task, recipe=recipe, teacher=None, reference=None)
        density = wanted.density or self.folds.sparsity.density
        sparsity = replace(self.folds.sparsity, density=density, drop=drop, grow=grow)
        work = [
            Fold(
                self.model, self._without(whole, is_out_N, f"fold {k}"), self.task.features, sparsity, self.folds.store
            )
            for k, is_out_N in enumerate(is_out_KN)
        ]
        return list(self.folds.run(Fold.logits, work))

    def _without(self, task: TrainingTask, is_out_N: Tensor, name: str) -> TrainingTask:
        """``task`` without the rows marked in ``is_out_N``."""
        seen = torch.nonzero(~is_out_N).flatten()
        features, labels = task.features[seen], task.labels[seen]
        return replace(task, features=features, labels=labels, seed=derive_seed(task.seed, name))

    def _scratch(self) -> nn.Module:
        return copy.deepcopy(self.model)

    def _logits_of(self, learned: Weights) -> Tensor:
        model = self._scratch()
        model.load_state_dict(learned)
        return predict_logits(model, self.task.features)
