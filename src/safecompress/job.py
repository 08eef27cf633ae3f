"""A Job: everything that one run depends on, checked before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.data import DataSplit
from safecompress.data.sizes import MEMBER_POOLS, NONMEMBER_POOLS
from safecompress.deploy import Served, TaskInfo
from safecompress.errors import DataError, ModelError
from safecompress.models import ModelSpec
from safecompress.report import digest_json
from safecompress.search import Plan
from safecompress.spec import SafetySpec
from safecompress.training import Course, Recipe, digest_tensors


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a run depends on; equal jobs end in equal digests.

    ``model`` carries the fresh weights that dense and sparse training start from. ``split`` is what it reads, ``raw``
    the same rows as the data file has them: ``task`` leads from one to the other. ``dense`` are trained dense weights
    (a state dict) to use instead of training them. ``data_digest`` names the rule that drew the rows, not the rows.
    Equal digests are promised for ``device`` "cpu" only.
    """

    name: str
    model: nn.Module = field(repr=False)
    model_spec: ModelSpec | None
    split: DataSplit
    raw: DataSplit
    task: TaskInfo
    spec: SafetySpec
    recipe: Recipe
    dense_recipe: Recipe
    plan: Plan
    seed: int
    dense: Mapping[str, Tensor] | None = field(default=None, repr=False)
    data_digest: str = ""
    device: str = "cpu"

    @property
    def sparse_course(self) -> Course:
        """What the sparse model and every candidate are trained on."""
        return Course(*self.split.part("train"), self.recipe, self.seed)

    def scratch(self) -> nn.Module:
        """A copy of the model to work on, on the job's device."""
        return copy.deepcopy(self.model).to(self.device)

    def dense_network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The dense model with ``weights``, reading raw samples."""
        model = self.scratch()
        model.load_state_dict(weights)
        return Served(model, self.task)

    def digest(self, key: bytes) -> str:
        """What tells this job from any other; the rows enter as digests keyed with ``key``."""
        parts = [self.recipe, self.dense_recipe, self.plan, self.spec, self.seed, self.task.class_names]
        rows = self.raw.digest(key)
        weights = [digest_tensors(self.model.state_dict()), digest_tensors(self.dense or {})]
        return digest_json([__version__, *map(repr, parts), weights, rows, digest_tensors(self.task.tensors())])

    def check(self) -> None:
        """Raise, before any training, what the run would trip over: DataError, ModelError or UsageError."""
        self.plan.check_steps(self.sparse_course.total_steps)
        _check_parts(self)
        _check_fit(self)

    @property
    def dense_course(self) -> Course:
        """What the dense model is trained on."""
        return Course(*self.split.part("train"), self.dense_recipe, self.seed)


def _check_parts(job: Job) -> None:
    """Raise DataError when a part that the run reads has no rows."""
    needed = ["train", "validation", "test", *MEMBER_POOLS, *NONMEMBER_POOLS]
    empty = [part for part in needed if not job.split.size(part)]
    if empty:
        raise DataError(
            f"These parts of the split have no rows, and a run needs them: {', '.join(empty)}. Give each a size."
        )


def _check_fit(job: Job) -> None:
    """Raise ModelError, before any training, when the model does not turn a batch of the data into class scores."""
    features, _ = job.split.part("train")
    num_classes = job.split.dataset.num_classes
    model = job.scratch().eval()
    try:
        with torch.inference_mode():
            shape = tuple(model(features[:2].to(next(model.parameters()).device)).shape)
    except Exception as error:
        raise ModelError(
            f"The model cannot read the data: features of shape {tuple(features.shape[1:])} gave {error}. Choose a "
            "model for this shape, or reshape the features."
        ) from error
    if shape != (2, num_classes):
        raise ModelError(
            f"The model gives outputs of shape {shape} for two rows; {(2, num_classes)} is needed: one score for each "
            f"of the {num_classes} classes."
        )
