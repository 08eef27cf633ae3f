"""A Comparison: which methods meet which attacks, at which densities and seeds; and the Study that it is made in."""

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
from safecompress.attacks import ATTACKS, Attack, Lira, capabilities_of, with_shadows
from safecompress.baselines import METHODS, Method, Setting, Workshop
from safecompress.baselines.sparse import Searched
from safecompress.data import Dataset, DataSplit, SplitSizes, make_split, one_row_per_unit, standardise
from safecompress.deploy import TaskInfo
from safecompress.errors import UsageError
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from safecompress.shadowing import shadow_rows
from safecompress.spec.spec import ShadowMode
from safecompress.training import Recipe

DEFAULT_ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural", "whitebox", "lira")
"""The reference set of an attacker who holds the file, and the cheap ones."""

DENSE_DENSITY = 1.0
"""Where methods that ignore the density are shown."""

_LONGEST_LABEL = 60


@dataclass(frozen=True)
class Entry:
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
        return type(self.method) is Searched or self.label.casefold().startswith("safecompress")

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
    by name use ``num_shadows`` shadow models. ``shadows`` says how those of a searched pattern are trained; methods
    that are no search always train theirs by the whole method. Raises UsageError for what cannot be compared.
    """

    methods: Sequence[Entry | str]
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
        entries = tuple(Entry(one, METHODS.make(one)) if isinstance(one, str) else one for one in self.methods)
        attacks = tuple(_with_shadows(one, self.num_shadows) for one in self.attacks)
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
        joining = [attack.name for attack in attacks if capabilities_of(attack).joins_versions]
        if joining:
            raise UsageError(
                f"{', '.join(joining)} joins several versions of one model, and a comparison attacks one model at a "
                "time. Leave it out; `compress` runs it."
            )
        for name, value in {"methods": entries, "attacks": attacks}.items():
            object.__setattr__(self, name, value)
        for name in ("densities", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The methods with their labels."""
        return tuple(entry for entry in self.methods if isinstance(entry, Entry))

    @property
    def attackers(self) -> tuple[Attack, ...]:
        """The attacks, as made."""
        return tuple(attack for attack in self.attacks if not isinstance(attack, str | Mapping))

    def entry(self, label: str) -> Entry:
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
class Rows:
    """The split of one seed: as the data file has it, and as networks read it through ``task``."""

    raw: DataSplit = field(repr=False)
    split: DataSplit = field(repr=False)
    task: TaskInfo

    @property
    def evidence(self) -> DataSplit:
        """The raw rows, one of each unit where a model is measured."""
        return one_row_per_unit(self.raw)


@dataclass(frozen=True, eq=False)
class Study:
    """A comparison and all that it is made of. ``sizes`` are the parts whose size is given; others share what is left.

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
        """Raise, before anything is trained, what every cell would trip over: UsageError and its kinds."""
        if self.threads < 1:
            raise UsageError(f"threads must be at least 1, got {self.threads}.")
        with seeded(0):
            self.model.build()
        for seed in self.comparison.seeds:
            rows = self.rows(seed)
            rows.raw.audit("fit"), rows.raw.audit("verdict")
            self._check_shadows(rows.evidence, seed)
            if rows.raw.size("test") == 0:
                raise UsageError("A comparison measures accuracy on test rows, and there are none. Give test a size.")
        total = self.recipe.total_steps(rows.raw.size("train"))
        for entry in self.comparison.entries:
            if isinstance(entry.method, Searched):
                try:
                    entry.method.plan.check_steps(total)
                except UsageError as error:
                    raise UsageError(f"{entry.label}: {error}") from error

    def _check_shadows(self, evidence: DataSplit, seed: int) -> None:
        """Raise UsageError unless every row of the pool is in two shadows, and out of two, where LiRA asks for it."""
        asked = [a.num_shadows for a in self.comparison.attackers if isinstance(a, Lira) and a.mode == "online"]
        for has_reference in {"reference rows" in entry.uses for entry in self.comparison.entries if asked}:
            pool = shadow_rows(evidence, "verdict", seed, has_reference=has_reference)
            draws = pool.draws(min(asked))
            fewest = min(int(side.sum(axis=0).min()) for side in (draws, ~draws))
            if fewest < 2:
                share = pool.size / len(pool.labels)
                raise UsageError(
                    f"{min(asked)} shadow models are too few for lira: with seed {seed} some row is in, or out of, "
                    f"only {fewest} of them, and needs two of both. A shadow has {share:.1%} of its pool: raise "
                    "num_shadows, or size [data] so that train is half of train, nonmember_fit, nonmember_verdict "
                    "and population."
                )

    def rows(self, seed: int) -> Rows:
        """The split that ``seed`` draws. Raises DataError when the data has too few rows for it."""
        raw = make_split(self.dataset, SplitSizes.resolve(self.dataset.num_rows, **self.sizes), seed=seed)
        num_classes, names, shape = self.dataset.num_classes, self.dataset.class_names, self.dataset.input_shape
        if self.normalise == "none":
            return Rows(raw, raw, TaskInfo(num_classes, names, shape))
        split, scaler = standardise(raw)
        return Rows(raw, split, TaskInfo(num_classes, names, shape, scaler.shift, scaler.scale))

    def setting(self, cell: Cell, rows: Rows, workshop: Workshop) -> Setting:
        """What the method of ``cell`` is given."""
        return Setting(rows.split, rows.task, self.model, self.recipe, cell.density, cell.seed, workshop)

    def digest(self, cell: Cell, key: bytes) -> str:
        """What tells the result of ``cell`` from any other's; rows enter it keyed with ``key``."""
        comparison = self.comparison
        facts = [
            *(cell.label, repr(comparison.entry(cell.label).method), cell.density, cell.seed),
            *([repr(attack) for attack in comparison.attackers], comparison.shadows),
            *(repr(self.model), self.recipe.facts(), dict(self.sizes), self.normalise),
            *(self._content, __version__, torch.__version__, self.threads),
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


def _with_shadows(choice: Attack | str | Mapping[str, Any], num_shadows: int) -> Attack:
    """The attack; one given by its name alone uses ``num_shadows`` shadows, if it uses any."""
    attack = ATTACKS.make(choice)
    return with_shadows(attack, num_shadows) if isinstance(choice, str) else attack
