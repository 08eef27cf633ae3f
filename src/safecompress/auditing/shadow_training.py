"""How shadows are trained: by the target's whole pipeline, or, cheaper, into its final pattern only.

Also which rows they are drawn from.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks.shadows import ShadowDraw, ShadowRows, ShadowTrainer
from safecompress.compression.arms.train import train_unattended
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, search_and_train
from safecompress.compression.search import SerialExecutor
from safecompress.data import Dataset, DataSplit, unit_ids
from safecompress.data.sizes import CANARY_PARTS, PARTS
from safecompress.digests import digest_json, digest_tensors
from safecompress.errors import UsageError
from safecompress.export import Artifact, ServedModel, TaskInfo
from safecompress.export.precision import Precision, round_weights
from safecompress.models import ModelSpec
from safecompress.networks import FreshNetwork, WeightFactory, copied
from safecompress.seeding import derive, derive_seed, seeded
from safecompress.sparsity import SparsityPattern, Start, rescale_
from safecompress.spec.spec import ShadowMode
from safecompress.training import (
    Objective,
    Recipe,
    TeacherTrainer,
    TrainingState,
    TrainingTask,
    engine_name,
    is_stackable,
    train,
    train_many,
    trains_active,
)
from safecompress.training.dynamic import DynamicSparsity
from safecompress.training.teachers import FoldTraining, TensorStore

GROUP = 8
"""How many small nets are trained at once."""

_SMALL = 150_000
"""Weights up to which a group is faster than one model after another (measured: 1.7x at 51,000, 1.0x at 399,000)."""

_TINY = 10_000
"""Weights up to which a group is faster than the active engine (measured: 1.2x at 2,400, 0.9x at 17,000)."""

_LARGEST_SHARE = 2 / 3
"""Of the pool's rows, so that every row is out of enough shadows."""


def shadow_rows(split: DataSplit, pool: str, seed: int, *, has_reference: bool = False) -> ShadowRows:
    """The rows that shadows are drawn from, to attack on the ``pool`` "select" or "verdict".

    Train, the non-members of the fitting pool and of ``pool``, and the population, as raw rows. Every shadow is as
    large as train, or two thirds of all when train is larger than that. Where the training ``has_reference`` rows, the
    population is those, for shadows as for the target, and none of it is drawn.

    Where canaries were planted, each shadow trains on as many rows of canaries and twins together, beside as many other
    rows as without them: it has the target's share of wrong labels, and says the same of canaries as of twins.
    """
    parts = ("train", "nonmember_fit", f"nonmember_{pool}", *(() if has_reference else ("population",)))
    planted = split.indices.get("canaries", np.empty(0, dtype=np.int64))
    rows = np.concatenate([split.indices[part] for part in parts])
    rows = rows[~np.isin(rows, planted)]
    size = min(split.size("train") - len(planted), int(_LARGEST_SHARE * len(rows)))
    mislabelled = [split.indices[part] for part in CANARY_PARTS] if len(planted) else []
    rows = np.concatenate([rows, *mislabelled])
    dataset, places = split.dataset, torch.from_numpy(rows)
    units = unit_ids(dataset)[rows]
    seed = derive_seed(seed, "shadows", pool)
    counts = sum(map(len, mislabelled)), len(planted)
    return ShadowRows(dataset.read(places), dataset.labels[places], units, size, seed, *counts)


