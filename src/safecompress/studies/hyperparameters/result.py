"""A StudyResult: what a search for settings leaves, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from safecompress.metrics.stats.pareto import pareto_front
from safecompress.studies.engine import StudyRecord
from safecompress.studies.hyperparameters.front import Floats, hypervolume
from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.trial import TrialResult


@dataclass(frozen=True, eq=False)
class StudyResult(StudyRecord):
    """All trials in the order in which they were drawn; ``split`` has the parts that were read.

    Trials are counted from 1, front points by rising leak from 1.
    """

    tuning: Tuning = field(repr=False)
    trials: tuple[TrialResult, ...] = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 when at least one trial has numbers, else 3."""
        return 0 if any(trial.has_numbers for trial in self.trials) else 3

    @cached_property
    def front(self) -> tuple[int, ...]:
        """Indices of the trials that no other beats, by rising leak; of equal settings the first."""
        usable = [index for index in self._firsts() if self.trials[index].has_numbers]
        return tuple(usable[place] for place in pareto_front(_points([self.trials[index] for index in usable])))

    @property
    def likeliest(self) -> int | None:
        """The place on the front, from 1, of the highest TM-score: where to begin; None without a front."""
        scores = [self.trials[index].tm_score for index in self.front]
        return scores.index(max(scores)) + 1 if scores else None

    @cached_property
    def hypervolumes(self) -> tuple[float, ...]:
        """After each trial, the share of the plane that the trials up to it dominate."""
        return tuple(hypervolume(_points(self.trials[: count + 1])) for count in range(len(self.trials)))

    def _firsts(self) -> list[int]:
        """The first trial of each setting."""
        return list({trial.choice: index for index, trial in reversed([*enumerate(self.trials)])}.values())[::-1]

    def to_json(self) -> dict[str, Any]:
        """The whole search as a JSON object."""
        return self.document(
            self.exit_code,
            front=[index + 1 for index in self.front],
            hypervolume=list(self.hypervolumes),
            trials=[{"trial": number, **trial.to_json()} for number, trial in enumerate(self.trials, 1)],
        )


def _points(trials: tuple[TrialResult, ...] | list[TrialResult]) -> Floats:
    """(N, 2) accuracy and leak of the trials that have numbers."""
    pairs = [trial.objectives for trial in trials if trial.objectives is not None]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)
