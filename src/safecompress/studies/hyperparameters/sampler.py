"""An OptunaSampler: Optuna behind two methods, ask and tell, imported when it is needed; batches of a fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from safecompress.errors import UsageError
from safecompress.seeding import derive_seed
from safecompress.studies.hyperparameters.space import Space, TrialParams

Sampler = Literal["tpe", "random"]

INSTALL = "Searching settings needs Optuna, which is not installed. Install it: pip install optuna"


class OptunaSampler:
    """Draws settings from an Optuna study and tells it their (accuracy, leak), or None for a trial without numbers.

    The study is fresh and in memory, so the same figures in the same batches lead to the same settings: a killed search
    is replayed. ``tpe`` draws its first ten trials at random, and then where both figures promise to improve
    (Ozaki et al. 2022, multi-objective tree-structured Parzen estimator). Raises UsageError without Optuna.
    """

    def __init__(self, space: Space, sampler: Sampler, seed: int) -> None:
        try:
            import optuna
        except ImportError as error:
            raise UsageError(INSTALL) from error
        number = derive_seed(seed, "tune", "sampler") % 2**32
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study
        try:
            self._study = optuna.create_study(
                sampler=samplers[sampler](seed=number), directions=["maximize", "minimize"]
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        self._fail = optuna.trial.TrialState.FAIL
        self._space = space
        self._open: list[Any] = []

    def ask(self, count: int) -> list[TrialParams]:
        """The next ``count`` settings; `tell` has to follow before more are drawn."""
        self._open = [self._study.ask() for _ in range(count)]
        return [self._space.suggest(trial) for trial in self._open]

    def tell(self, objectives: Sequence[tuple[float, float] | None]) -> None:
        """Report the figures of the drawn settings, in their order."""
        for trial, value in zip(self._open, objectives, strict=True):
            if value is None:
                self._study.tell(trial, state=self._fail)
            else:
                self._study.tell(trial, value)
        self._open = []