@dataclass(frozen=True, eq=False)
class _Network:
    """A fresh network: from its spec, by the user's own factory, or a copy of their module with new weights."""

    template: nn.Module = field(repr=False)
    spec: ModelSpec | None
    task: TaskInfo
    factory: WeightFactory | None = field(default=None, repr=False)

    def fresh(self, seed: int) -> nn.Module:
        """The network with weights of its own; a module that training leaves as it is keeps the template's."""
        with seeded(seed, "model"):
            if self.spec is not None:
                return self.spec.build()
            return FreshNetwork(self.template, self.factory)()

    def facts(self) -> list[Any]:
        """What the weights of a shadow depend on, as strings."""
        weights = digest_tensors(self.template.state_dict()) if self.spec is None else ""
        made = [] if self.factory is None or self.spec is not None else ["by a factory"]
        return [repr(self.spec), repr(self.template), weights, digest_tensors(self.task.tensors()), *made]

    @cached_property
    def group_size(self) -> int:
        """How many are trained at once."""
        num_weights = sum(parameter.numel() for parameter in self.template.parameters())
        return GROUP if num_weights <= _SMALL and is_stackable(self.template, self.task.input_shape) else 1

    def served(self) -> nn.Module:
        """The network behind the input transform."""
        return ServedModel(copied(self.template), self.task)


