"""load_comparison: the TOML of a comparison in, ComparisonInputs out, or one SpecError that lists every fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from safecompress.compression.search.plan import Plan
from safecompress.compression.search.select import SELECTORS
from safecompress.config import DataConfig, ModelConfig
from safecompress.config.options import call, find_factory, make_strategy, parameters_of, read_options, split_choice
from safecompress.config.phrases import show
from safecompress.config.read import section
from safecompress.config.reading import SpecReader
from safecompress.config.sections import read_attacks, read_branches, read_data, read_model, read_recipe
from safecompress.config.tables import Count, SpecShape, StrategyEntry, StrictTable, place, read_table
from safecompress.config.text import Table, parse_toml, read_text
from safecompress.errors import SpecError, suggest
from safecompress.sparsity import Start
from safecompress.studies.comparison.plan import DEFAULT_ATTACKS, Comparison, ComparisonInputs, MethodEntry
from safecompress.studies.methods import METHODS, Method
from safecompress.training import OBJECTIVES, Recipe

ELSEWHERE = {
    "seed": "a comparison has several: list them in [compare] seeds.",
    "dense_recipe": "a comparison trains the dense model by [recipe], alike for all methods.",
    "compress": "a comparison takes its densities from [compare] densities.",
    "search": "a comparison takes what a method searches by from its own table in [compare] methods.",
    "safety": "a comparison takes its attacks and shadows from [compare], and plants no canaries.",
    "require": "a comparison judges nothing: leave the requirements to compress.",
}
"""What a spec of `compress` has, and where a comparison has it."""


class ComparisonShape(StrictTable):
    """The whole file."""

    name: str = Field(
        pattern=SpecShape.model_fields["name"].metadata[0].pattern,
        description=SpecShape.model_fields["name"].description,
    )
    data: Table = Field(description='Say which data to use: source = "digits".')
    model: Table = Field(description='Say which network to train: name = "mlp".')
    recipe: Table = Field(default_factory=dict)
    compare: Table = Field(description='Say what to compare: methods = ["dense", "safecompress"].')


class CompareShape(StrictTable):
    """``[compare]``."""

    methods: Sequence[StrategyEntry] = Field(
        min_length=1,
        description='Each is a name, or a table: { name = "safecompress", label = "ours", rounds = 4 }.',
    )
    densities: Sequence[float] = Field((0.1,), min_length=1, description="Each is a share of weights kept: 0.05.")
    seeds: Sequence[Count] = Field((0, 1, 2), min_length=1, description="Each draws split, weights and shadows anew.")
    num_shadows: int = Field(8, ge=4, le=100_000, description="It is for attacks that are given by name alone.")
    attacks: Sequence[StrategyEntry] = Field(DEFAULT_ATTACKS, min_length=1)
    shadows: Literal["final pattern", "full pipeline"] = Field(
        "full pipeline", description="It says how the shadow models of searched patterns are trained."
    )


class SearchOptions(StrictTable):
    """What a method that searches takes beside its label and its objective."""

    rounds: Count | None = Field(None, ge=1)
    branches: list[str] | None = Field(None, min_length=1)
    selector: StrategyEntry | None = None
    start: Literal["scratch", "dense", "pretrained"] | None = None
    include: list[str] | None = Field(None, min_length=1)
    exclude: list[str] | None = None


@dataclass(frozen=True)
class ComparisonSpec:
    """What one spec says; ``tables`` are as written."""

    name: str
    data: DataConfig
    model: ModelConfig
    recipe: Recipe
    comparison: Comparison
    tables: Mapping[str, Any] = field(repr=False)

    def study(self, threads: int = 1) -> ComparisonInputs:
        """The study of the spec's data. Raises DataError when they cannot be read or are not usable."""
        dataset = self.data.load()
        model = self.model.spec(dataset.input_shape, dataset.num_classes)
        return ComparisonInputs(
            self.comparison, dataset, model, self.recipe, self.data.sizes, self.data.normalise, threads
        )


def load_comparison(path: str | Path) -> ComparisonSpec:
    """The comparison in the file ``path``. Raises SpecError, with every fault at once, for one that cannot be read."""
    file = Path(path).absolute()
    return parse_comparison(read_text(file, source=str(path)), base=file.parent, source=str(path))


