"""A Job: everything that one run depends on, checked before anything is trained."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks import capabilities_of
from safecompress.compression.search import Plan
from safecompress.data import DataSplit, unit_ids
from safecompress.data.sizes import MEMBER_POOLS, NONMEMBER_POOLS
from safecompress.digests import digest_json, digest_tensors
from safecompress.errors import ArtifactError, DataError, ModelError, UsageError
from safecompress.export import Artifact, Packing, ServedModel, TaskInfo
from safecompress.models import ModelSpec
from safecompress.networks import (
    FreshNetwork,
    WeightFactory,
    copied,
    fault_of_answers,
    fault_of_training,
    fitted,
    read_for_training,
    undrawable,
    unwrapped,
    with_plain_weights,
)
from safecompress.seeding import seeded
from safecompress.sparsity import Start, find_maskable
from safecompress.sparsity.allocate import count_active
from safecompress.spec import SafetySpec
from safecompress.training import CrossEntropy, Objective, Recipe, TeacherTrainer, TrainingTask, engine_name
from safecompress.training.amp import check_amp
from safecompress.training.augment import check_images
from safecompress.training.dynamic import DynamicSparsity
from safecompress.training.objectives.base import Need
from safecompress.training.teachers import FoldTraining, TensorStore

DENSE_WEIGHTS = "The dense weights"

ASKED = 16
"""Rows that a model is asked before anything is trained."""

MIN_FIT = 20
"""Fewest members, and non-members, on which attackers may be oriented."""


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a run depends on; equal jobs end in equal digests.

    ``model`` carries the fresh weights that dense and sparse training start from. ``split`` is what it reads, ``raw``
    the same rows as the data file has them: ``task`` leads from one to the other. ``dense`` are trained dense weights
    (a state dict) to use instead of training them. ``data_digest`` names the rule that drew the rows, not the rows.
    ``packing`` says how the trained model becomes the file that ships. Equal digests are promised for ``device`` "cpu"
    only. ``factory`` makes networks of the user's own class with fresh weights, for shadow models. ``notes`` are
    sentences for the report, such as how the model was read (`read_model`). ``weights_path`` is the file that ``dense``
    came from.
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
    packing: Packing = Packing()
    factory: WeightFactory | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    weights_path: Path | None = None

    @property
    def total_steps(self) -> int:
        """Optimizer steps of sparse training."""
        return self.recipe.total_steps(self.split.size("train"))

    @property
    def dense_steps(self) -> int:
        """Optimizer steps of the dense model."""
        return self.dense_recipe.total_steps(self.split.size("train"))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What sparse training may minimise: the recipe's objective, and those of branches."""
        return (self.recipe.objective, *self.plan.objectives)

    def needs(self, what: Need) -> bool:
        """Whether an objective of sparse training needs ``what``."""
        return any(what in objective.needs for objective in self.objectives)

    @property
    def asks_dense(self) -> bool:
        """Whether the dense model is the teacher."""
        return any(objective.teacher_key == "dense" for objective in self.objectives)

    @property
    def reference(self) -> tuple[Tensor, Tensor] | None:
        """The population, where an objective needs reference rows."""
        needed = self.needs("reference") or "reference" in self.dense_recipe.objective.needs
        return self.split.part("population") if needed else None

    @property
    def dense_task(self) -> TrainingTask:
        """What the dense model is trained on."""
        return TrainingTask(*self.split.part("train"), self.dense_recipe, self.seed, reference=self.reference)

    def teacher(
        self,
        dense_weights: Mapping[str, Tensor],
        *,
        store: TensorStore | None = None,
        run: Callable[..., Iterator[Any]] = map,
    ) -> Tensor | None:
        """The logits (N, C) of the objectives' teacher for the train rows, or None.

        ``dense_weights`` are the trained dense model's. Sparse sub-models are kept in ``store`` and mapped by ``run``.
        """
        for objective in self.objectives:
            if "teacher" in objective.needs:
                folds, units = None, None
                if "folds" in objective.needs:
                    folds, units = FoldTraining(self.recipe, self.sub_models, store, run), self.train_units
                trainer = TeacherTrainer(
                    self.scratch(), self.dense_task, dense_weights or None, folds=folds, units=units
                )
                return objective.teacher_logits(trainer)
        return None

    @property
    def sub_models(self) -> DynamicSparsity:
        """How sparse sub-models that teach are trained."""
        return self.plan.sub_models()

    @property
    def train_units(self) -> NDArray[np.int64]:
        """The unit (N,) of each train row: rows of one unit belong together."""
        return unit_ids(self.raw.dataset)[self.raw.indices["train"]]

    def sparse_task(self, teacher: Tensor | None) -> TrainingTask:
        """What the sparse model and every candidate are trained on."""
        return TrainingTask(*self.split.part("train"), self.recipe, self.seed, teacher, self.reference)

    def scratch(self) -> nn.Module:
        """A copy of the model to work on, on the job's device."""
        return copied(self.model).to(self.device)

    def fresh(self, seed: int) -> nn.Module:
        """The network with new weights that belong to ``seed``."""
        if self.model_spec is not None:
            return self.model_spec.fresh(seed)
        with seeded(seed, "model"):
            return FreshNetwork(self.model, self.factory)()

    def dense_network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The dense model with ``weights``, reading raw samples."""
        model = self.scratch()
        model.load_state_dict(weights)
        return ServedModel(model, self.task)

    def digest(self, key: bytes) -> str:
        """Identifies this job among all others; the rows enter as digests keyed with ``key``."""
        plan = replace(
            self.plan, attacks=tuple(attack for tier in self.plan.tests(self.spec.attacks) for attack in tier)
        )
        parts = [self.recipe, self.dense_recipe, plan, self.spec, self.seed, self.task.class_names, self.packing]
        spec = self.model_spec and self.model_spec.stored()
        parts += [] if self.task.table is None else [self.task.table]
        parts += [spec, self.model]  # weights alone do not tell one dropout from another
        rows = self.raw.digest(key)
        weights = [digest_tensors(self.model.state_dict()), digest_tensors(self.dense or {})]
        numerics = [torch.__version__, torch.get_num_threads(), engine_name(), self.device]
        return digest_json(
            [__version__, *numerics, *map(repr, parts), weights, rows, digest_tensors(self.task.tensors())]
        )

    def check(self) -> None:
        """Raise, before any training, what would stop the run later: DataError, ModelError or UsageError."""
        self.plan.check_steps(self.total_steps)
        _check_parts(self)
        check_canaries(self.spec, self.split)
        _check_objectives(self)
        _check_device(self)
        _check_recipes(self)
        _check_fit(self)
        _check_answers(self)
        _check_fresh(self)
        _check_dense(self)
        _check_sparse(self)
        _check_storable(self)

    def check_training(self) -> None:
        """Raise what would stop the sparse training: too few steps, an objective or a granularity that does not fit."""
        self.plan.check_steps(self.total_steps)
        _check_objectives(self)
        _check_sparse(self)


def _check_parts(job: Job) -> None:
    """Raise DataError when a part that the run reads has no rows."""
    needed = ["train", "validation", "test", *MEMBER_POOLS, *NONMEMBER_POOLS]
    empty = [part for part in needed if not job.split.size(part)]
    small = [part for part in ("member_fit", "nonmember_fit") if 0 < job.split.size(part) < MIN_FIT]
    if small:
        raise DataError(
            f"Attackers find their sign and threshold on member_fit and nonmember_fit; {' and '.join(small)} must have "
            f"at least {MIN_FIT} rows, or an attack could point the wrong way by chance."
        )
    if empty:
        raise DataError(
            f"These parts of the split have no rows, and a run needs them: {', '.join(empty)}. Give each a size."
        )


def check_canaries(spec: SafetySpec, split: DataSplit) -> None:
    """Raise UsageError unless ``split`` has as many canaries as ``spec`` asks about."""
    planted = split.size("canaries")
    if planted != spec.canaries:
        raise UsageError(
            f"The spec says canaries = {spec.canaries}, and the split has {planted}. They are planted before a "
            "model is trained, with plant_canaries(split, ..., seed=...), and the spec must say how many; a model that "
            "was trained elsewhere has none."
        )


def _check_objectives(job: Job) -> None:
    """Raise UsageError when an objective needs what the job cannot give it."""
    dense = job.dense_recipe.objective
    if job.plan.arms is not None and job.recipe.objective != CrossEntropy():
        raise UsageError(
            f"Arms are taught by their sub-models, and the recipe's objective {job.recipe.objective!r} says otherwise. "
            "Leave the objective out, or search by rewiring."
        )
    if "teacher" in dense.needs:
        raise UsageError(
            f"The dense model cannot be trained by {dense!r}: the dense model is the teacher. Give dense_recipe "
            "another objective, such as cross_entropy."
        )
    for objective in job.objectives:
        if "folds" in objective.needs:
            objective.check_rows(job.split.part("train")[1], job.train_units)
    teacher_keys = {one.teacher_key for one in job.objectives if "teacher" in one.needs}
    if len(teacher_keys) > 1:
        raise UsageError(
            f"The objectives of one search share one teacher, and these ask for {len(teacher_keys)}: "
            f"{', '.join(sorted(teacher_keys))}. Keep those of one teacher."
        )
    needing = [repr(one) for one in (*job.objectives, dense) if "reference" in one.needs]
    if needing and not job.split.size("population"):
        raise UsageError(
            f"{', '.join(dict.fromkeys(needing))}: this objective needs reference rows, of the same kind as the data "
            "and nobody's members. They are the split's population: give it rows (population = ...)."
        )


def _check_device(job: Job) -> None:
    """Raise UsageError when there is no such device here."""
    try:
        torch.empty(0, device=job.device)
    except Exception as error:  # which one depends on how PyTorch was built
        reason = (str(error) or repr(error)).splitlines()[0]
        raise UsageError(
            f"The device {job.device!r} cannot be used here: {reason}. Use 'cpu', or install a PyTorch built for it."
        ) from error


def _check_recipes(job: Job) -> None:
    """Raise UsageError when the rows, the device or a branch's objective do not suit a recipe."""
    features, _ = job.split.part("train", 1)
    for recipe in (job.dense_recipe, *(replace(job.recipe, objective=one) for one in job.objectives)):
        check_images(features, recipe.augmentations)
        check_amp(recipe.amp, torch.device(job.device))