@dataclass(frozen=True, eq=False)
class FixedMaskShadowTrainer:
    """Trains shadows from fresh weights straight into the target's final ``pattern`` (None: a dense model).

    Differs from the target: its pattern was found while it trained, and depends on its rows; shadows are given it.
    With ``Start.DENSE`` a dense model is trained first, by ``dense_recipe``, and then cut; where the objective needs a
    teacher, it is that model, or, for an objective that asks for them, sub-models of the shadow's own rows, made as
    the target's were: sparse as ``sub_models`` says, in patterns of their own. Without a ``dense_recipe`` a dense model
    is trained by ``recipe`` alone. ``share`` of the sparse training is done: shadows of a candidate are as old as it
    is. ``reference`` are the target's own reference rows, which the attacker is assumed to hold.
    """

    network: _Network
    recipe: Recipe
    pattern: SparsityPattern | None
    start: Start = Start.SCRATCH
    dense_recipe: Recipe | None = None
    share: float = 1.0
    reference: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    sub_models: DynamicSparsity | None = None

    @classmethod
    def of(
        cls,
        template: nn.Module,
        model_spec: ModelSpec | None,
        task: TaskInfo,
        recipe: Recipe,
        *,
        factory: WeightFactory | None = None,
        **options: Any,
    ) -> FixedMaskShadowTrainer:
        """The trainer of ``template`` (or ``model_spec``) by ``recipe``; ``options`` are the other fields."""
        return cls(_Network(copied(template).cpu(), model_spec, task, factory), recipe, **options)

    @property
    def mode(self) -> str:
        """In the report's words."""
        mode = "dense" if self.pattern is None else "final pattern only"
        return f"{mode}, taught by sub-models of their own rows" if self._has_folds else mode

    @property
    def group_size(self) -> int:
        """How many small nets one call trains."""
        recipes = [self.recipe, self.dense_recipe or self.recipe]
        return self.network.group_size if all(recipe.is_stackable for recipe in recipes) else 1

    def digest(self) -> str:
        """Over everything that the weights of a shadow depend on, beside its rows."""
        pattern = "" if self.pattern is None else self.pattern.digest()
        recipes = [recipe.to_json() for recipe in (self.recipe, self.dense_recipe) if recipe is not None]
        reference = digest_tensors(dict(zip("xy", self.reference or (), strict=False)))
        facts = [self.mode, *self.network.facts(), pattern, str(self.start), recipes, self.share, reference]
        facts += [repr(self.sub_models)] if self._has_folds else []
        return digest_json([*facts, _numerics()])

    def build(self) -> nn.Module:
        """The network behind its input transform."""
        return self.network.served()

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow."""
        seeds = [derive_seed(shadow_pool.seed, "shadow", draw.number) for draw in draws]
        models = [self.network.fresh(seed) for seed in seeds]
        parts = [torch.from_numpy(draw.rows) for draw in draws]
        data = [(self.network.task.prepare(shadow_pool.features[part]), shadow_pool.labels[part]) for part in parts]
        dense_tasks = (
            [
                TrainingTask(x, y, self.dense_recipe or self.recipe, seed, reference=self.reference)
                for (x, y), seed in zip(data, seeds, strict=True)
            ]
            if self._has_dense
            else []
        )
        folds = FoldTraining(self.recipe, self.sub_models) if self._has_folds and self.sub_models else None
        trainers = [
            TeacherTrainer(copy.deepcopy(model), task, folds=folds, units=shadow_pool.units[draw.rows])
            for model, task, draw in zip(models, dense_tasks, draws, strict=False)
        ]
        if dense_tasks and self.start is Start.DENSE:
            states = self._train(models, dense_tasks, None, 1.0)
            trainers = [replace(trainer, dense=state.model) for trainer, state in zip(trainers, states, strict=True)]
            for model, state in zip(models, states, strict=True):
                model.load_state_dict(state.model)
        objective = self.recipe.objective
        is_taught = "teacher" in objective.needs
        teachers = [objective.teacher_logits(trainer) if is_taught else None for trainer in trainers]
        teachers = teachers or [None] * len(data)
        if self.pattern is not None:
            for model in models:
                if self.start is Start.SCRATCH:
                    rescale_(model, self.pattern)
                self.pattern.apply_(model)
        tasks = [
            TrainingTask(x, y, self.recipe, seed, teacher, self.reference)
            for (x, y), seed, teacher in zip(data, seeds, teachers, strict=True)
        ]
        return [_prefixed(state.model) for state in self._train(models, tasks, self.pattern, self.share)]

    @property
    def _has_folds(self) -> bool:
        """Whether sparse sub-models teach."""
        return "folds" in self.recipe.objective.needs

    @property
    def _has_dense(self) -> bool:
        """Whether a dense model, or a part of one, comes before the one that is asked."""
        is_last = self.pattern is None and self.dense_recipe is None
        return not is_last and (self.start is Start.DENSE or "teacher" in self.recipe.objective.needs)

    def _train(
        self,
        models: Sequence[nn.Module],
        tasks: Sequence[TrainingTask],
        pattern: SparsityPattern | None,
        share: float,
    ) -> list[TrainingState]:
        states = [TrainingState.capture(0, model) for model in models]
        are_equal = len({len(task.labels) for task in tasks}) == 1  # rows that belong together may differ
        num_weights = sum(parameter.numel() for parameter in models[0].parameters())
        is_active = num_weights > _TINY and trains_active(models[0], states[0], tasks[0], pattern)
        if len(models) > 1 and self.group_size > 1 and are_equal and not is_active:
            until = round(share * tasks[0].total_steps)
            return train_many(models[0], states, tasks, until=until, pattern=pattern)
        model = models[0]
        return [
            train(model, state, task, until=round(share * task.total_steps), pattern=pattern)
            for state, task in zip(states, tasks, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class PipelineShadowTrainer:
    """Trains shadows by everything that made the target: start, rounds, rewiring, attacks and selection of ``job``.

    A shadow's own rows stand for train and its member pools; rows out of it stand for the non-member pools. It
    validates on the target's validation rows. ``job`` is the target's. ``store`` keeps sub-models that teach, by
    content, so that pipelines which differ in other things share them.
    """

    job: Job
    store: TensorStore | None = field(default=None, repr=False)
    mode: str = field(default="full pipeline", init=False)
    group_size: int = field(default=1, init=False)

    def digest(self) -> str:
        """Over everything that the weights of a shadow depend on, beside its rows."""
        job = self.job
        parts = [job.recipe, job.dense_recipe, job.plan, job.spec.attacks, job.model_spec, job.model]
        sizes = {part: job.split.size(part) for part in PARTS}
        validation = hashlib.sha256(b"".join(t.numpy().tobytes() for t in job.split.part("validation"))).hexdigest()
        weights = digest_tensors(job.model.state_dict()), digest_tensors(job.task.tensors())
        return digest_json([self.mode, *map(repr, parts), sizes, validation, *weights, _numerics()])

    def build(self) -> nn.Module:
        """The network behind its input transform."""
        return ServedModel(copied(self.job.model), self.job.task)

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow."""
        return [_prefixed(self._run(shadow_pool, draw)) for draw in draws]

    def _run(self, shadow_pool: ShadowRows, draw: ShadowDraw) -> Mapping[str, Tensor]:
        seed = derive_seed(shadow_pool.seed, "shadow", draw.number)
        split = shadow_split(self.job.split, self.job.task, shadow_pool, draw, seed)
        job = replace(self.job, model=self.job.fresh(seed), split=split, raw=split, seed=seed, dense=None, device="cpu")
        if job.plan.is_unattended and not job.asks_dense and job.plan.start is not Start.DENSE:
            return train_unattended(job, store=self.store).state.model
        phases = RunPhases.unwatched(job)
        has_dense = job.plan.start is Start.DENSE or job.asks_dense
        dense = phases.dense() if has_dense else TrainingState.capture(0, job.model)
        return search_and_train(phases, phases.start(dense), dense, SerialExecutor()).state.model


