"""An executor that is watched: every finished item moves the bar, and a round's candidates are shown as they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from safecompress.attacks.shadows import OrderedMap
from safecompress.compression.search.candidate import Evaluation
from safecompress.compression.search.executor import Executor
from safecompress.compression.search.select import Selection
from safecompress.progress import CandidateState, CandidateStatus, Progress, RoundStatus

A = TypeVar("A")
B = TypeVar("B")


class WatchedExecutor:
    """Runs over ``executor`` and tells ``watcher``: call `open` as a round begins and `close` when it is decided.

    All is told from this process. Results come back in the items' order, so with several workers the first items
    without a result are those that are being tried.
    """

    def __init__(self, executor: Executor, watcher: Progress) -> None:
        self._executor, self._watcher = executor, watcher
        self._round = RoundStatus(0, 0, 0, ())

    def open(self, number: int, rounds: int, step: int, branches: Sequence[str]) -> None:
        """Round ``number`` (from 0) of ``rounds`` has these candidates; they are tested at ``step``."""
        waiting = tuple(CandidateStatus(branch) for branch in branches)
        self._tell(RoundStatus(number + 1, rounds, step, waiting))

    def map(self, fn: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]:
        """Results in the items' order; items are proposals, or evaluations that are deepened."""
        work = list(items)
        names = [_branch_of(item) for item in work]
        num_workers = getattr(self._executor, "num_workers", 1)
        deepens = any(isinstance(item, Evaluation) for item in work)
        self._watcher.begin("candidates", len(work))
        if deepens:
            self._mark(CandidateState.FINALIST, names)
        self._mark(CandidateState.TRYING, names[:num_workers])
        for number, result in enumerate(self._executor.map(fn, work), 1):
            self._watcher.advance()
            if isinstance(result, Evaluation):
                self._put(_standing(result, CandidateState.FINALIST if deepens else CandidateState.TESTED))
            self._mark(CandidateState.TRYING, names[number : number + num_workers])
            yield result

    def close(self, evaluations: Sequence[Evaluation], choice: Selection) -> None:
        """The round is decided."""
        stages = [
            CandidateState.WON if index == choice.index else CandidateState.LOST for index in range(len(evaluations))
        ]
        ended = tuple(map(_standing, evaluations, stages))
        self._tell(replace(self._round, candidates=ended))

    def _mark(self, stage: CandidateState, branches: Sequence[str]) -> None:
        """Bring the candidates called ``branches`` to ``stage``; their figures stay."""
        chosen = [replace(one, stage=stage) for one in self._round.candidates if one.branch in branches]
        self._put(*(one for one in chosen if one not in self._round.candidates))

    def _put(self, *standings: CandidateStatus) -> None:
        """Put ``standings`` in the place of those of the same branch, and tell if anything is new."""
        new = {one.branch: one for one in standings}
        if new:
            candidates = tuple(new.get(one.branch, one) for one in self._round.candidates)
            self._tell(replace(self._round, candidates=candidates))

    def _tell(self, standings: RoundStatus) -> None:
        self._round = standings
        self._watcher.stands(standings)


def watched_map(
    executor: Executor,
    watcher: Progress,
    phase: str,
    *,
    size: Callable[[Any], int] = lambda _: 1,
    then: str | None = None,
) -> OrderedMap:
    """A map over ``executor`` that moves a bar called ``phase`` by the ``size`` of each item that is finished.

    Afterwards the phase ``then``, of one step, goes on.
    """

    def run(fn: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        work = list(items)
        watcher.begin(phase, sum(map(size, work)))
        for item, result in zip(work, executor.map(fn, work), strict=True):
            watcher.advance(size(item))
            yield result
        if then is not None:
            watcher.begin(then, 1)

    return run


def _branch_of(thing: object) -> str:
    """The branch of a proposal or an evaluation; of anything else there is none."""
    branch = getattr(thing, "branch", "")
    return branch if isinstance(branch, str) else str(getattr(branch, "name", ""))


def _standing(evaluation: Evaluation, stage: CandidateState) -> CandidateStatus:
    """What the evaluation says in three figures; a broken attack leaves two of them open."""
    if evaluation.errors:
        stage = CandidateState.BROKEN
        return CandidateStatus(evaluation.branch, stage, evaluation.accuracy)
    return CandidateStatus(evaluation.branch, stage, evaluation.accuracy, evaluation.worst_leak, evaluation.tm_score())
