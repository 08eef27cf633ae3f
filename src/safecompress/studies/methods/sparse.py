"""Sparse from the start: a static pattern, dynamic sparse training (SET, RigL), SafeCompress's searches, and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from safecompress.attacks import ATTACKS
from safecompress.compression.arms.train import train_unattended
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, search_and_train
from safecompress.compression.search import Plan, RandomChoice, SerialExecutor, parse_branches
from safecompress.compression.search.arm import Arms
from safecompress.metrics.catalogue import AUC
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec, at_most
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, Use
from safecompress.training import CrossEntropy, Objective, Recipe, TeacherTrainer, TrainingState
from safecompress.training.objectives.cross_fit import CrossFit

CHEAP = ("loss", "confidence", "entropy", "modified_entropy")
"""What the candidates of a comparison meet: searches are repeated in every shadow."""


@dataclass(frozen=True)
class SafeCompress(Method):
    """A search by ``plan`` at the density asked for, trained towards ``objective``; ``attacks`` test its candidates."""

    plan: Plan = field(default_factory=Plan)
    objective: Objective = field(default_factory=CrossEntropy)
    attacks: tuple[str, ...] = CHEAP

    source: ClassVar[str] = "Zhu, Wang, Han 2022 (ASE); Zhu, Wang, Han, Liu, Xie 2024 (TSE)"
    uses: ClassVar[frozenset[Use]] = frozenset({"attacks on members"})

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The winner of the search, trained to the end."""
        job = self._job(inputs)
        if job.plan.is_unattended and job.plan.start is not Start.DENSE:
            alone = train_unattended(job, self._teacher(inputs), store=inputs.cache.store)
            return MethodResult(inputs.model, alone.state.model, alone.pattern)
        phases = RunPhases.unwatched(job)
        phases.teach(self._teacher(inputs))
        starts_dense = job.plan.start is Start.DENSE
        dense = TrainingState(0, inputs.dense()) if starts_dense else TrainingState.capture(0, job.model)
        trained = search_and_train(phases, phases.start(dense), dense, SerialExecutor())
        towards = trained.winner.objective
        notes = () if towards == self.objective else (f"ended towards {towards!r}",)
        return MethodResult(inputs.model, trained.state.model, trained.winner.pattern, notes=notes)

    def _teacher(self, inputs: MethodInputs) -> Tensor | None:
        """The logits of the objectives' teacher, which the cache keeps; None where sub-models are still to be made."""
        for objective in (self.objective, *self.plan.objectives):
            if "teacher" in objective.needs and "folds" not in objective.needs:
                return objective.teacher_logits(
                    TeacherTrainer(inputs.fresh(), inputs.training_task(), train=inputs.cache.train)
                )
        return None

    def _job(self, inputs: MethodInputs) -> Job:
        recipe = replace(inputs.recipe, objective=self.objective)
        return job_of(inputs, replace(self.plan, density=inputs.density), recipe, self.attacks)


def job_of(inputs: MethodInputs, plan: Plan, recipe: Recipe, attack_names: Sequence[str]) -> Job:
    """The job of a run by ``plan`` and ``recipe``, whose candidates the attacks called ``attack_names`` test."""
    attacks = tuple(map(ATTACKS.make, attack_names))
    return Job(
        name="compared",
        model=inputs.fresh(),
        model_spec=inputs.model,
        split=inputs.split,
        raw=inputs.split,
        task=inputs.task,
        spec=SafetySpec(attacks, [at_most(AUC.of(attacks[0].name), 0.999)]),
        recipe=recipe,
        dense_recipe=inputs.recipe,
        plan=replace(plan, attacks=attacks, rank=False),
        seed=inputs.seed,
    )


@dataclass(frozen=True)
class Static(SafeCompress):
    """One pattern from the start (ERK), never rewired."""

    plan: Plan = field(default_factory=lambda: Plan(rounds=0))

    source: ClassVar[str] = "Mocanu et al. 2018 (Erdos-Renyi patterns); Evci et al. 2020 (ERK)"
    uses: ClassVar[frozenset[Use]] = frozenset()