def parse_comparison(text: str, *, base: Path, source: str) -> ComparisonSpec:
    """The comparison in ``text``; relative paths in it count from ``base``. Raises SpecError as above."""
    tables, reading = parse_toml(text, source), SpecReader(base.absolute())
    for key in [key for key in tables if key in ELSEWHERE]:
        value = tables[key]
        heading = f"[{key}]" if isinstance(value, dict) else f"[[{key}]]" if isinstance(value, list) else key
        reading.note(heading, ELSEWHERE[key])
    shape = read_table(
        ComparisonShape, {key: value for key, value in tables.items() if key not in ELSEWHERE}, "", reading
    )
    data_table, model_table, compare_table = (section(tables, key) for key in ("data", "model", "compare"))
    data = None if data_table is None else read_data(data_table, reading)
    model = None if model_table is None else read_model(model_table, reading)
    if model is not None and model.written_weights is not None:
        reading.note("[model] weights", "a comparison trains the dense model itself, once a seed. Leave it out.")
    recipe_table = section(tables, "recipe") or {}
    if "objective" in recipe_table:
        reading.note("[recipe] objective", "belongs to a method: give it in its table in [compare] methods.")
    plain = {key: value for key, value in recipe_table.items() if key != "objective"}
    recipe = read_recipe(plain, "[recipe]", reading, Recipe())
    comparison = None if compare_table is None else _read_compare(compare_table, reading)
    if reading.faults or shape is None or data is None or model is None or comparison is None:
        raise SpecError.from_faults(source, reading.faults)
    return ComparisonSpec(shape.name, data, model, recipe, comparison, tables)


def _read_compare(table: Table, reading: SpecReader) -> Comparison | None:
    """``[compare]``."""
    shape = read_table(CompareShape, table, "[compare]", reading)
    if shape is None:
        return None
    faults_before = len(reading.faults)
    read_attacks(shape.attacks, "[compare] attacks", reading)
    read = [_read_entry(one, f"[compare] methods {number}", reading) for number, one in enumerate(shape.methods, 1)]
    entries = [entry for entry in read if entry is not None]
    if len(reading.faults) > faults_before:
        return None
    options: dict[str, Any] = {"attacks": shape.attacks, "num_shadows": shape.num_shadows, "shadows": shape.shadows}
    return reading.attempt("[compare]", lambda: Comparison(entries, shape.densities, shape.seeds, **options))


def _read_entry(strategy: StrategyEntry, where: str, reading: SpecReader) -> MethodEntry | None:
    """A method by name, or a table with a name, perhaps a label, and options."""
    name, written_options = split_choice(METHODS, strategy, where, reading)
    factory = find_factory(METHODS, name, where, reading) if name is not None else None
    if name is None or factory is None:
        return None
    options, faults_before = dict(written_options), len(reading.faults)
    label = options.pop("label", name)
    if not isinstance(label, str):
        reading.note(f"{where} label", f"takes text, got {show(label)}.")
    owner, (known, _) = f"the method {name!r}", parameters_of(factory, ())
    fixed: dict[str, Any] = {}
    if "objective" in known and "objective" in options:
        fixed["objective"] = make_strategy(OBJECTIVES, options.pop("objective"), f"{where} objective", reading)
    if "plan" in known:
        fixed |= _read_search(factory, options, where, owner, reading)
        written: dict[str, Any] | None = {}
    else:
        written = read_options(factory, options, where, owner, reading, ("name", "label", "objective"))
    if written is None or len(reading.faults) > faults_before:
        return None
    method = call(partial(factory, **fixed), written, where, owner, reading)
    return None if method is None else reading.attempt(where, lambda: MethodEntry(label, method))


def _read_search(
    make_method: Callable[..., Method], table: Table, where: str, owner: str, reading: SpecReader
) -> dict[str, Plan]:
    """The plan of a method that searches, with what ``table`` change of it.

    A plan without rounds has none to set, and one of a single branch has nothing to choose by.
    """
    plan: Plan = getattr(make_method(), "plan")  # noqa: B009  (a Method need not have one)
    allowed = ["start", "include", "exclude"]
    if plan.rounds:
        allowed += ["rounds", *(["branches", "selector"] if len(plan.branches) > 1 else [])]
    for key in table:
        if key not in allowed:
            hint = suggest(key, [*allowed, "label", "objective"])
            reading.note(place(where, key), f"{owner} has no option {show(key)}. {hint}")
    known = {key: value for key, value in table.items() if key in allowed}
    shape = read_table(SearchOptions, known, where, reading)
    if shape is None:
        return {}
    changes: dict[str, Any] = {} if shape.rounds is None else {"rounds": shape.rounds}
    changes |= {} if shape.start is None else {"start": Start(shape.start)}
    changes |= {key: tuple(globs) for key in ("include", "exclude") if (globs := getattr(shape, key)) is not None}
    if shape.branches is not None:
        changes["branches"] = read_branches(shape.branches, f"{where} branches", reading)
    if shape.selector is not None:
        changes["selector"] = make_strategy(SELECTORS, shape.selector, f"{where} selector", reading) or plan.selector
    changed = reading.attempt(where, lambda: replace(plan, **changes))
    return {} if changed is None else {"plan": changed}
