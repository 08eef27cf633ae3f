"""One arm tried out: trained to its end and tested by the cheap attacks. It runs in this process or in a worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from torch import Tensor

from safecompress.compression.arms.train import train_unattended
from safecompress.compression.job import Job
from safecompress.compression.search import Candidate, Evaluation, RunStore, Trial, TrialRows
from safecompress.compression.search.arm import Arm
from safecompress.training.dynamic import SparseState


@dataclass(frozen=True, eq=False)
class ArmTrial:
    """``arm`` called ``name``, the ``job`` that trains it alone, and the logits of its ``teacher`` (None without one).

    ``store`` keeps the arm's checkpoints and its trained model, so that neither is trained twice.
    """

    arm: Arm
    name: str
    job: Job
    rows: TrialRows = field(repr=False)
    store: RunStore = field(repr=False)
    teacher: Tensor | None = field(default=None, repr=False)

    def try_out(self) -> Evaluation:
        """What the cheap attacks find of the trained arm, and its accuracy on validation rows."""
        began = time.perf_counter()
        candidate = self.trained()
        seconds = time.perf_counter() - began
        evaluation = self._trial().evaluate(candidate, ())
        return replace(evaluation, seconds={"train": seconds, **evaluation.seconds})

    def deepen(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with the costly attacks' figures added."""
        trial = self._trial()
        return trial.deepen((), evaluation) if trial.costly else evaluation

    def trained(self) -> Candidate:
        """The arm trained to its end, as the store has it or trained from where a killed run left it."""
        kept = self.store.load_candidate(self.key)
        if kept is not None:
            return kept
        checkpoint = f"checkpoint-{self.key}"

        def keep(sparse: SparseState) -> None:
            self.store.save_candidate(checkpoint, self._candidate(sparse))

        kept = self.store.load_candidate(checkpoint)
        begin = None if kept is None else SparseState(kept.pattern, kept.state, kept.fired, kept.round)
        ended = train_unattended(self.job, self.teacher, begin=begin, keep=keep)
        candidate = self._candidate(ended)
        self.store.save_candidate(self.key, candidate)
        self.store.forget(checkpoint)
        return candidate

    @property
    def key(self) -> str:
        """Where the store keeps it; the trial's own name for candidates leads there."""
        return f"candidates/{self.arm.key}"

    def _candidate(self, sparse: SparseState) -> Candidate:
        """The state as the store keeps it: the number of rewires stands for the round."""
        objective, number = self.job.recipe.objective, sparse.num_rewires
        return Candidate(
            self.arm.key, None, number, self.name, sparse.pattern, sparse.state, sparse.ever_active, objective
        )

    def _trial(self) -> Trial:
        job = self.job
        attacks, costly = job.plan.tests(job.spec.attacks)
        model, task = job.scratch(), job.sparse_task(self.teacher)
        return Trial(model, task, job.task, self.rows, attacks, costly, job.spec, job.plan, self.store)