def _check_fit(job: Job) -> None:
    """Raise ModelError when the model does not turn a batch of the data into class scores."""
    features, _ = job.split.part("train", 2)
    num_classes, shape = job.split.dataset.num_classes, tuple(features.shape[1:])
    if job.model_spec is not None and job.model_spec.input_shape != shape:
        raise ModelError(
            f"The model is made for features of shape {job.model_spec.input_shape}, and the data has {shape}. Make the "
            "ModelSpec with the data's input_shape."
        )
    _check_vocabulary(job)
    try:
        with torch.inference_mode():
            scores = job.scratch().eval()(features.to(job.device))
    except Exception as error:
        raise ModelError(
            f"The model cannot read the data: features of shape {shape} gave {type(error).__name__}: {error}. Choose a "
            "model for this shape, or reshape the features."
        ) from error
    got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"the type {type(scores).__name__}"
    if got != f"shape {(2, num_classes)}":
        raise ModelError(
            f"The model gives outputs of {got} for two rows; a tensor of shape {(2, num_classes)} is needed: one score "
            f"for each of the {num_classes} classes."
        )


def _check_vocabulary(job: Job) -> None:
    """Raise ModelError when the model knows fewer tokens than the data has."""
    size, known = job.split.dataset.vocab_size, getattr(job.model, "vocab_size", None)
    if size is not None and known is not None and known < size:
        raise ModelError(
            f"The model knows {known} tokens, and the data's tokenizer makes {size}: they do not belong together. Give "
            "the data the tokenizer that the model was trained with (vocab.txt or tokenizer.json beside its weights)."
        )


