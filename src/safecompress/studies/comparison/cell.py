"""One cell of a comparison: the method makes its model, and attackers simulated afresh test it on the verdict pools."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from safecompress.attacks import Access, SignalCache, Target
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.shadows import ShadowModels, ShadowTrainer
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer, shadow_rows
from safecompress.certify.companions import measure_with_companions
from safecompress.digests import digest_json
from safecompress.errors import TrainingError
from safecompress.export import Artifact, ServedModel
from safecompress.metrics.measurement import Levels
from safecompress.report import describe_measurements
from safecompress.seeding import derive
from safecompress.spec.spec import ShadowMode
from safecompress.studies.comparison.plan import Cell, ComparisonInputs, MethodEntry
from safecompress.studies.engine import Measured, apart
from safecompress.studies.methods import MethodInputs, MethodResult, MethodShadowTrainer, TrainingCache
from safecompress.studies.methods.sparse import SafeCompress


@dataclass(frozen=True)
class CellResult(Measured):
    """The figures of a cell: aggregates only, all of it JSON. ``error`` says why there are none.

    ``figures`` have 95 % intervals over rows. ``num_kept`` counts the values that are not masked, biases included.
    ``seconds`` are of the run that made it: what a cache already held took none. They lie outside the digest.
    """

    cell: Cell
    method: str
    uses: tuple[str, ...] = ()
    tm_score: float | None = None
    num_bytes: int | None = None
    num_kept: int | None = None
    epsilon: float | None = None
    shadows: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def item(self) -> Cell:
        """The cell."""
        return self.cell

    def digest(self) -> str:
        """SHA-256 over all but the seconds."""
        return digest_json({**self.to_json(), "seconds": {}, "digest": ""})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CellResult:
        """The result that `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(**{**cls.fields_of(data), "cell": Cell(**data["cell"])})


@dataclass(frozen=True, eq=False)
class CellStudy:
    """Measures the cells of a comparison, for the engine."""

    inputs: ComparisonInputs

    noun: ClassVar[str] = "cell"

    @property
    def threads(self) -> int:
        """Of every cell."""
        return self.inputs.threads

    def digest(self, item: Cell, key: bytes) -> str:
        """What tells the result of a cell from any other's."""
        return self.inputs.digest(item, key)

    def measure(self, item: Cell, store: PrivateFolder) -> CellResult:
        """The result of a cell."""
        return measure_cell(self.inputs, item, store)

    def failed(self, item: Cell, error: str, seconds: float) -> CellResult:
        """The result of a cell whose method, or an attack on it, raised an error."""
        entry = self.inputs.comparison.entry(item.label)
        return CellResult(item, repr(entry.method), tuple(sorted(entry.uses)), error=error)

    def read(self, data: Mapping[str, Any]) -> CellResult:
        """A result from its file."""
        return CellResult.from_json(data)


def measure_cell(comparison_inputs: ComparisonInputs, cell: Cell, store: PrivateFolder) -> CellResult:
    """The result of a cell; finished stages and shadows are looked up in ``store``, and kept there.

    The model is packed, read back and queried with raw rows, as it would be shipped. Attackers are fitted on the pool
    "fit" and tested on the pool "verdict". Raises TrainingError for weights that are not finite, and what the method
    raises.
    """
    entry, rows = comparison_inputs.comparison.entry(cell.label), comparison_inputs.rows(cell.seed)
    method_inputs = comparison_inputs.method_inputs(cell, rows, TrainingCache(store))
    clock = _Stopwatch()
    with clock.of("make"):
        method_result = entry.method.make(method_inputs)
        _check_finite(method_result)
    artifact = Artifact(
        method_result.weights,
        method_result.pattern.masks if method_result.pattern else {},
        method_result.model,
        rows.task,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        num_bytes = artifact.save(path)
        network = Artifact.load(path).build()
    num_kept = _num_kept(artifact, network)

    evidence = rows.evidence
    trainer = trainer_of(entry, method_result, method_inputs, comparison_inputs.comparison.shadows)
    pool = shadow_rows(evidence, "verdict", cell.seed, has_reference="reference rows" in entry.uses)
    shadows = ShadowModels(pool, trainer, store=store, run=clock.map("shadows"))
    target = Target(ServedModel(network, rows.task), access=Access.WEIGHTS, cache=SignalCache(), shadows=shadows)
    with clock.of("attacks"):
        figures = measure_with_companions(
            target,
            evidence,
            comparison_inputs.comparison.attackers,
            Levels(),
            pool="verdict",
            accuracy_part="test",
            stream=lambda attack: derive(cell.seed, "compare", cell.label, f"{cell.density:g}", attack.name),
        )
    is_infinite = method_result.epsilon is not None and not math.isfinite(method_result.epsilon)
    return CellResult(
        cell,
        repr(entry.method),
        tuple(sorted(entry.uses)),
        figures=describe_measurements(figures.measurements),
        apart=apart(comparison_inputs.comparison.attackers, figures.results),
        broken=figures.errors,
        attacks=tuple(result.attack for result in figures.results),
        tm_score=figures.tm_score,
        num_bytes=num_bytes,
        num_kept=num_kept,
        epsilon=None if is_infinite else method_result.epsilon,
        shadows=shadows.mode if shadows.num_used else None,
        notes=(
            *method_result.notes,
            *(["its epsilon is infinite: no privacy is accounted for"] if is_infinite else []),
        ),
        seconds=clock.seconds(),
    )


def trainer_of(
    entry: MethodEntry, method_result: MethodResult, method_inputs: MethodInputs, mode: ShadowMode
) -> ShadowTrainer:
    """Trains shadows as the result was: by the whole method, or, for a search where ``mode`` says so, into its pattern.

    A search with branches that change the objective is repeated whole: its pattern does not say how it was trained.
    So is every method that is no search: trained straight into the pattern, a shadow of a pruned or a distilled model
    would be another kind of model, and the attack weaker than it looks.
    """
    method = entry.method
    if (
        mode == "full pipeline"
        or method_result.pattern is None
        or not isinstance(method, SafeCompress)
        or method.plan.objectives
    ):
        return MethodShadowTrainer(method, method_inputs, method_result.model)
    return FixedMaskShadowTrainer.of(
        method_inputs.fresh(model_spec=method_result.model),
        method_result.model,
        method_inputs.task,
        replace(method_inputs.recipe, objective=method.objective),
        pattern=method_result.pattern,
        start=method.plan.begins,
        dense_recipe=method_inputs.recipe,
        reference=method_inputs.reference if "reference" in method.objective.needs else None,
    )


def _num_kept(artifact: Artifact, network: nn.Module) -> int:
    """How many values of ``network`` no mask of ``artifact`` removes."""
    masks = artifact.masks
    return sum(int(masks[n].sum()) if n in masks else p.numel() for n, p in network.named_parameters())


def _check_finite(method_result: MethodResult) -> None:
    broken = [name for name, tensor in method_result.weights.items() if not bool(tensor.isfinite().all())]
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