def shadow_split(
    model_split: DataSplit, task: TaskInfo, shadow_pool: ShadowRows, draw: ShadowDraw, seed: int
) -> DataSplit:
    """A shadow's own members and non-members, in the sizes of ``model_split``, the target's, as far as there are rows.

    Its members are the rows of ``draw``; rows out of it are its non-members. Validation and population are the
    target's. Mislabelled rows are in no pool.
    """
    count = len(shadow_pool.labels)
    num_ordinary = count - shadow_pool.num_mislabelled
    shared = [model_split.part(part) for part in ("validation", "population")]
    features = torch.cat([task.prepare(shadow_pool.features), *(part[0] for part in shared)])
    labels = torch.cat([shadow_pool.labels, *(part[1] for part in shared)])
    inside = derive(seed, "pools in").permutation(draw.rows)
    outside = derive(seed, "pools out").permutation(np.setdiff1d(np.arange(count), draw.rows))
    indices = {part: np.empty(0, dtype=np.int64) for part in PARTS}
    indices["train"] = inside
    cuts = np.cumsum([count, len(shared[0][1])])
    _, indices["validation"], indices["population"] = np.split(np.arange(len(labels)), cuts)
    for side, rows in (("member", inside), ("nonmember", outside)):
        kept = rows[rows < num_ordinary]
        sizes = [min(model_split.size(f"{side}_{pool}"), len(kept) // 2) for pool in ("fit", "select")]
        indices[f"{side}_fit"], indices[f"{side}_select"] = kept[: sizes[0]], kept[sizes[0] : sum(sizes)]
    dataset: Dataset = replace(
        model_split.dataset, stored=features, labels=labels, groups=_groups(shadow_pool, len(labels)), scaler=None
    )
    return DataSplit(dataset, indices)


def _groups(shadow_pool: ShadowRows, num_rows: int) -> NDArray[np.int64] | None:
    """The units of the pool's rows as groups of a dataset of ``num_rows``; None where each row is its own."""
    units = shadow_pool.units
    if len(np.unique(units)) == len(units):
        return None
    rest = num_rows - len(units)
    return np.concatenate([units, units.max() + 1 + np.arange(rest)])


@dataclass(frozen=True, eq=False)
class TrainingProvenance:
    """How a model was trained, as far as its shadows need it. ``job`` is None when only the recipe is known.

    ``template`` is an instance of the network, whatever its weights. ``reference`` are the rows that an objective of
    the recipe was given as reference. ``sub_models`` says how sparse the sub-models of an objective that asks for some
    were, and how their patterns moved. ``factory`` makes fresh networks of a user's own class.
    """

    template: nn.Module = field(repr=False)
    model_spec: ModelSpec | None
    task: TaskInfo
    recipe: Recipe
    dense_recipe: Recipe
    start: Start = Start.SCRATCH
    job: Job | None = None
    reference: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    sub_models: DynamicSparsity | None = None
    factory: WeightFactory | None = field(default=None, repr=False)

    @classmethod
    def of_job(cls, job: Job, objective: Objective | None = None) -> TrainingProvenance:
        """The provenance of what ``job`` trains; ``objective`` is the one that its candidate ended with."""
        recipe = replace(job.recipe, objective=objective or job.recipe.objective)
        return cls(
            job.model,
            job.model_spec,
            job.task,
            recipe,
            job.dense_recipe,
            job.plan.begins,
            job,
            reference=job.reference,
            sub_models=job.sub_models if "folds" in recipe.objective.needs else None,
            factory=job.factory,
        )

    def of_version(self, artifact: Artifact, network: nn.Module) -> TrainingProvenance:
        """The same training of ``network``, which ``artifact`` holds; one whose units were removed is its own shape."""
        spec = None if artifact.is_resized else artifact.model_spec
        if spec is not None and self.model_spec is not None and self.model_spec.stored() == spec:
            spec = self.model_spec  # which knows pretrained weights that the file does not name
        return replace(self, template=network, model_spec=spec, task=artifact.task)

    def digest(self) -> str:
        """Over what shadows are trained by, beside rows and pattern."""
        recipes = [self.recipe.to_json(), self.dense_recipe.to_json()]
        spec = self.model_spec and self.model_spec.stored()
        folds = [] if self.sub_models is None else [repr(self.sub_models)]
        return digest_json([repr(self.template), repr(spec), *recipes, str(self.start), *folds])

    def trainer(self, pattern: SparsityPattern, mode: ShadowMode, *, share: float = 1.0) -> ShadowTrainer:
        """Trains shadows of the sparse model. Raises UsageError for the full pipeline without a job."""
        if mode == "final pattern":
            options: dict[str, Any] = {"pattern": pattern, "start": self.start, "share": share}
            options |= {"dense_recipe": self.dense_recipe, "sub_models": self.sub_models}
            return self._trainer(self.recipe, **options)
        if self.job is None:
            raise UsageError(
                "Shadows by the full pipeline need the whole job (plan and split as trained), and an audit knows only "
                "the recipe. Use shadows = 'final pattern', or certify the run with compress."
            )
        return PipelineShadowTrainer(self.job)

    def unmasked_trainer(self) -> ShadowTrainer:
        """Trains shadows of a model without a pattern that was trained as the sparse one is: by its objective."""
        options: dict[str, Any] = {"sub_models": self.sub_models, "start": self.start}
        return self._trainer(self.recipe, pattern=None, dense_recipe=self.dense_recipe, **options)

    def dense_trainer(self) -> ShadowTrainer:
        """Trains shadows of the dense model that the sparse one is compared with."""
        return self._trainer(self.dense_recipe, pattern=None)

    def _trainer(self, recipe: Recipe, **options: Any) -> FixedMaskShadowTrainer:
        options |= {"reference": self.reference, "factory": self.factory}
        return FixedMaskShadowTrainer.of(self.template, self.model_spec, self.task, recipe, **options)


@dataclass(frozen=True)
class RoundWeights:
    """Rounds a shadow's weights as the target's file keeps them."""

    precision: Precision

    @property
    def words(self) -> str:
        """In the report's words."""
        return f"rounded to {self.precision}"

    def __call__(self, weights: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """The rounded weights."""
        return round_weights(weights, self.precision)[0]


def rounding_of(artifact: Artifact) -> RoundWeights | None:
    """How the weights of trained shadows of ``artifact`` are rounded; None for weights kept as they are."""
    return None if artifact.precision == "float32" else RoundWeights(artifact.precision)


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights by their names in the served model."""
    return {f"network.{name}": tensor for name, tensor in tensors.items()}


def _numerics() -> list[Any]:
    return [__version__, torch.__version__, torch.get_num_threads(), engine_name()]