def _check_answers(job: Job) -> None:
    """Raise ModelError where answers depend on more than the row, or a step of training cannot be taken."""
    model, num_rows = job.scratch(), job.split.size("train")
    features, _ = job.split.part("train", ASKED)
    fault = fault_of_answers(model, features.to(job.device))
    smallest = min(num_rows // recipe.steps_per_epoch(num_rows) for recipe in (job.dense_recipe, job.recipe))
    rows, labels = (tensor.to(job.device) for tensor in job.split.part("train", min(2, smallest)))
    if fault := fault or fault_of_training(model, rows, labels):
        raise ModelError(fault)


def _check_fresh(job: Job) -> None:
    """Raise ModelError where shadow models would need weights that nothing here can draw."""
    if job.model_spec is not None or not any(capabilities_of(attack).num_shadows for attack in job.spec.attacks):
        return
    check_drawable(job.model, job.factory)


def check_drawable(model: nn.Module, factory: WeightFactory | None) -> None:
    """Raise ModelError unless every trained weight of ``model`` can be drawn anew for shadow models."""
    if factory is not None:
        with seeded(0, "model"):
            FreshNetwork(model, factory)()
    elif names := undrawable(model):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"Shadow models begin with weights that have learned nothing, and no module can draw these anew: "
            f"{', '.join(map(repr, names[:3]))}{more}. Give a function that makes the network as it is before training "
            "(model_factory=lambda: Net(), or --model on the command line), or their module a reset_parameters method."
        )


