"""Sparse from the start: a static pattern, dynamic sparse training without selection (SET, RigL), and SafeCompress."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from safecompress.attacks import ATTACKS
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, search_and_train
from safecompress.compression.search import Plan, RandomChoice, SerialExecutor, parse_branches
from safecompress.metrics.catalogue import AUC
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec, at_most
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, Use
from safecompress.training import CrossEntropy, Objective, TeacherTrainer, TrainingState

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
        phases = RunPhases.unwatched(job)
        phases.teach(self._teacher(inputs))
        starts_dense = job.plan.start is Start.DENSE
        dense = TrainingState(0, inputs.dense()) if starts_dense else TrainingState.capture(0, job.model)
        trained = search_and_train(phases, phases.start(dense), dense, SerialExecutor())
        towards = trained.winner.objective
        notes = () if towards == self.objective else (f"ended towards {towards!r}",)
        return MethodResult(inputs.model, trained.state.model, trained.winner.pattern, notes=notes)

    def _teacher(self, inputs: MethodInputs) -> Tensor | None:
        """The logits of the objectives' teacher, which the cache keeps."""
        for objective in (self.objective, *self.plan.objectives):
            if "teacher" in objective.needs:
                return objective.teacher_logits(
                    TeacherTrainer(inputs.fresh(), inputs.training_task(), train=inputs.cache.train)
                )
        return None

    def _job(self, inputs: MethodInputs) -> Job:
        attacks = tuple(map(ATTACKS.make, self.attacks))
        return Job(
            name="compared",
            model=inputs.fresh(),
            model_spec=inputs.model,
            split=inputs.split,
            raw=inputs.split,
            task=inputs.task,
            spec=SafetySpec(attacks, [at_most(AUC.of(attacks[0].name), 0.999)]),
            recipe=replace(inputs.recipe, objective=self.objective),
            dense_recipe=inputs.recipe,
            plan=replace(self.plan, density=inputs.density, attacks=attacks, rank=False),
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
class RigL(SafeCompress):
    """Drops the smallest weights, grows where the gradient is largest."""

    plan: Plan = field(
        default_factory=lambda: Plan(branches=parse_branches(["magnitude+gradient"]), selector=RandomChoice())
    )

    source: ClassVar[str] = "Evci et al. 2020, ICML"
    uses: ClassVar[frozenset[Use]] = frozenset()
