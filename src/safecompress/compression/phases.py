"""The phases of a run: each either loads what a former run finished, or does the work and keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from safecompress.attacks.measure_model import Attackers
from safecompress.compression.job import Job
from safecompress.compression.rounds import RoundSteps, round_name
from safecompress.compression.run_folder import PhaseTimer
from safecompress.compression.search import (
    Candidate,
    Executor,
    MemoryStore,
    RoundResult,
    RunStore,
    Search,
    Trial,
    TrialRows,
    WatchedExecutor,
    candidate_name,
)
from safecompress.errors import StorageError
from safecompress.progress import Progress, Series, Silent
from safecompress.seeding import derive_seed
from safecompress.sparsity import Grouping, Start
from safecompress.training import TrainingState, TrainingTask, Watch, train

_PARENT, _TEACHER = "parent", "teacher"


@dataclass(frozen=True, eq=False)
class RunPhases:
    """The phases of ``job``; what they finish is kept in ``store``, how long they took in ``timer``."""

    job: Job
    store: RunStore = field(repr=False)
    timer: PhaseTimer = field(repr=False)
    watcher: Progress = field(repr=False)

    @classmethod
    def unwatched(cls, job: Job) -> RunPhases:
        """The phases of a job that is neither watched nor resumed; they pass on their results in memory."""
        return cls(job, MemoryStore(job.objectives), PhaseTimer(), Silent())

    def dense(self) -> TrainingState:
        """The trained dense model, or the one that was given."""
        job = self.job
        if job.dense is not None:
            return TrainingState(0, {name: tensor.detach().cpu().clone() for name, tensor in job.dense.items()})
        trained = self._train_kept("dense", TrainingState.capture(0, job.model), job.dense_task)
        return TrainingState(trained.step, trained.model)  # nothing needs its optimizer state any more

    def start(self, dense_state: TrainingState) -> Candidate:
        """Candidate number zero: the first pattern, on fresh weights (rescaled) or on the dense model's."""
        plan, model = self.job.plan, self.job.scratch()
        if plan.start is Start.DENSE:
            model.load_state_dict(dense_state.model)
        pattern = plan.sparsity().first_pattern(model, self.job.task.input_shape, self.job.seed)
        state, objective = TrainingState.capture(0, model), self.job.recipe.objective
        return Candidate("start", None, -1, "start", pattern, state, dict(pattern.masks), objective)

    def _grouping(self, model: nn.Module) -> Grouping:
        """The plan's granularity applied to ``model``."""
        return self.job.plan.sparsity().grouping(model, self.job.task.input_shape)

    def fresh_dense(self) -> TrainingState:
        """A dense model that this run trains from new weights, to compare with weights that were given."""
        model = self.job.fresh(derive_seed(self.job.seed, "fresh dense"))
        return self._train_kept("fresh", TrainingState.capture(0, model), self.job.dense_task)

    def parent(self) -> Candidate | None:
        """The winner of the last finished round, or None before the first."""
        return self.store.load_candidate(_PARENT)

    def keep(self, result: RoundResult) -> None:
        """Keep the round's winner as the next parent, and forget the rest of the round."""
        self.store.save_candidate(_PARENT, result.winner)
        self.store.forget(_checkpoint(round_name(result.number, self.job.plan)))
        for evaluation in result.evaluations:
            self.store.forget(candidate_name(evaluation.candidate))

    def candidates(self, result: RoundResult) -> list[Candidate]:
        """All candidates of a round that has not been kept yet, in the order of its evaluations."""
        return [self.store.kept_candidate(candidate_name(e.candidate)) for e in result.evaluations]

    def training_task(self, dense_state: TrainingState) -> TrainingTask:
        """What the sparse model is trained on; its teacher's logits, if it has one, are computed once and kept."""
        if not self.job.needs("teacher"):
            return self.job.sparse_task(None)
        if not self.store.has(_TEACHER):
            self.watcher.begin("teacher", 1)
            with self.timer.of(_TEACHER):
                self.teach(self.job.teacher(dense_state.model))
            self.watcher.advance()
        kept = self.store.load_state(_TEACHER)
        if kept is None:
            raise StorageError("The teacher's answers were removed while the run needed them. Run again.")
        return self.job.sparse_task(kept.model["logits"])

    def teach(self, logits_NC: Tensor | None) -> None:
        """Keep the teacher's logits of the train rows, so that they need not be computed."""
        if logits_NC is not None:
            self.store.save_state(_TEACHER, TrainingState(0, {"logits": logits_NC}))

    def search(self, executor: Executor, dense_state: TrainingState) -> Search[Attackers]:
        """The rounds of this job; the dense model in ``dense_state`` may be the teacher."""
        job, plan, model = self.job, self.job.plan, self.job.scratch()
        attacks, costly = plan.tests(job.spec.attacks)
        rows = TrialRows.of(job.raw, (*attacks, *costly))
        task = self.training_task(dense_state)
        trial = Trial(model, task, job.task, rows, attacks, costly, job.spec, plan, self.store)
        watched = WatchedExecutor(executor, self.watcher)
        steps = RoundSteps(job.seed, job.split, trial, watched, self._grouping(model), self.timer, self._train)
        return steps.search()

    def finish(self, winner: Candidate, dense_state: TrainingState) -> TrainingState:
        """The winner trained to the end of its schedule, its pattern and its objective fixed."""
        task = self.training_task(dense_state).towards(winner.objective)
        return self._train_kept("final", winner.state, task, pattern=winner.pattern)

    def _train_kept(self, name: str, state: TrainingState, task: TrainingTask, **options: Any) -> TrainingState:
        """Train to the end of the task unless a former run did; the result is kept under ``name``."""
        kept = self.store.load_state(name)
        if kept is not None:
            return kept
        with self.timer.of(name):
            state = self._train(name, self.job.scratch(), state, task, task.total_steps, **options)
        self.store.save_state(name, state)
        self.store.forget(_checkpoint(name))
        return state

    def _train(
        self, phase: str, model: nn.Module, state: TrainingState, task: TrainingTask, until: int, **options: Any
    ) -> TrainingState:
        """Train to ``until`` with a checkpoint now and then, from which a killed run resumes.

        The checkpoint stays until the caller has saved the result: a full disk must not cost the work.
        """
        state = self.store.load_state(_checkpoint(phase)) or state
        self.watcher.begin(phase, until - state.step)
        save: Callable[[TrainingState], None] = partial(self.store.save_state, _checkpoint(phase))
        watch = Watch(Series(self.watcher, "dense" if phase == "dense" else "sparse"), save)
        return train(model, state, task, until=until, watch=watch, **options)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a search left: the winner of its last round, and that candidate trained to the end."""

    winner: Candidate
    state: TrainingState


def search_and_train(
    phases: RunPhases,
    origin: Candidate,
    dense_state: TrainingState,
    executor: Executor,
    *,
    on_round: Callable[[RoundResult], None] = lambda result: None,
) -> Trained:
    """Run the rounds that follow on ``origin``, then train the winner to the end of its schedule.

    ``origin`` is candidate number zero or the winner of an earlier round; the dense model in ``dense_state`` may be the
    teacher.
    ``on_round`` is called after each round, before its candidates are forgotten.
    """
    winner = origin
    for result in phases.search(executor, dense_state).rounds(winner, first=winner.round + 1):
        winner = result.winner
        on_round(result)
        phases.keep(result)
    return Trained(winner, phases.finish(winner, dense_state))


def _checkpoint(phase: str) -> str:
    return "checkpoint-" + phase.replace(" ", "-")
