"""One trial: rewire the trained model as proposed, tune it, test it. It runs in this process or in a worker."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from safecompress.attacks import Attack, Attacker, FailedAttacker, Target, capabilities_of, simulate_attacker
from safecompress.attacks.measure_model import Attackers, errors_of
from safecompress.attacks.questions import Pool
from safecompress.compression.search.candidate import Candidate, Evaluation
from safecompress.compression.search.plan import Plan
from safecompress.compression.search.propose import Proposal
from safecompress.compression.search.store import RunStore
from safecompress.data import AuditData, DataSplit
from safecompress.errors import AttackError
from safecompress.export import ServedModel, TaskInfo
from safecompress.metrics.measurement import Levels
from safecompress.seeding import derive
from safecompress.spec import Findings, SafetySpec
from safecompress.training import (
    TrainingState,
    TrainingTask,
    classified_right,
    measure_accuracy,
    reestimate_batch_norm_,
    train,
)

POOLS_OF_TRIALS: tuple[Pool, Pool] = ("fit", "select")

_SAMPLE = 1024
"""Most train rows from which batch norm is re-estimated."""


@dataclass(frozen=True, eq=False)
class TrialRows:
    """The raw rows that trials read: ``validation`` (features and labels), and by question those to fit and to test on.

    They are sent to workers, so they are no more than what trials read.
    """

    validation: tuple[Tensor, Tensor]
    fit: Mapping[str, AuditData]
    select: Mapping[str, AuditData]

    @classmethod
    def of(cls, split: DataSplit, attacks: Sequence[Attack]) -> TrialRows:
        """The rows of ``split``, as the data file has them, that ``attacks`` ask for."""
        questions = {question.name: question for question in (capabilities_of(attack).question for attack in attacks)}
        fit, select = (
            {name: question.rows(split, pool) for name, question in questions.items()} for pool in POOLS_OF_TRIALS
        )
        return cls(split.part("validation"), fit, select)


@dataclass(frozen=True, eq=False)
class Trial:
    """What all trials of a run share. ``attacks`` test every candidate, ``costly`` ones finalists only.

    ``model`` is a scratch pad, trained on ``training_task``; behind ``task`` it is attacked as it would be served, on
    raw ``rows``. Attackers come in the order of both, or not at all: then each candidate has its own.

    Tuned candidates go into ``store`` and are not returned, so that one at a time is in memory however many branches
    there are.
    """

    model: nn.Module = field(repr=False)
    training_task: TrainingTask
    task: TaskInfo
    rows: TrialRows = field(repr=False)
    attacks: tuple[Attack, ...]
    costly: tuple[Attack, ...]
    spec: SafetySpec
    plan: Plan
    store: RunStore

    def __call__(self, trained: Candidate, attackers: Attackers, proposal: Proposal, /) -> Evaluation:
        """The evaluation of the tuned candidate, which is kept in the store under its id."""
        # A model sent to workers lies in memory that all of them share: each trial trains a copy of its own.
        return replace(self, model=copy.deepcopy(self.model))._run(trained, attackers, proposal)

    def _run(self, trained: Candidate, attackers: Attackers, proposal: Proposal) -> Evaluation:
        began = time.perf_counter()
        candidate = self.tune(trained, proposal)
        tuned = time.perf_counter()
        self.store.save_candidate(candidate_name(candidate.id), candidate)
        evaluation = self.evaluate(candidate, attackers)
        seconds = {"tune": tuned - began, **evaluation.seconds}
        return replace(evaluation, num_moved=proposal.rewiring.num_moved, seconds=seconds)

    def tune(self, trained: Candidate, proposal: Proposal) -> Candidate:
        """The candidate at the end of its round. Every branch is tuned on the same batches: comparisons are paired."""
        number = trained.round
        _, end = self.plan.round_steps(number, self.training_task.total_steps)
        pattern = proposal.rewiring.applied_to(trained.pattern)
        objective = proposal.branch.objective or trained.objective
        start = trained.state if objective == trained.objective else replace(trained.state, opponent={})
        state = train(
            self.model,
            start.filled(proposal.rewiring.values),
            self.training_task.towards(objective),
            until=end,
            pattern=pattern,
            keep_momentum=keeps_momentum(self.plan),
        )
        if end == trained.state.step:
            state = self._with_fresh_batch_norm(state, candidate_id=trained.id)
        name = proposal.branch.name
        fired = {key: trained.fired[key] | mask for key, mask in pattern.masks.items()}
        return Candidate(f"{trained.id}/{name}", trained.id, number, name, pattern, state, fired, objective)

    def evaluate(self, candidate: Candidate, attackers: Attackers) -> Evaluation:
        """Accuracy on the validation rows and every cheap attack on the selection pool."""
        candidate.state.restore_(self.model)
        levels = self._levels
        began = time.perf_counter()
        target = self.target(self.model)
        is_right = classified_right(target.model, *self.rows.validation)
        accuracy = measure_accuracy(is_right, levels)
        with contextlib.suppress(AttackError):  # each attack will report it
            for rows in self.rows.select.values():
                target.signals(rows)
        seconds = {"forward": time.perf_counter() - began}
        figures = {accuracy.name: accuracy}
        blank = Evaluation(candidate.id, candidate.branch, figures, (), Findings(()), 0, seconds, is_right)
        return self._attacked(blank, target, self.attacks, attackers[: len(self.attacks)])

    def deepen(self, attackers: Attackers, evaluation: Evaluation, /) -> Evaluation:
        """The evaluation with the costly attacks' figures added; the candidate is read back from the store."""
        candidate = self.store.kept_candidate(candidate_name(evaluation.candidate))
        model = copy.deepcopy(self.model)
        candidate.state.restore_(model)
        return self._attacked(evaluation, self.target(model), self.costly, attackers[len(self.attacks) :])

    def _attacked(
        self, evaluation: Evaluation, target: Target, attacks: Sequence[Attack], attackers: Attackers
    ) -> Evaluation:
        """The evaluation with what ``attacks`` measure added."""
        measurements, seconds = dict(evaluation.measurements), dict(evaluation.seconds)
        results = list(evaluation.results)
        for index, attack in enumerate(attacks):
            began = time.perf_counter()
            attacker = attackers[index] if attackers else self.simulate(attack, target, evaluation.candidate)
            rows = self.rows.select[capabilities_of(attack).question.name]
            result = attacker.test(target, rows, self._levels)
            seconds[f"attack.{attack.name}"] = time.perf_counter() - began
            results.append(result)
            measurements.update({measurement.name: measurement for measurement in result.measurements})
        findings = self.spec.judge(measurements, errors_of(results), partly=True)
        return replace(
            evaluation, measurements=measurements, results=tuple(results), findings=findings, seconds=seconds
        )

    def target(self, model: nn.Module) -> Target:
        """``model`` as it would be served: it reads raw rows."""
        return Target(ServedModel(model, self.task), access=self.spec.access)

    @property
    def _levels(self) -> Levels:
        return Levels(self.spec.alpha, len(self.spec.requirements))

    def simulate(self, attack: Attack, target: Target, candidate_id: str) -> Attacker | FailedAttacker:
        """An attacker fitted on the fitting pool against ``target``."""
        generator = derive(self.training_task.seed, "attack", attack.name, candidate_id)
        rows = self.rows.fit[capabilities_of(attack).question.name]
        return simulate_attacker(attack, target, rows, generator=generator)

    def _with_fresh_batch_norm(self, state: TrainingState, *, candidate_id: str) -> TrainingState:
        """``state`` with batch norm re-estimated after a cut that no tuning follows."""
        rows = derive(self.training_task.seed, "batch-norm", candidate_id).permutation(len(self.training_task.labels))[
            :_SAMPLE
        ]
        state.restore_(self.model)
        reestimate_batch_norm_(self.model, self.training_task.features[rows])
        fresh: Mapping[str, Tensor] = TrainingState.capture(state.step, self.model).model
        return replace(state, model=fresh, opponent={})


def keeps_momentum(plan: Plan) -> bool:
    """Whether a branch reads the gradients' moving average."""
    return any("momentum" in branch.reads for branch in plan.branches)


def candidate_name(candidate_id: str) -> str:
    """Where the store keeps a candidate between its trial and the selection."""
    return "candidates/" + candidate_id.replace("/", "_")
