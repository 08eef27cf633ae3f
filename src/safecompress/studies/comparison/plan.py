"""A Comparison: which methods face which attacks, at which densities and seeds; and all of its inputs."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch

from safecompress import __version__
from safecompress.attacks import ATTACKS, Attack
from safecompress.certify.companions import describe_attack
from safecompress.config.prepared import PreparedData, prepare_data
from safecompress.data import Dataset
from safecompress.errors import UsageError
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from safecompress.spec.spec import ShadowMode
from safecompress.studies.engine import check_shadows, check_single_version, give_num_shadows
from safecompress.studies.methods import METHODS, Method, MethodInputs, TrainingCache
from safecompress.studies.methods.sparse import SafeCompress
from safecompress.training import Recipe, engine_name

DEFAULT_ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural", "whitebox", "lira")
"""The reference set of an attacker who holds the file, and the cheap ones."""

DENSE_DENSITY = 1.0
"""Where methods that ignore the density are shown."""

_LONGEST_LABEL = 60


@dataclass(frozen=True)
class MethodEntry:
    """A method and the ``label`` it is shown under. Two entries may differ in the method's options alone."""

    label: str
    method: Method

    def __post_init__(self) -> None:
        if not (self.label.strip() and self.label.isprintable() and len(self.label) <= _LONGEST_LABEL):
            raise UsageError(
                f"A label takes 1 to {_LONGEST_LABEL} printable characters, got {self.label!r}. It names a row."
            )

    @property
    def is_ours(self) -> bool:
        """Whether others are compared with it: a search by attacks, or what is labelled as one."""
        return type(self.method) is SafeCompress or self.label.casefold().startswith("safecompress")

    @property
    def uses(self) -> frozenset[str]:
        """What the method has beyond the training rows, its objective included."""
        objective = getattr(self.method, "objective", None)
        needs_reference = objective is not None and "reference" in objective.needs
        return self.method.uses | ({"reference rows"} if needs_reference else set())


@dataclass(frozen=True)
class Cell:
    """One model to be made and attacked: the method called ``label``, at ``density``, from ``seed``."""

    label: str
    density: float
    seed: int

    def __str__(self) -> str:
        return f"{self.label}, density {self.density:g}, seed {self.seed}"


