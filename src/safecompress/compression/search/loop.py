"""The idea, page two: train, rewire in several ways, attack every result, let the evidence choose; repeat.

    parent ──train──> trained ──propose──> rewirings ──try out──> evaluations ──deepen──> ──select──> the next parent
                         └────simulate──> attackers ──────┴──────────────────────────┘

A round starts from one model and ends with one model. The attackers are simulated from the trained model before it is
rewired; every candidate is rewired, tuned for a while, and then tested by them: all by the cheap ones, finalists by the
costly ones too. What is a good candidate is the selector's choice alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from safecompress.compression.search.candidate import Candidate, Evaluation
from safecompress.compression.search.executor import Executor
from safecompress.compression.search.propose import Proposal
from safecompress.compression.search.select import Selection

Attackers = TypeVar("Attackers")
AttackersIn = TypeVar("AttackersIn", contravariant=True)


class TryOut(Protocol[AttackersIn]):
    """Rewires, tunes and tests one proposal; it runs in the executor."""

    def __call__(self, trained: Candidate, attackers: AttackersIn, proposal: Proposal, /) -> Evaluation:
        """What was measured of the tuned candidate."""
        ...


@dataclass(frozen=True, eq=False)
class RoundResult:
    """One finished round: who was tried, what each test said, which one lives on."""

    number: int
    evaluations: tuple[Evaluation, ...]
    choice: Selection
    winner: Candidate = field(repr=False)


@dataclass(frozen=True, eq=False)
class Search(Generic[Attackers]):
    """The loop, over functions of (model, round number)."""

    num_rounds: int
    train: Callable[[Candidate, int], Candidate]
    propose: Callable[[Candidate, int], Sequence[Proposal]]
    simulate: Callable[[Candidate, int], Attackers]
    try_out: TryOut[Attackers]
    deepen: Callable[[Attackers, Sequence[Evaluation], int], Sequence[Evaluation]]
    select: Callable[[Sequence[Evaluation], int], Selection]
    adopt: Callable[[Evaluation], Candidate]
    executor: Executor

    def rounds(self, origin: Candidate, *, first: int = 0) -> Iterator[RoundResult]:
        """Each round as it ends, from round ``first`` with ``origin`` as its parent."""
        parent = origin
        for number in range(first, self.num_rounds):
            trained = self.train(parent, number)
            proposals = self.propose(trained, number)
            attackers = self.simulate(trained, number)
            trial = partial(self.try_out, trained, attackers)
            tried = tuple(self.executor.map(trial, proposals))
            evaluations = tuple(self.deepen(attackers, tried, number))
            choice = self.select(evaluations, number)
            parent = self.adopt(evaluations[choice.index])
            yield RoundResult(number, evaluations, choice, parent)
