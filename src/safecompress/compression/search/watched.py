"""An executor that reports progress: every finished item moves the bar, and the status of a round's candidates."""

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
    """Runs over ``executor`` and reports to ``watcher``: call `open` as a round begins and `close` when it is decided.

    All reports come from this process. Results come back in the items' order, so with several workers the first items
    without a result are those that are being tried.
    """

    def __init__(self, executor: Executor, watcher: Progress) -> None:
        self._executor, self._watcher = executor, watcher
        self._round = RoundStatus(0, 0, 0, ())

    def open(self, number: int, rounds: int, step: int, branches: Sequence[str]) -> None:
        """Round ``number`` (from 0) of ``rounds`` has these candidates; they are tested at ``step``."""
        waiting = tuple(CandidateStatus(branch) for branch in branches)
        self._report(RoundStatus(number + 1, rounds, step, waiting))

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
                self._put(status_of(result, CandidateState.FINALIST if deepens else CandidateState.TESTED))
            self._mark(CandidateState.TRYING, names[number : number + num_workers])
            yield result

    def close(self, evaluations: Sequence[Evaluation], selection: Selection) -> None:
        """The round is decided."""
        states = [
            CandidateState.WON if index == selection.index else CandidateState.LOST for index in range(len(evaluations))
        ]
        self._report(replace(self._round, candidates=tuple(map(status_of, evaluations, states))))

    def _mark(self, state: CandidateState, branches: Sequence[str]) -> None:
        """Bring the candidates called ``branches`` to ``state``; their figures stay."""
        marked = [replace(status, stage=state) for status in self._round.candidates if status.branch in branches]
        self._put(*(status for status in marked if status not in self._round.candidates))

    def _put(self, *statuses: CandidateStatus) -> None:
        """Put ``statuses`` in the place of those of the same branch, and report if anything is new."""
        new = {status.branch: status for status in statuses}
        if new:
            candidates = tuple(new.get(status.branch, status) for status in self._round.candidates)
            self._report(replace(self._round, candidates=candidates))

    def _report(self, round_status: RoundStatus) -> None:
        self._round = round_status
        self._watcher.stands(round_status)


def watched_map(
    executor: Executor,
    watcher: Progress,
    phase: str,
    *,
    size: Callable[[Any], int] = lambda _: 1,
    then: str | None = None,
) -> OrderedMap:
    """A map over ``executor`` that moves a bar called ``phase`` by the ``size`` of each item that is finished.

    Afterwards the phase ``then``, of one step, begins.
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


def status_of(evaluation: Evaluation, state: CandidateState) -> CandidateStatus:
    """The evaluation in three figures; a broken attack leaves two of them open."""
    if evaluation.errors:
        return CandidateStatus(evaluation.branch, CandidateState.BROKEN, evaluation.accuracy)
    return CandidateStatus(evaluation.branch, state, evaluation.accuracy, evaluation.worst_leak, evaluation.tm_score())
