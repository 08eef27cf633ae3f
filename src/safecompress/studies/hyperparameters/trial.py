"""One trial: a setting in, the model trained by it, and what attackers find on the selection pools."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from safecompress import __version__
from safecompress.attacks import SignalCache, Target
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.shadows import ShadowModels
from safecompress.auditing.shadow_training import TrainingProvenance, shadow_rows
from safecompress.certify.companions import measure_with_companions
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, Trained, search_and_train
from safecompress.compression.search import SerialExecutor
from safecompress.data import DataSplit, one_row_per_unit, unit_ids
from safecompress.export import Artifact, ServedModel
from safecompress.metrics.catalogue import (
    ACCURACY,
    headline_metric,
    headlines,
    leaks,
    strongest_attack,
    tm_score_of,
)
from safecompress.metrics.measurement import Levels
from safecompress.report import describe_measurements
from safecompress.seeding import derive
from safecompress.sparsity import Start
from safecompress.studies.engine import Figure, Measured, apart
from safecompress.studies.hyperparameters.front import guarded
from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.space import TrialParams
from safecompress.studies.methods import TrainingCache
from safecompress.training import TeacherTrainer, TrainingState


@dataclass(frozen=True)
class TrialResult(Measured):
    """The figures of one setting: aggregates only, all of it JSON. ``error`` says why there are none.

    ``figures`` are the accuracy on validation rows and each attack's metrics on the selection pools, with intervals
    over rows at 1 - alpha of the spec. ``seconds`` lie outside any comparison.
    """

    choice: TrialParams
    num_bytes: int | None = None
    pattern: str | None = None
    shadows: str | None = None
    seconds: float = 0.0

    @property
    def item(self) -> TrialParams:
        """The setting."""
        return self.choice

    @property
    def accuracy(self) -> Figure:
        """On validation rows; only where there are numbers."""
        return self.figures[ACCURACY.name]

    @property
    def worst_attack(self) -> str:
        """The attack that finds most (its largest AUC), the first of equals; only where there are numbers."""
        strongest = strongest_attack(self.values)
        assert strongest is not None  # there are numbers, and a trial meets at least one attack
        return strongest

    @property
    def worst_auc(self) -> Figure:
        """Its headline figure (AUC) on the selection pools; only where there are numbers."""
        return headlines(self.figures)[self.worst_attack]

    @property
    def worst_label(self) -> str:
        """What that figure is: ``AUC``, ``success rate``."""
        return headline_metric(self.values, self.worst_attack).label

    @property
    def objectives(self) -> tuple[float, float] | None:
        """(accuracy, leak): what the search raises and lowers; None without numbers."""
        return (self.accuracy["value"], guarded(max(leaks(self.values).values()))) if self.has_numbers else None

    @property
    def tm_score(self) -> float:
        """Accuracy over the worst balanced accuracy of an attack, at least 0.5; only where there are numbers."""
        score = tm_score_of(self.values, self.attacks)
        assert score is not None  # there are numbers
        return score

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialResult:
        """What `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(**{**cls.fields_of(data), "choice": TrialParams(**data["choice"])})


@dataclass(frozen=True, eq=False)
class TrialStudy:
    """Measures the trials of a tuning, for the engine."""

    tuning: Tuning

    noun: ClassVar[str] = "trial"

    @property
    def threads(self) -> int:
        """Of every trial."""
        return self.tuning.threads

    def digest(self, item: TrialParams, key: bytes) -> str:
        """Identifies the trial of a setting in one folder."""
        return self.tuning.digest(item)

    def measure(self, item: TrialParams, store: PrivateFolder) -> TrialResult:
        """Train and attack a setting."""
        began = time.perf_counter()
        result = measure(self.tuning, item, TrainingCache(store))
        return replace(result, seconds=round(time.perf_counter() - began, 3))

    def failed(self, item: TrialParams, error: str, seconds: float) -> TrialResult:
        """The result of a setting that raised an error: a learning rate at which training diverges, say."""
        return TrialResult(item, error=error, seconds=round(seconds, 3))

    def read(self, data: Mapping[str, Any]) -> TrialResult:
        """A result from its file."""
        return TrialResult.from_json(data)


def measure(tuning: Tuning, params: TrialParams, cache: TrainingCache) -> TrialResult:
    """The figures of ``params``: the same for the same tuning and setting, in any process.

    The model is trained as `compress` would train it, packed, read back and queried with raw rows. Attackers are
    fitted on the pool "fit" and tested on the pool "select"; shadows, where an attack asks for them, are trained into
    the final pattern. ``tuning`` may be sealed. Raises TrainingError and its kin.
    """
    job = tuning.space.apply(params, tuning.sealed().job)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trained = _train(job, cache)
        winner, final = trained.winner, trained.state
        facts = {"safecompress": __version__, "name": job.name, "data_spec": job.data_digest}
        facts["objective"] = repr(winner.objective)
        artifact = Artifact(final.model, winner.pattern.masks, job.model_spec, job.task, facts)
        num_bytes = artifact.save(place / "model.safetensors")
        network = Artifact.load(place / "model.safetensors").build(job.scratch())

    provenance = TrainingProvenance.of_job(job, winner.objective)
    pool = shadow_rows(one_row_per_unit(job.raw), "select", job.seed, has_reference=provenance.reference is not None)
    shadows = ShadowModels(pool, provenance.trainer(winner.pattern, "final pattern"))
    target = Target(ServedModel(network, job.task), access=job.spec.access, cache=SignalCache(), shadows=shadows)
    figures = measure_with_companions(
        target,
        _independent(job.raw),
        tuning.attacks,
        Levels(job.spec.alpha),
        pool="select",
        accuracy_part="validation",
        stream=lambda attack: derive(job.seed, "tune", attack.name),
    )
    towards = winner.objective
    return TrialResult(
        params,
        figures=describe_measurements(figures.measurements),
        apart=apart(tuning.attacks, figures.results),
        broken=figures.errors,
        attacks=tuple(result.attack for result in figures.results),
        num_bytes=num_bytes,
        pattern=winner.pattern.digest(),
        shadows=shadows.mode if shadows.num_used else None,
        notes=() if towards == job.recipe.objective else (f"ended towards {towards!r}",),
    )


def _train(job: Job, cache: TrainingCache) -> Trained:
    """The last winner of the job's search, and what its training ended with; first stages come from the cache."""
    phases = RunPhases.unwatched(job)
    dense = TrainingState.capture(0, job.model)
    if job.dense is not None:
        dense = phases.dense()
    elif job.plan.start is Start.DENSE or job.asks_dense:
        dense = TrainingState(0, cache.train(job.scratch(), job.dense_task))
    taught_objective = next((objective for objective in job.objectives if "teacher" in objective.needs), None)
    if taught_objective is not None:
        known = dense.model if job.asks_dense else None
        phases.teach(
            taught_objective.teacher_logits(TeacherTrainer(job.scratch(), job.dense_task, known, train=cache.train))
        )
    return search_and_train(phases, phases.start(dense), dense, SerialExecutor())


def _independent(split: DataSplit) -> DataSplit:
    """``split`` with one row of each unit in what a trial is measured on: intervals count independent draws."""
    units, indices = unit_ids(split.dataset), dict(split.indices)
    for part in ("member_select", "nonmember_select", "validation"):
        _, first = np.unique(units[indices[part]], return_index=True)
        indices[part] = indices[part][np.sort(first)]
    return replace(split, indices=indices)
