"""The steps of a round for one job: the functions that the loop of the search calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from safecompress.attacks.measure_model import Attackers
from safecompress.compression.run_folder import PhaseTimer
from safecompress.compression.search import (
    Candidate,
    Evaluation,
    Plan,
    Proposal,
    RandomChoice,
    Search,
    Selection,
    Trial,
    WatchedExecutor,
    candidate_name,
    choose_among,
    finalists,
    keeps_momentum,
    propose,
)
from safecompress.data import DataSplit
from safecompress.seeding import derive
from safecompress.sparsity import Grouping, view_layers
from safecompress.training import TrainingState, dense_gradient, gap_gradient

TrainPart = Callable[..., TrainingState]
"""(name, model, state, task, until, pattern=, keep_momentum=): trains, with a checkpoint now and then."""


@dataclass(frozen=True, eq=False)
class RoundSteps:
    """The steps of a round. ``trial`` holds the task, the plan and the scratch model that all of them share.

    ``split`` are rows as the model reads them; of its pools only "fit" is read, for the gap between its two sides.
    """

    seed: int
    split: DataSplit
    trial: Trial
    executor: WatchedExecutor
    grouping: Grouping
    timer: PhaseTimer = field(repr=False)
    train_part: TrainPart = field(repr=False)

    def search(self) -> Search[Attackers]:
        """The loop of search/loop.py over these steps."""
        return Search(
            self.trial.plan.rounds,
            self.train,
            self.propose,
            self.simulate,
            self.trial,
            self.deepen,
            self.select,
            self.adopt,
            self.executor,
        )

    def train(self, parent: Candidate, number: int) -> Candidate:
        """The parent trained to the step at which the round rewires."""
        plan, task = self.trial.plan, self.trial.training_task
        until, _ = plan.round_steps(number, task.total_steps)
        options = {"pattern": parent.pattern, "keep_momentum": keeps_momentum(plan)}
        own = task.towards(parent.objective)
        with self.timer.of("train"):
            name = round_name(number, plan)
            state = self.train_part(name, self.trial.model, parent.state, own, until, **options)
        return replace(parent, id=f"r{number + 1}", parent=parent.id, round=number, branch="trained", state=state)

    def propose(self, trained: Candidate, number: int) -> Sequence[Proposal]:
        """What each branch would move."""
        plan, task, state = self.trial.plan, self.trial.training_task, trained.state
        masks = trained.pattern.masks
        reads = frozenset().union(*(branch.reads for branch in plan.branches))
        _, tested_at = plan.round_steps(number, task.total_steps)
        self.executor.open(number, plan.rounds, tested_at, [branch.name for branch in plan.branches])
        with self.timer.of("propose"):
            own = task.towards(trained.objective)
            gradient = dense_gradient(self.trial.model, state, own, masks) if "gradient" in reads else None
            signals = {"momentum": state.momentum or None, "gap_gradient": self._gap_gradient(trained, reads)}
            layers = view_layers(state.model, masks, gradient=gradient, fired=trained.fired, **signals)
            fraction = plan.schedule(state.step / task.total_steps)
            stream = partial(derive, self.seed, "rewire", number)
            return propose(layers, plan.branches, fraction, stream=stream, grouping=self.grouping)

    def _gap_gradient(self, trained: Candidate, reads: frozenset[str]) -> Mapping[str, Tensor] | None:
        """The gradient of the gap on the fitting pools at the weights that would ship; None when no branch reads it."""
        if "gap_gradient" not in reads:
            return None
        trained.state.restore_(self.trial.model)
        members, nonmembers = self.split.part("member_fit"), self.split.part("nonmember_fit")
        return gap_gradient(self.trial.model, members, nonmembers, trained.pattern.masks)

    def simulate(self, trained: Candidate, number: int) -> Attackers:
        """Attackers of the trained parent; none where each candidate has its own."""
        trial = self.trial
        if trial.plan.refit == "candidate":
            return ()
        with self.timer.of("simulate"):
            trained.state.restore_(trial.model)
            target = trial.target(trial.model)
            return tuple(trial.simulate(attack, target, trained.id) for attack in (*trial.attacks, *trial.costly))

    def deepen(self, attackers: Attackers, evaluations: Sequence[Evaluation], number: int) -> Sequence[Evaluation]:
        """The evaluations, those of finalists with the costly attacks' figures added."""
        plan = self.trial.plan
        if not self.trial.costly:
            return evaluations
        generator = derive(self.seed, "finalists", number)
        indices = finalists(evaluations, plan.selector, plan.finalists, generator=generator)
        deep = self.executor.map(partial(self.trial.deepen, attackers), [evaluations[index] for index in indices])
        by_index = dict(zip(indices, deep, strict=True))
        return [by_index.get(index, evaluation) for index, evaluation in enumerate(evaluations)]

    def select(self, evaluations: Sequence[Evaluation], number: int) -> Selection:
        """The candidate that lives, by the plan's selector."""
        selector = self.trial.plan.selector
        for evaluation in evaluations:
            self.timer.add_all(evaluation.seconds)
        tested = max(len(evaluation.results) for evaluation in evaluations)  # finalists met every attack
        indices = [index for index, evaluation in enumerate(evaluations) if len(evaluation.results) == tested]
        if isinstance(selector, RandomChoice):  # the control draws from all: no figure decides
            indices = list(range(len(evaluations)))
        selection = choose_among(indices, evaluations, selector, generator=derive(self.seed, "select", number))
        self.executor.close(evaluations, selection)
        return selection

    def adopt(self, evaluation: Evaluation) -> Candidate:
        """The candidate that was evaluated, from the store."""
        return self.trial.store.kept_candidate(candidate_name(evaluation.candidate))


def round_name(number: int, plan: Plan) -> str:
    """What the training in a round is called."""
    return f"round {number + 1} of {plan.rounds}"