def read_model(job: Job) -> Job:
    """``job`` with a user's own module made ready for training (`read_for_training`) and notes on what was done.

    Dense weights get the names of the module that is trained. Raises ModelError where the module cannot be read.
    """
    if job.model_spec is None and job.split.size("train"):
        _check_vocabulary(job)
        features, _ = job.split.part("train", ASKED)
        reading = read_for_training(job.model, features, job.split.dataset.num_classes)
        read = replace(job, model=reading.network, notes=(*job.notes, *reading.notes))
    else:
        read = job
    if job.dense is None:
        return read
    with contextlib.suppress(ModelError):  # what fits neither is refused by `check`
        whole = copied(unwrapped(job.model))
        whole.load_state_dict(fitted(job.dense, whole, DENSE_WEIGHTS))
        return replace(read, dense=with_plain_weights(whole)[0].float().state_dict())
    return read


def _check_dense(job: Job) -> None:
    """Raise ModelError when the dense weights are those of another network."""
    if job.dense is not None:
        source = DENSE_WEIGHTS if job.weights_path is None else f"The weights in {job.weights_path}"
        fitted(job.dense, job.model, source)


def _check_sparse(job: Job) -> None:
    """Raise UsageError when nothing can be sparse, the granularity does not fit, or a layer would keep no weight."""
    plan = job.plan
    weights = find_maskable(job.model, include=plan.include, exclude=plan.exclude)
    count_active(weights, plan.density)
    grouping = plan.shape.fit(job.model, job.task.input_shape, weights)
    grouping.initial(weights, plan.density, allocation=plan.allocation, start=Start.SCRATCH, seed=job.seed)


def _check_storable(job: Job) -> None:
    """Raise ModelError when no artifact can hold the model, or it cannot be packed as asked."""
    own = None if job.model_spec else copy.deepcopy(job.model).cpu()
    try:
        packed = job.packing(Artifact(job.model.state_dict(), {}, job.model_spec, job.task), own)
        if job.packing.format == "onnx":
            with tempfile.TemporaryDirectory() as folder:
                rows = job.raw.part("train", MIN_FIT)[0].numpy()
                job.packing.export(packed, Path(folder) / "trial.onnx", rows, own)
    except ArtifactError as error:
        raise ModelError(f"No artifact can hold this model. {error}") from error