@dataclass(frozen=True)
class SparseEvolutionaryTraining(SafeCompress):
    """Sparse evolutionary training: drops the smallest weights of both signs, grows at random."""

    plan: Plan = field(default_factory=lambda: Plan(branches=parse_branches(["set+random"]), selector=RandomChoice()))

    source: ClassVar[str] = "Mocanu et al. 2018, Nature Communications. Ours moves exactly the scheduled fraction."
    uses: ClassVar[frozenset[Use]] = frozenset()


@dataclass(frozen=True)
class LeakDrop(SafeCompress):
    """Drops small weights whose removal narrows the gap between members and non-members, grows by gradient."""

    plan: Plan = field(
        default_factory=lambda: Plan(branches=parse_branches(["leak+gradient"]), selector=RandomChoice())
    )

    source: ClassVar[str] = "After PAST, Hu et al. 2024 (arXiv 2410.06814), which penalises such weights in training."


@dataclass(frozen=True)
class RandomSmallDrop(SafeCompress):
    """The control of `leak_drop`: drops small weights at random, grows by gradient."""

    plan: Plan = field(
        default_factory=lambda: Plan(branches=parse_branches(["random-small+gradient"]), selector=RandomChoice())
    )

    source: ClassVar[str] = "A control of our own; growth as in RigL, Evci et al. 2020"
    uses: ClassVar[frozenset[Use]] = frozenset()


@dataclass(frozen=True)
class RigL(SafeCompress):
    """Drops the smallest weights, grows where the gradient is largest."""

    plan: Plan = field(
        default_factory=lambda: Plan(branches=parse_branches(["magnitude+gradient"]), selector=RandomChoice())
    )

    source: ClassVar[str] = "Evci et al. 2020, ICML"
    uses: ClassVar[frozenset[Use]] = frozenset()


@dataclass(frozen=True)
class FoldTaught(Method):
    """Sparse sub-models that each miss some rows teach a sparse student, ``length`` times as long as the recipe is.

    ``share`` of a row's target is what the sub-models say that never saw it (`CrossFit`), the rest its label. Student
    and sub-models have the density asked for, or the latter a ``density`` of their own; the student rewires as
    ``branch`` says, they as ``teachers`` does. With ``is_student_dense`` the student is dense: SELENA with sparse
    teachers.
    """

    share: float = 0.8
    length: float = 2.0
    folds: int = 5
    held_out: int = 2
    branch: str = "magnitude+gradient"
    teachers: str = "set+random"
    density: float | None = None
    is_student_dense: bool = False

    source: ClassVar[str] = (
        "Ours, after Tang et al. 2022, USENIX Security (SELENA). Differs: teachers are sparse and fewer, labels may "
        "keep a share of the target, and the student trains longer. Unconfirmed on texts and large networks."
    )

    def __post_init__(self) -> None:
        Arms(self.folds, self.held_out, self.teachers, (self.share,), (self.length,))
        parse_branches([self.branch])

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The student, trained to its end; its sub-models are kept by the cache."""
        epochs = inputs.recipe.epochs
        objective = CrossFit(self.share, self.folds, self.held_out, self.teachers, epochs, self.density)
        recipe = replace(inputs.recipe, epochs=max(1, round(self.length * epochs)))
        recipe = replace(recipe, objective=objective) if self.share else recipe
        plan = Plan(density=inputs.density, branches=parse_branches([self.branch]))
        job = job_of(inputs, plan, recipe, CHEAP)
        if not self.is_student_dense:
            trained = train_unattended(job, store=inputs.cache.store)
            return MethodResult(inputs.model, trained.state.model, trained.pattern)
        task = inputs.training_task(recipe, teacher=job.teacher({}, store=inputs.cache.store))
        return MethodResult(inputs.model, inputs.cache.train(inputs.fresh(), task))

    def is_dense(self) -> bool:
        """The student, where that was asked for; its teachers have the density all the same."""
        return False
