"""One trial: a setting in, the model trained by it, and what attackers find on the selection pools."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from safecompress import __version__
from safecompress.attacks import SignalCache, Target
from safecompress.attacks.measure_model import measure_model
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import ShadowModels
from safecompress.baselines import Workshop
from safecompress.data import DataSplit, one_row_per_unit, unit_ids
from safecompress.deploy import Artifact, Served
from safecompress.errors import StorageError
from safecompress.job import Job
from safecompress.metrics.catalogue import headlines, leaks, strongest_attack, tm_score_of
from safecompress.metrics.measurement import Levels
from safecompress.report import describe_measurements
from safecompress.search import SerialExecutor
from safecompress.seeding import derive
from safecompress.shadowing import Lineage, shadow_rows
from safecompress.sparsity import Start
from safecompress.stages import Stages, Trained, search_and_train
from safecompress.storage import write_json
from safecompress.threads import fixed_threads
from safecompress.training import School, TrainingState
from safecompress.tuning.front import guarded
from safecompress.tuning.plan import Tuning
from safecompress.tuning.space import Choice

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """What came out of one setting: aggregates only, all of it JSON. ``error`` says why there is nothing.

    ``figures`` are the accuracy on validation rows and each attack's metrics on the selection pools, with intervals
    over rows at 1 - alpha of the spec; ``broken`` are the attacks that gave no number. ``seconds`` lie outside any
    comparison.
    """

    choice: Choice
    error: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    attacks: tuple[str, ...] = ()
    num_bytes: int | None = None
    pattern: str | None = None
    shadows: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def has_numbers(self) -> bool:
        """Whether the model was made and every attack gave its figures."""
        return self.error is None and not self.broken and "accuracy" in self.figures

    @property
    def accuracy(self) -> Figure:
        """On validation rows; only where there are numbers."""
        return self.figures["accuracy"]

    @property
    def worst_attack(self) -> str:
        """The attack that finds most (its largest AUC), the first of equals; only where there are numbers."""
        strongest = strongest_attack(self._values)
        assert strongest is not None  # there are numbers, and a trial meets at least one attack
        return strongest

    @property
    def worst(self) -> Figure:
        """Its headline figure (AUC) on the selection pools; only where there are numbers."""
        return headlines(self.figures)[self.worst_attack]

    @property
    def objectives(self) -> tuple[float, float] | None:
        """(accuracy, leak): what the search raises and lowers; None without numbers."""
        return (self.accuracy["value"], guarded(max(leaks(self._values).values()))) if self.has_numbers else None

    @property
    def tm_score(self) -> float:
        """Accuracy over the worst balanced accuracy of an attack, at least 0.5; only where there are numbers."""
        score = tm_score_of(self._values, self.attacks)
        assert score is not None  # there are numbers
        return score

    @property
    def _values(self) -> dict[str, float]:
        return {name: float(figure["value"]) for name, figure in self.figures.items()}

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tried:
        """What `to_json` gave. Raises KeyError or TypeError for anything else."""
        lists = {name: tuple(data[name]) for name in ("attacks", "notes")}
        return cls(**{**data, **lists, "choice": Choice(**data["choice"])})


def try_out(tuning: Tuning, cache: Path, work: tuple[Choice, Path]) -> Tried:
    """Train and attack the setting of a trial, and write what came out to its file, in this process or a worker.

    A setting that fails gives a result with ``error``; StorageError and MemoryError go through.
    """
    choice, path = work
    began = time.perf_counter()
    with fixed_threads(tuning.threads):
        try:
            tried = measure(tuning, choice, Workshop(PrivateFolder(cache)))
        except (StorageError, MemoryError):
            raise
        except Exception as error:  # a rate at which training diverges must not take the other trials with it
            tried = Tried(choice, error=" ".join(f"{type(error).__name__}: {error}".split()))
    tried = replace(tried, seconds=round(time.perf_counter() - began, 3))
    write_json(path, tried.to_json())
    return tried


def measure(tuning: Tuning, choice: Choice, workshop: Workshop) -> Tried:
    """The figures of ``choice``: the same for the same tuning and setting, in any process.

    The model is trained as `compress` would train it, packed, read back and asked for raw rows. Attackers are fitted on
    the pool "fit" and tested on the pool "select"; shadows, where an attack asks for them, are trained into the final
    pattern. ``tuning`` may be sealed. Raises TrainingError and its kin.
    """
    job = tuning.space.apply(choice, tuning.sealed().job)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trained = _train(job, workshop, place)
        winner, final = trained.winner, trained.state
        facts = {"safecompress": __version__, "name": job.name, "data_spec": job.data_digest}
        facts["objective"] = repr(winner.objective)
        artifact = Artifact(final.model, winner.pattern.masks, job.model_spec, job.task, facts)
        num_bytes = artifact.save(place / "model.safetensors")
        network = Artifact.load(place / "model.safetensors").build(job.scratch())

    lineage = Lineage.of_job(job, winner.objective)
    pool = shadow_rows(one_row_per_unit(job.raw), "select", job.seed, has_reference=lineage.reference is not None)
    shadows = ShadowModels(pool, lineage.trainer(winner.pattern, "final pattern"))
    target = Target(Served(network, job.task), access=job.spec.access, cache=SignalCache(), shadows=shadows)
    found = measure_model(
        target,
        _independent(job.raw),
        tuning.attacks,
        Levels(job.spec.alpha),
        pool="select",
        accuracy_part="validation",
        stream=lambda attack: derive(job.seed, "tune", attack.name),
    )
    towards = winner.objective
    return Tried(
        choice,
        figures=describe_measurements(found.measurements),
        broken=found.errors,
        attacks=tuple(result.attack for result in found.results),
        num_bytes=num_bytes,
        pattern=winner.pattern.digest(),
        shadows=shadows.mode if shadows.num_used else None,
        notes=() if towards == job.recipe.objective else (f"ended towards {towards!r}",),
    )


def _train(job: Job, workshop: Workshop, place: Path) -> Trained:
    """The last winner of the job's search, and what its training ended with; first stages come from the workshop."""
    stages = Stages.unwatched(job, place / "work")
    dense = TrainingState.capture(0, job.model)
    if job.dense is not None:
        dense = stages.dense()
    elif job.plan.start is Start.DENSE or job.asks_dense:
        dense = TrainingState(0, workshop.train(job.scratch(), job.dense_course))
    teaching = next((objective for objective in job.objectives if "teacher" in objective.needs), None)
    if teaching is not None:
        known = dense.model if job.asks_dense else None
        stages.teach(teaching.teach(School(job.scratch(), job.dense_course, known, train=workshop.train)))
    return search_and_train(stages, stages.start(dense), dense, SerialExecutor())


def _independent(split: DataSplit) -> DataSplit:
    """``split`` with one row of each unit in what a trial is measured on: intervals count independent draws."""
    units, indices = unit_ids(split.dataset), dict(split.indices)
    for part in ("member_select", "nonmember_select", "validation"):
        _, first = np.unique(units[indices[part]], return_index=True)
        indices[part] = indices[part][np.sort(first)]
    return replace(split, indices=indices)
