"""One reader for each section of a spec: a table in, a value out, and every fault noted on the way.

A reader that met a fault returns None or a stand-in made of defaults, so that the sections after it are still read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from safecompress.attacks import ATTACKS, Attack
from safecompress.compression.search.arm import Arms
from safecompress.compression.search.branch import ARM_BRANCHES, DEFAULT_BRANCHES, Branch
from safecompress.compression.search.plan import Plan
from safecompress.compression.search.select import SELECTORS
from safecompress.config.options import convert, find_factory, make_strategy, read_options, split_choice
from safecompress.config.phrases import has_control, show
from safecompress.config.reading import SpecReader
from safecompress.config.tables import (
    CompressShape,
    DataShape,
    DeployShape,
    EvidenceShape,
    FoldsShape,
    Method,
    RequireShape,
    SafetyShape,
    SearchShape,
    StrategyEntry,
    read_table,
)
from safecompress.config.text import Table
from safecompress.config.values import DataConfig, ModelConfig
from safecompress.data import DATASETS, PARTS, SplitSizes
from safecompress.errors import UsageError, suggest
from safecompress.export import Packing
from safecompress.metrics.catalogue import OF_THE_TASK, SIZE_BYTES, change_of, parse_name
from safecompress.metrics.measurement import Direction
from safecompress.models import MODELS
from safecompress.sparsity import ALLOCATIONS, SCHEDULES, SHAPES, Start
from safecompress.spec import Requirement, SafetySpec, metrics_of
from safecompress.training import AUGMENTATIONS, OBJECTIVES, Augmentation, Objective, Recipe


def read_data(table: Table, reading: SpecReader) -> DataConfig | None:
    """``[data]``."""
    shape = read_table(DataShape, table, "[data]", reading)
    if shape is None:
        return None
    sizes = {part: count for part in PARTS if (count := getattr(shape, part)) is not None}
    if "train" in sizes:
        reading.attempt("[data]", lambda: SplitSizes(**{**dict.fromkeys(PARTS, 0), **sizes}))
    where = "[data] source"
    name, written = split_choice(DATASETS, shape.source, where, reading)
    factory = find_factory(DATASETS, name, where, reading) if name is not None else None
    if name is None or factory is None:
        return None
    options = read_options(factory, written, where, f"the dataset {name!r}", reading)
    return None if options is None else DataConfig(name, options, shape.normalise, sizes, reading.base)


def read_model(table: Table, reading: SpecReader) -> ModelConfig | None:
    """``[model]``: the name, perhaps trained weights, and all else an option of that network."""
    options = dict(table)
    name, weights = options.pop("name", None), options.pop("weights", None)
    if weights is not None and not (isinstance(weights, str) and weights and not has_control(weights)):
        reading.note("[model] weights", f"takes the path of a .safetensors file, got {show(weights)}.")
        weights = None
    if not isinstance(name, str):
        got = "is missing" if name is None else f"takes text, got {show(name)}"
        reading.note("[model] name", f"{got}. Allowed: {', '.join(MODELS.names())}.")
        return None
    factory = find_factory(MODELS, name, "[model] name", reading)
    if factory is None:
        return None
    reserved = ("name", "weights", "input_shape", "num_classes")  # the shapes come from the data
    read = read_options(factory, options, "[model]", f"the model {name!r}", reading, reserved)
    return None if read is None else ModelConfig(name, read, weights, reading.base)


def read_recipe(table: Table, where: str, reading: SpecReader, defaults: Recipe) -> Recipe:
    """``[recipe]`` or ``[dense_recipe]``: ``defaults`` with what the table changes, or unchanged after a fault."""
    fields: dict[str, Any] = {}
    options = dict(table)
    choice = options.pop("objective", None)
    objective = defaults.objective if choice is None else _read_objective(choice, where, reading)
    augment = _read_augment(options.pop("augment"), where, reading) if "augment" in options else defaults.augment
    for key, value in options.items():
        read = read_options(Recipe, {key: value}, where, "the recipe", reading)
        fields |= {} if read is None else {key: read[key]}
    return (
        reading.attempt(
            where,
            lambda: replace(
                defaults, **convert(Recipe, fields), objective=objective or defaults.objective, augment=augment
            ),
        )
        or defaults
    )


def _read_objective(strategy: Any, where: str, reading: SpecReader) -> Objective | None:
    """The objective that a name, or a table with one, stands for."""
    if isinstance(strategy, str | dict):
        return make_strategy(OBJECTIVES, strategy, f"{where} objective", reading)
    reading.note(f"{where} objective", f"takes a name or a table with one, got {show(strategy)}.")
    return None


def _read_augment(choices: Any, where: str, reading: SpecReader) -> tuple[Augmentation, ...]:
    """The augmentations that a list of names, or tables with names, stands for; those that could be made."""
    if not isinstance(choices, list) or not all(isinstance(choice, str | dict) for choice in choices):
        reading.note(
            f"{where} augment",
            f"takes a list of names, or of tables with names, got {show(choices)}. Allowed: "
            f"{', '.join(AUGMENTATIONS.names())}.",
        )
        return ()
    read = [make_strategy(AUGMENTATIONS, one, f"{where} augment {n}", reading) for n, one in enumerate(choices, 1)]
    return tuple(augmentation for augmentation in read if augmentation is not None)


def read_plan(compress: Table, search: Table, reading: SpecReader, *, default: Method = "folds") -> Plan | None:
    """``[compress]`` and ``[search]``, which make one plan; ``default`` is the method of a spec that names none."""
    what = read_table(CompressShape, compress, "[compress]", reading)
    how = read_table(SearchShape, {"method": default, **search}, "[search]", reading)
    if what is None or how is None:
        return None
    allocation = make_strategy(ALLOCATIONS, what.allocation, "[compress] allocation", reading)
    shape = make_strategy(SHAPES, what.shape, "[compress] shape", reading)
    selector = make_strategy(SELECTORS, how.selector, "[search] selector", reading)
    schedule = make_strategy(SCHEDULES, how.schedule, "[search] schedule", reading)
    usual = ARM_BRANCHES if how.method == "folds" else DEFAULT_BRANCHES
    faults_before = len(reading.faults)
    branches = usual if how.branches is None else read_branches(how.branches, "[search] branches", reading)
    branches = usual if len(reading.faults) > faults_before else branches
    attacks = None if how.attacks is None else read_attacks(how.attacks, "[search] attacks", reading)
    arms = _read_arms(how, search, reading)
    if allocation is None or shape is None or selector is None or schedule is None:
        return None
    return reading.attempt(
        "[search]",
        lambda: Plan(
            density=what.density,
            rounds=how.rounds,
            branches=branches,
            selector=selector,
            attacks=attacks,
            finalists=how.finalists,
            rank=how.rank,
            refit=how.refit,
            schedule=schedule,
            allocation=allocation,
            shape=shape,
            start=None if what.start is None else Start(what.start),
            stop=how.stop,
            recovery=how.recovery,
            include=tuple(what.include),
            exclude=tuple(what.exclude),
            arms=arms,
        ),
    )


OF_ARMS = ("folds", "shares", "lengths", "densities", "goal", "evidence")
"""Keys of ``[search]`` that only arms have."""

OF_REWIRING = ("rank", "refit")
"""Keys of ``[search]`` that only rounds of candidates have."""


def names_method(search: Table) -> bool:
    """Whether ``[search]`` says by which method: by name, or by a key that only arms have."""
    return "method" in search or any(key in search for key in OF_ARMS)


def usual_method(compress: Table, search: Table, network_spec: ModelConfig | None) -> Method:
    """The method of a spec that names none: "rewiring" where pruning starts from trained weights, else "folds"."""
    start = compress.get("start", "dense" if network_spec is not None and network_spec.weights is not None else None)
    return "rewiring" if start == "dense" and not names_method(search) else "folds"


def _read_arms(how: SearchShape, search: Table, reading: SpecReader) -> Arms | None:
    """The arms of a spec; None for the method "rewiring". Keys of the other method are faults."""
    is_folds = how.method == "folds"
    other = "rewiring" if is_folds else "folds"
    for key in OF_REWIRING if is_folds else OF_ARMS:
        if key in search and not any(fault.startswith(f"[search] {key}") for fault in reading.faults):
            reading.note(f"[search] {key}", f'belongs to method = "{other}". Take it out, or say that method.')
    if not is_folds:
        return None
    folds = read_table(FoldsShape, how.folds, "[search] folds", reading)
    evidence = read_table(EvidenceShape, how.evidence, "[search] evidence", reading)
    if folds is None or evidence is None:
        return None
    several = {"shares": tuple(how.shares), "lengths": tuple(how.lengths), "densities": tuple(how.densities or ())}
    return reading.attempt(
        "[search]",
        lambda: Arms(folds.number, folds.held_out, folds.rewiring, **several, goal=how.goal, repeats=evidence.repeats),
    )


def read_packing(table: Table, reading: SpecReader) -> Packing:
    """``[deploy]``; the default after a fault."""
    shape = read_table(DeployShape, table, "[deploy]", reading)
    if shape is None:
        return Packing()
    return reading.attempt("[deploy]", lambda: Packing(**shape.model_dump())) or Packing()


def read_safety(safety: Table | None, requires: Sequence[Table], reading: SpecReader) -> SafetySpec | None:
    """``[safety]`` and all ``[[require]]``, which make one spec."""
    faults_before = len(reading.faults)
    shape = None if safety is None else read_table(SafetyShape, safety, "[safety]", reading)
    choices = None if shape is None else shape.attacks
    if safety is not None and "attacks" not in safety:
        reading.note("[safety] attacks", f"is missing. List at least one of: {', '.join(ATTACKS.names())}.")
    attacks = read_attacks(choices or [], "[safety] attacks", reading)
    all_known = len(attacks) == len(choices or []) > 0
    read = [
        _read_requirement(table, f"[[require]] {number}", attacks, all_known, reading)
        for number, table in enumerate(requires, 1)
    ]
    if shape is None or not requires or len(reading.faults) > faults_before:
        return None
    requirements = [requirement for requirement in read if requirement is not None]
    options = {
        name: getattr(shape, name) for name in ("alpha", "access", "shadows", "shadow_budget", "canaries", "rough")
    }
    return reading.attempt("[safety]", lambda: SafetySpec(attacks, requirements, **options))


def read_attacks(choices: Sequence[StrategyEntry], where: str, reading: SpecReader) -> tuple[Attack, ...]:
    """The attacks that could be made; two of one name are a fault, since their figures would have one name."""
    read = [make_strategy(ATTACKS, choice, f"{where} {n}", reading) for n, choice in enumerate(choices, 1)]
    attacks = tuple(attack for attack in read if attack is not None)
    for name in _repeated([attack.name for attack in attacks]):
        reading.note(where, f"the attack {name!r} is listed twice. List it once.")
    return attacks


def read_branches(texts: Sequence[str], where: str, reading: SpecReader) -> tuple[Branch, ...]:
    """The branches that could be made; two of one name are a fault."""
    branches = [
        reading.attempt(f"{where} {number}", partial(_parse_branch, text)) for number, text in enumerate(texts, 1)
    ]
    for name in _repeated(texts):
        reading.note(where, f"{show(name)} is listed twice. List it once.")
    by_name = {branch.name: branch for branch in branches if branch is not None}
    return tuple(by_name.values()) or DEFAULT_BRANCHES  # any, beside the fault that was noted


def _parse_branch(text: str) -> Branch:
    """The branch called ``text``. Raises UsageError, also for a rule that cannot be made from its name alone."""
    try:
        return Branch.parse(text)
    except TypeError as error:
        raise UsageError(f"A rule of the branch {text!r} needs options, and a branch gives none: {error}") from error


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _read_requirement(
    table: Table, where: str, attacks: Sequence[Attack], all_known: bool, reading: SpecReader
) -> Requirement | None:
    """One ``[[require]]``. With ``all_known`` false some attack could not be read, and a metric of it passes."""
    shape = read_table(RequireShape, table, where, reading)
    bounds = {word: table[word] for word in ("at_most", "at_least", "within") if word in table}
    if len(bounds) != 1:
        got = " and ".join(bounds) or "none"
        reading.note(where, f"takes exactly one of at_most, at_least and within, got {got}.")
    if "of" in table and "within" not in table:
        reading.note(where, "'of' goes with within: within = 0.01, of = \"dense\". Take it out, or say within.")
    if shape is None:
        return None
    word = next(iter(bounds)) if len(bounds) == 1 else None
    metric = change_of(shape.metric) if word == "within" else shape.metric
    fault = _metric_fault(shape.metric, attacks, with_changes=word != "within", all_known=all_known)
    bound = None if word is None else getattr(shape, word)
    if fault or bound is None:
        if fault:
            reading.note(f"{where} metric", fault)
        return None
    fault = _bound_fault(metric, word, bound)
    if fault:
        reading.note(where, fault)
    return Requirement(metric, bound, Direction.HIGHER if word == "at_least" else Direction.LOWER, shape.proposed)


def _metric_fault(metric: str, attacks: Sequence[Attack], *, with_changes: bool, all_known: bool) -> str | None:
    """Why nothing measures ``metric``, or None; ``with_changes`` admits ``accuracy.drop`` and its kin."""
    plain = list(dict.fromkeys([*OF_THE_TASK, *(name for attack in attacks for name in metrics_of(attack))]))
    allowed = plain + [change_of(name) for name in plain] if with_changes else plain
    parsed = parse_name(metric)
    attack = parsed.attack if parsed is not None else None
    if metric in allowed or (attack is not None and not all_known):
        return None
    if attack in ATTACKS.names() and attack not in {one.name for one in attacks}:
        return f"{metric!r} comes from the attack {attack!r}, which [safety] attacks does not list. Add it there."
    return f"nothing measures {show(metric)}. {suggest(metric, allowed)}"


def _bound_fault(metric: str, word: str | None, bound: float) -> str | None:
    """Why ``bound`` on ``metric`` can never decide anything, or None."""
    name = parse_name(metric)
    if name is None:
        return None
    if word == "at_least" and name.direction is Direction.LOWER:
        return f"{metric} is better when lower, so it takes at_most, not at_least."
    if word == "at_most" and name.direction is Direction.HIGHER:
        return f"{metric} is better when higher, so it takes at_least, not at_most."
    if name.metric.is_share and not -1 * name.is_change <= bound <= 1:
        return f"{metric} is a share, from {-1 * name.is_change} to 1, got {word} = {bound:g}. Write 85 % as 0.85."
    if name.is_change:
        return None
    if name.metric is SIZE_BYTES and bound < name.metric.low:
        return f"{metric} counts bytes, so the bound is at least 1, got {bound:g}."
    if not name.metric.is_share and bound <= 0:
        return f"{metric} is above 0, so the bound must be, got {bound:g}."
    return None
