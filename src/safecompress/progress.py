"""What long work reports to an observer: phases, figures, and the status of a round's candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

KEEP = "keep"
"""The branch that rewires nothing."""


class CandidateState(StrEnum):
    """How far one candidate of a round has come."""

    WAITING = "waiting"
    TRYING = "trying"
    TESTED = "tested"
    FINALIST = "finalist"
    WON = "won"
    LOST = "lost"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class CandidateStatus:
    """One candidate of a round: accuracy, the worst attack's AUC and the TM-score, None until they are measured."""

    branch: str
    stage: CandidateState = CandidateState.WAITING
    accuracy: float | None = None
    worst_auc: float | None = None
    tm_score: float | None = None


@dataclass(frozen=True, slots=True)
class RoundStatus:
    """The status of round ``number`` (from 1) of ``rounds``; ``step`` is the optimizer step at which it is tested.

    Arms, which are compared once and after all of their steps, are candidates of round 0 of 0.
    """

    number: int
    rounds: int
    step: int
    candidates: tuple[CandidateStatus, ...] = field(repr=False)

    @property
    def winner(self) -> CandidateStatus | None:
        """The candidate that was selected; None while the round runs."""
        return next((status for status in self.candidates if status.stage is CandidateState.WON), None)


class Progress(Protocol):
    """Receives what happens: a terminal, a log file or nobody. It can change nothing, and sees aggregates only.

    All calls come from the process that started the work, whatever processes carry it out. Derive yours from `Silent`,
    which ignores what is not overridden.
    """

    def begin(self, phase: str, total: int) -> None:
        """A phase of ``total`` steps starts; the one before it has ended."""
        ...

    def advance(self, steps: int = 1) -> None:
        """``steps`` more of the phase are done."""
        ...

    def say(self, line: str) -> None:
        """One line for the reader."""
        ...

    def stands(self, standings: RoundStatus) -> None:
        """The status of a round's candidates; called at every change, and for the last time with a winner."""
        ...

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures at an optimizer step, by a name with its series before the slash: ``dense/loss``."""
        ...


class Silent:
    """Nobody watches."""

    def begin(self, phase: str, total: int) -> None:
        """Ignored."""

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def say(self, line: str) -> None:
        """Ignored."""

    def stands(self, standings: RoundStatus) -> None:
        """Ignored."""

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Ignored."""


class Series(Silent):
    """Passes the reports of a training on to ``watcher``, its figures under the name of a series: ``dense/loss``."""

    def __init__(self, watcher: Progress, name: str) -> None:
        self._watcher, self._name = watcher, name

    def advance(self, steps: int = 1) -> None:
        """Passed on."""
        self._watcher.advance(steps)

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Passed on under the series' name."""
        self._watcher.measured(step, {f"{self._name}/{name}": value for name, value in figures.items()})
