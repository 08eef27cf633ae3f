"""One cell of a comparison: the method makes its model, and attackers simulated afresh test it on the verdict pools."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safecompress.attacks import Access, SignalCache, Target
from safecompress.attacks.measure_model import measure_model
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import ShadowModels, ShadowTrainer
from safecompress.baselines import Made, Repeated, Setting, Workshop
from safecompress.baselines.sparse import Searched
from safecompress.compare.plan import Cell, Entry, Study
from safecompress.deploy import Artifact, Served
from safecompress.digests import digest_json
from safecompress.errors import StorageError, TrainingError
from safecompress.metrics.measurement import Levels
from safecompress.report import describe_measurements
from safecompress.seeding import derive
from safecompress.shadowing import FinalPattern, shadow_rows
from safecompress.spec.spec import ShadowMode
from safecompress.storage import write_json
from safecompress.threads import fixed_threads

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What came out of a cell: aggregates only, all of it JSON. ``error`` says why there is nothing.

    ``figures`` are the accuracy and every attack's metrics, each with its 95 % interval over rows; ``broken`` are the
    attacks that gave no number. ``num_kept`` counts the values that are not masked, biases included. ``seconds`` are of
    the run that made it: what a cache already held took none. They lie outside the digest.
    """

    cell: Cell
    method: str
    uses: tuple[str, ...] = ()
    error: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    attacks: tuple[str, ...] = ()
    tm_score: float | None = None
    num_bytes: int | None = None
    num_kept: int | None = None
    epsilon: float | None = None
    shadows: str | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_numbers(self) -> bool:
        """Whether the model was made and every attack gave its figures."""
        return self.error is None and not self.broken

    def value(self, metric: str) -> float | None:
        """The figure called ``metric``, or None where it was not measured."""
        return self.figures[metric]["value"] if metric in self.figures else None

    def worst(self, metric: str) -> float | None:
        """The largest ``metric`` of all attacks; None when one broke, since the worst of the rest would flatter."""
        values = [self.value(f"{attack}.{metric}") for attack in self.attacks]
        known = [value for value in values if value is not None]
        return max(known) if known and len(known) == len(values) and self.has_numbers else None

    def digest(self) -> str:
        """SHA-256 over all but the seconds."""
        return digest_json({**self.to_json(), "seconds": {}, "digest": ""})

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """The result that `to_json` gave. Raises KeyError or TypeError for anything else."""
        lists = {name: tuple(data[name]) for name in ("uses", "attacks", "notes")}
        return cls(**{**data, **lists, "cell": Cell(**data["cell"])})


def run_cell(study: Study, cache: Path, work: tuple[Cell, Path]) -> Result:
    """Make and attack the model of a cell, and write what came out to its file, in this process or a worker.

    A method that fails gives a result with ``error``, whoever wrote it; StorageError and MemoryError go through.
    """
    cell, path = work
    entry = study.comparison.entry(cell.label)
    with fixed_threads(study.threads):
        try:
            result = measure_cell(study, cell, PrivateFolder(cache))
        except (StorageError, MemoryError):
            raise
        except Exception as error:  # one method that fails must not take the others' hours with it
            text = " ".join(f"{type(error).__name__}: {error}".split())
            result = Result(cell, repr(entry.method), tuple(sorted(entry.uses)), error=text)
    write_json(path, result.to_json())
    return result