@dataclass(frozen=True)
class Comparison:
    """Every method at every density from every seed; a seed draws split, weights, shadows and attackers anew.

    ``methods`` are names from METHODS or entries; ``attacks`` are names from ATTACKS, tables, or attacks. Those given
    by name use ``num_shadows`` shadow models. What runs beside an attack in a verdict runs beside it here, too: LiRA is
    judged by the larger of its figures on the label and on all classes, of the same shadow models.

    ``shadows`` says how those of a searched pattern are trained; methods that are no search always train theirs by the
    whole method. Raises UsageError for what cannot be compared.
    """

    methods: Sequence[MethodEntry | str]
    densities: Sequence[float] = (0.1,)
    seeds: Sequence[int] = (0, 1, 2)
    attacks: Sequence[Attack | str | Mapping[str, Any]] = DEFAULT_ATTACKS
    num_shadows: int = 8
    shadows: ShadowMode = "full pipeline"

    def __post_init__(self) -> None:
        if self.num_shadows < 4:
            raise UsageError(
                f"num_shadows must be at least 4, got {self.num_shadows}: two with a row and two without it say the "
                "least that can be said."
            )
        entries = tuple(
            MethodEntry(method, METHODS.make(method)) if isinstance(method, str) else method for method in self.methods
        )
        attacks = tuple(ATTACKS.make(give_num_shadows(attack, self.num_shadows)) for attack in self.attacks)
        listed: dict[str, list[Any]] = {
            "methods": [entry.label for entry in entries],
            "densities": list(self.densities),
            "seeds": list(self.seeds),
            "attacks": [attack.name for attack in attacks],
        }
        for what, values in listed.items():
            if not values or len(set(values)) < len(values):
                advice = " Give one of two equal methods a label." if what == "methods" else ""
                raise UsageError(f"{what} must be at least one and all different, got {values}.{advice}")
        outside = [density for density in self.densities if not 0 < density <= 1]
        if outside:
            raise UsageError(f"densities must lie in (0, 1], got {outside}. 0.05 keeps one weight in twenty.")
        if min(self.seeds) < 0:
            raise UsageError(f"seeds must be at least 0, got {list(self.seeds)}.")
        check_single_version(attacks, "a comparison attacks one model at a time")
        for name, value in {"methods": entries, "attacks": attacks}.items():
            object.__setattr__(self, name, value)
        for name in ("densities", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def entries(self) -> tuple[MethodEntry, ...]:
        """The methods with their labels."""
        return tuple(entry for entry in self.methods if isinstance(entry, MethodEntry))

    @property
    def attackers(self) -> tuple[Attack, ...]:
        """The attacks, as made."""
        return tuple(attack for attack in self.attacks if not isinstance(attack, str | Mapping))

    def entry(self, label: str) -> MethodEntry:
        """The entry called ``label``."""
        return next(entry for entry in self.entries if entry.label == label)

    def stages(self) -> tuple[list[Cell], list[Cell]]:
        """All cells: those that ignore the density, which leave what the others start from, and then the others.

        Neighbours differ in their seeds, so that two workers seldom train the same first stage at once.
        """
        dense = [entry for entry in self.entries if entry.method.is_dense()]
        sparse = [entry for entry in self.entries if not entry.method.is_dense()]
        return (
            [Cell(entry.label, DENSE_DENSITY, seed) for entry in dense for seed in self.seeds],
            [Cell(entry.label, density, seed) for entry in sparse for density in self.densities for seed in self.seeds],
        )


@dataclass(frozen=True, eq=False)
class ComparisonInputs:
    """A comparison and all of its inputs. ``sizes`` are the parts whose size is given; others share what is left.

    ``recipe`` trains the dense model and is what methods vary. Every cell runs on ``threads`` threads.
    """

    comparison: Comparison
    dataset: Dataset = field(repr=False)
    model: ModelSpec
    recipe: Recipe = field(default_factory=Recipe)
    sizes: Mapping[str, int] = field(default_factory=dict)
    normalise: Literal["none", "standard"] = "none"
    threads: int = 1

    def check(self) -> None:
        """Raise, before anything is trained, what would fail in every cell: UsageError and its kinds."""
        if self.threads < 1:
            raise UsageError(f"threads must be at least 1, got {self.threads}.")
        with seeded(0):
            self.model.build()
        for seed in self.comparison.seeds:
            rows = self.rows(seed)
            rows.raw.audit("fit"), rows.raw.audit("verdict")
            for has_reference in {"reference rows" in entry.uses for entry in self.comparison.entries}:
                check_shadows(self.comparison.attackers, rows.evidence, "verdict", seed, has_reference=has_reference)
            if rows.raw.size("test") == 0:
                raise UsageError("A comparison measures accuracy on test rows, and there are none. Give test a size.")
        total = self.recipe.total_steps(rows.raw.size("train"))
        for entry in self.comparison.entries:
            if isinstance(entry.method, SafeCompress):
                try:
                    entry.method.plan.check_steps(total)
                except UsageError as error:
                    raise UsageError(f"{entry.label}: {error}") from error

    def rows(self, seed: int) -> PreparedData:
        """The split that ``seed`` draws. Raises DataError when the data has too few rows for it."""
        return prepare_data(self.dataset, self.sizes, self.normalise, seed)

    def method_inputs(self, cell: Cell, prepared: PreparedData, cache: TrainingCache) -> MethodInputs:
        """What the method of ``cell`` is given."""
        return MethodInputs(prepared.split, prepared.task, self.model, self.recipe, cell.density, cell.seed, cache)

    def digest(self, cell: Cell, key: bytes) -> str:
        """Identifies the result of ``cell`` among all others; rows enter it keyed with ``key``."""
        comparison = self.comparison
        facts = [
            *(cell.label, repr(comparison.entry(cell.label).method), cell.density, cell.seed),
            *([describe_attack(attack) for attack in comparison.attackers], comparison.shadows),
            *(repr(self.model), self.recipe.to_json(), dict(self.sizes), self.normalise),
            *(self._content, __version__, torch.__version__, self.threads, engine_name()),
        ]
        return hmac.digest(key, json.dumps(facts, sort_keys=True).encode(), "sha256").hex()[:40]

    @cached_property
    def _content(self) -> str:
        """SHA-256 of all rows. Unkeyed: it stays in the process."""
        dataset = self.dataset
        groups = b"" if dataset.groups is None else repr(list(dataset.groups)).encode()
        names = repr((dataset.class_names, dataset.input_shape)).encode()
        features = hashlib.sha256()
        for row in dataset.contents():
            features.update(row)
        parts = [hashlib.sha256(part).digest() for part in (dataset.labels.numpy().tobytes(), groups, names)]
        return hashlib.sha256(b"".join([features.digest(), *parts])).hexdigest()