def measure_cell(study: Study, cell: Cell, store: PrivateFolder) -> Result:
    """The result of a cell; finished stages and shadows are looked for in ``store``, and kept there.

    The model is packed, read back and asked for raw rows, as it would be shipped. Attackers are fitted on the pool
    "fit" and tested on the pool "verdict". Raises TrainingError for weights that are not finite, and what the method
    raises.
    """
    entry, rows = study.comparison.entry(cell.label), study.rows(cell.seed)
    setting = study.setting(cell, rows, Workshop(store))
    clock = _Stopwatch()
    with clock.of("make"):
        made = entry.method.make(setting)
        _check_finite(made)
    artifact = Artifact(made.weights, made.pattern.masks if made.pattern else {}, made.model, rows.task)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        num_bytes = artifact.save(path)
        network = Artifact.load(path).build()
    parameters = dict(network.named_parameters())
    num_kept = sum(int(artifact.masks[n].sum()) if n in artifact.masks else p.numel() for n, p in parameters.items())

    evidence = rows.evidence
    trainer = trainer_of(entry, made, setting, study.comparison.shadows)
    pool = shadow_rows(evidence, "verdict", cell.seed, has_reference="reference rows" in entry.uses)
    shadows = ShadowModels(pool, trainer, store=store, run=clock.map("shadows"))
    target = Target(Served(network, rows.task), access=Access.WEIGHTS, cache=SignalCache(), shadows=shadows)
    with clock.of("attacks"):
        found = measure_model(
            target,
            evidence,
            study.comparison.attackers,
            Levels(),
            pool="verdict",
            accuracy_part="test",
            stream=lambda attack: derive(cell.seed, "compare", cell.label, f"{cell.density:g}", attack.name),
        )
    is_infinite = made.epsilon is not None and not math.isfinite(made.epsilon)
    return Result(
        cell,
        repr(entry.method),
        tuple(sorted(entry.uses)),
        figures=describe_measurements(found.measurements),
        broken=found.errors,
        attacks=tuple(result.attack for result in found.results),
        tm_score=found.tm_score,
        num_bytes=num_bytes,
        num_kept=num_kept,
        epsilon=None if is_infinite else made.epsilon,
        shadows=shadows.mode if shadows.num_used else None,
        notes=(*made.notes, *(["its epsilon is infinite: no privacy is accounted for"] if is_infinite else [])),
        seconds=clock.seconds(),
    )


def trainer_of(entry: Entry, made: Made, setting: Setting, mode: ShadowMode) -> ShadowTrainer:
    """Trains shadows as ``made`` was: by the whole method, or, for a search where ``mode`` says so, into its pattern.

    A search with branches that change the objective is repeated whole: its pattern does not say how it was trained.
    So is every method that is no search: trained straight into the pattern, a shadow of a pruned or a distilled model
    would be another kind of model, and the attack weaker than it looks.
    """
    method = entry.method
    if mode == "full pipeline" or made.pattern is None or not isinstance(method, Searched) or method.plan.objectives:
        return Repeated(method, setting, made.model)
    return FinalPattern.of(
        setting.fresh(model=made.model),
        made.model,
        setting.task,
        replace(setting.recipe, objective=method.objective),
        pattern=made.pattern,
        start=method.plan.start,
        dense_recipe=setting.recipe,
        reference=setting.reference if "reference" in method.objective.needs else None,
    )


def _check_finite(made: Made) -> None:
    broken = [name for name, tensor in made.weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise TrainingError(
            f"The weights of {', '.join(broken[:3])} are not finite. Training diverged: lower the learning rate."
        )


class _Stopwatch:
    """Seconds by phase. What is mapped in one phase while another runs counts for the first alone."""

    def __init__(self) -> None:
        self._seconds = {"make": 0.0, "shadows": 0.0, "attacks": 0.0}

    @contextlib.contextmanager
    def of(self, phase: str) -> Iterator[None]:
        began, inside = time.perf_counter(), self._seconds["shadows"]
        yield
        self._seconds[phase] += time.perf_counter() - began - (self._seconds["shadows"] - inside)

    def map(self, phase: str) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
        def timed(fn: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
            for item in items:
                began = time.perf_counter()
                result = fn(item)
                self._seconds[phase] += time.perf_counter() - began
                yield result

        return timed

    def seconds(self) -> dict[str, float]:
        return {phase: round(value, 3) for phase, value in self._seconds.items()}
