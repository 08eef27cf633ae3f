"""load_tuning: a spec of `compress` with a table [tune] in, a HyperparameterSpec out, or SpecError with every fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from safecompress.attacks import Attack, capabilities_of
from safecompress.attacks.questions import headline_of
from safecompress.compression.job import Job
from safecompress.compression.search import DEFAULT_BRANCHES, Branch
from safecompress.compression.search.plan import Plan
from safecompress.config import Config
from safecompress.config.options import make_strategy
from safecompress.config.read import section
from safecompress.config.reading import SpecReader
from safecompress.config.sections import (
    read_attacks,
    read_branches,
    read_data,
    read_model,
    read_plan,
    read_recipe,
    read_safety,
)
from safecompress.config.tables import SpecShape, StrictTable, read_table
from safecompress.config.tables import StrategyEntry as Written
from safecompress.config.text import Table, parse_toml, read_text
from safecompress.errors import SpecError
from safecompress.metrics.catalogue import ACCURACY
from safecompress.spec import SafetySpec, at_least, at_most
from safecompress.studies.engine import give_num_shadows
from safecompress.studies.engine.page import with_interval
from safecompress.studies.hyperparameters.plan import Tuning, check_attacks, default_attacks
from safecompress.studies.hyperparameters.sampler import Sampler
from safecompress.studies.hyperparameters.space import Numbers, Range, Space
from safecompress.studies.hyperparameters.trial import TrialResult
from safecompress.training import OBJECTIVES, CrossEntropy, Objective, Recipe

_LONGEST_NAME = 85
"""Of a search, so that the names of its front's runs stay within what a name may have."""

MISSING = {"model": 'which network to train: name = "mlp"', "tune": "what may vary: densities = [0.05, 0.5]"}
"""Tables that must be there, and what they say."""


class HyperparameterShape(SpecShape):
    """The whole file: a spec of `compress` in which [[require]] may be left out."""

    require: list[Table] = Field(default_factory=list)
    tune: Table | None = None


class TuneShape(StrictTable):
    """``[tune]``."""

    trials: int = Field(20, ge=1, le=100_000, description="It is how many settings are tried.")
    densities: Sequence[float] | None = Field(
        None, min_length=1, description="Two numbers are the ends of a range: [0.05, 0.5]; one, three or more a list."
    )
    objectives: Sequence[Written] | None = Field(
        None, min_length=1, description='Each is a name, or a table: { name = "relax_loss", target = 0.5 }.'
    )
    branches: Sequence[list[str]] | None = Field(
        None, min_length=1, description='Each is a list of branches: ["magnitude+random", "keep"].'
    )
    learning_rates: Sequence[float] | None = Field(
        None, min_length=1, description="Two numbers are the ends of a range; one, three or more a list."
    )
    sampler: Sampler = Field("tpe", description="It says how the next setting is found.")
    batch: int = Field(4, ge=1, le=10_000, description="It is how many settings are asked for at once.")
    attacks: Sequence[Written] | None = Field(
        None, min_length=1, description="They measure the settings; each is a name, or a table with one."
    )
    num_shadows: int = Field(8, ge=4, le=100_000, description="It is for attacks that are given by name alone.")


@dataclass(frozen=True)
class HyperparameterSpec:
    """What one spec says. ``config`` is what `compress` would read, ``tables`` are as written.

    Where ``has_requirements`` is false, the requirements of ``config`` stand for none.
    """

    config: Config
    space: Space
    attacks: tuple[Attack, ...]
    trials: int
    batch: int
    sampler: Sampler
    has_requirements: bool
    tables: Mapping[str, Any] = field(repr=False)

    def tuning(self, job: Job, threads: int = 1) -> Tuning:
        """The search of ``job``, which was made from `config`."""
        return Tuning(job, self.space, self.attacks, self.trials, self.batch, self.sampler, threads)

    def front_toml(self, number: int, trial_number: int, trial: TrialResult, folder: Path) -> str:
        """The spec in ``folder`` that certifies a front point: its setting in place of the spec's own."""
        config = self.space.apply(trial.choice, self.config)
        lines = [
            f"Front point {number} of the search {self.config.name!r}, trial {trial_number}: {trial.choice}.",
            f"Accuracy {with_interval(trial.accuracy)} on validation rows; worst attack {trial.worst_attack}, "
            f"{trial.worst_label} {with_interval(trial.worst_auc)} on selection rows.",
            "These figures chose the setting, so they flatter it. Certify it on rows that chose nothing:",
            f"  safecompress compress front-{number}.toml",
            "The search writes this file anew when it is run again: change a copy.",
        ]
        if not self.has_requirements:
            config = replace(config, spec=_bounds(config.spec, trial))
            lines.append(
                "The search had no [[require]]: the bounds below were made from this trial's figures, one half-width "
                "beyond their limits. Put what you need in their place BEFORE you certify."
            )
        named = replace(config, name=f"{config.name[:_LONGEST_NAME]}-front-{number}")
        return "".join(f"# {line}\n" for line in lines) + named.moved_to(folder).to_toml()


def load_tuning(path: str | Path) -> HyperparameterSpec:
    """The search in the file ``path``. Raises SpecError, with every fault at once, for one that cannot be read."""
    file = Path(path).absolute()
    return parse_tuning(read_text(file, source=str(path)), base=file.parent, source=str(path))


def parse_tuning(text: str, *, base: Path, source: str) -> HyperparameterSpec:
    """The search in ``text``; relative paths in it count from ``base``. Raises SpecError as above."""
    tables, reading = parse_toml(text, source), SpecReader(base.absolute())
    shape = read_table(HyperparameterShape, tables, "", reading)
    for key, advice in MISSING.items():
        if key not in tables:
            reading.note(f"[{key}]", f"is missing. Say {advice}.")
    data_table, model_table, tune_table = (section(tables, key) for key in ("data", "model", "tune"))
    data = None if data_table is None else read_data(data_table, reading)
    model = None if model_table is None else read_model(model_table, reading)
    recipe = read_recipe(section(tables, "recipe") or {}, "[recipe]", reading, Recipe())
    plain = replace(recipe, objective=CrossEntropy())
    dense_recipe = read_recipe(section(tables, "dense_recipe") or {}, "[dense_recipe]", reading, plain)
    search_table = section(tables, "search") or {}
    plan = read_plan(section(tables, "compress") or {}, search_table, reading, default="rewiring")
    if plan is not None and plan.arms is not None:
        reading.note(
            "[search] method",
            'must be "rewiring": a study varies one model\'s training. Name cross_fit as an objective.',
        )
    requires = [] if shape is None else shape.require
    spec = read_safety(section(tables, "safety"), requires or [{"metric": "accuracy", "at_least": 0.0}], reading)
    tune = None if tune_table is None else read_table(TuneShape, tune_table, "[tune]", reading)
    space = None
    attacks: tuple[Attack, ...] = ()
    if tune is not None and plan is not None:
        space = _read_space(tune, recipe, plan, "branches" in search_table, reading)
        if spec is not None:
            attacks = _read_attacks(tune, spec, reading)
    if reading.faults or None in (shape, data, model, plan, spec, tune, space):
        raise SpecError.from_faults(source, reading.faults)
    assert shape and data and model and plan and spec and tune and space  # else there was a fault
    config = Config(
        shape.name, shape.seed, data, model, recipe, dense_recipe, plan, spec, strategies=tuple(reading.strategies)
    )
    return HyperparameterSpec(config, space, attacks, tune.trials, tune.batch, tune.sampler, bool(requires), tables)


def _read_space(tune: TuneShape, recipe: Recipe, plan: Plan, has_branches: bool, reading: SpecReader) -> Space | None:
    """What may vary; what [tune] does not name stays as the rest of the spec has it."""
    faults_before = len(reading.faults)
    densities = _numbers(tune.densities, plan.density, "[tune] densities", reading)
    rates = _numbers(tune.learning_rates, recipe.learning_rate, "[tune] learning_rates", reading)
    objectives = _read_objectives(tune.objectives, recipe.objective, reading)
    if tune.branches is not None and not plan.rounds:
        reading.note(
            "[tune] branches", "means nothing with [search] rounds = 0: the first pattern stays. Leave it out."
        )
    if tune.branches is not None:
        read = [
            read_branches(texts, f"[tune] branches {number}", reading) for number, texts in enumerate(tune.branches, 1)
        ]
    else:
        read = [plan.branches] if has_branches or not plan.rounds else _halves()
    if len(reading.faults) > faults_before:
        return None
    branches = {", ".join(branch.name for branch in one): one for one in read}
    if len(branches) < len(read):
        reading.note("[tune] branches", "lists the same branches twice. List them once.")
        return None
    return reading.attempt("[tune]", lambda: Space(densities, objectives, branches, rates))


def _numbers(numbers: Sequence[float] | None, own: float, where: str, reading: SpecReader) -> Numbers:
    """A range for two numbers, else a list; the spec's ``own`` for none and after a fault."""
    if numbers is not None and len(numbers) == 2:
        return reading.attempt(where, lambda: Range(*map(float, numbers))) or (own,)
    return tuple(map(float, numbers)) if numbers is not None else (float(own),)


def _read_objectives(strategies: Sequence[Written] | None, own: Objective, reading: SpecReader) -> dict[str, Objective]:
    """Objectives by label; the recipe's ``own`` where none is listed."""
    if strategies is None:
        return {_label(_name_of(own)): own}
    read: dict[str, Objective] = {}
    for number, choice in enumerate(strategies, 1):
        where, label = f"[tune] objectives {number}", _label(choice)
        objective = make_strategy(OBJECTIVES, choice, where, reading)
        if objective is not None and (label in read or objective in read.values()):
            reading.note(where, f"{label} is listed twice. List it once.")
        elif objective is not None:
            read[label] = objective
    return read


def _read_attacks(tune: TuneShape, spec: SafetySpec, reading: SpecReader) -> tuple[Attack, ...]:
    """The attacks on a trial; those given by name alone use ``num_shadows`` shadows, if they use any."""
    if tune.attacks is None:
        return default_attacks(spec)
    written = [give_num_shadows(attack, tune.num_shadows) for attack in tune.attacks]
    attacks = read_attacks(written, "[tune] attacks", reading)
    if len(attacks) == len(written):
        reading.attempt("[tune] attacks", lambda: check_attacks(attacks, spec))
    return attacks


def _halves() -> list[tuple[Branch, ...]]:
    """The default branches; those that grow at random; those that grow where the gradient is large. All may keep."""
    parts = [[b for b in DEFAULT_BRANCHES if not b.name.endswith(other)] for other in ("+gradient", "+random")]
    return [DEFAULT_BRANCHES, *map(tuple, parts)]


def _name_of(objective: Objective) -> Written:
    names = (name for name in OBJECTIVES.names() if OBJECTIVES.factory(name) is type(objective))
    return next(names, repr(objective))


def _label(strategy: Written) -> str:
    """``relax_loss`` or ``relax_loss (target = 0.5)``."""
    if isinstance(strategy, str):
        return strategy
    options = ", ".join(f"{key} = {value!r}" for key, value in strategy.items() if key != "name")
    return f"{strategy.get('name')} ({options})" if options else str(strategy.get("name"))


def _bounds(spec: SafetySpec, trial: TrialResult) -> SafetySpec:
    """Requirements from the figures of a trial: every attack's AUC, and the accuracy.

    Each bound lies one half-width beyond the confidence limit of the trial, or a verdict would pass the very same model
    only by luck. An attack that the trial did not run is bounded as the worst that it ran.
    """
    worst = trial.worst_auc
    requirements = []
    for attack in spec.attacks:
        metric = headline_of(capabilities_of(attack).question)
        figure = trial.figures.get(metric.of(attack.name), worst)
        limit = min(1.0, _hundredths(2 * figure["high"] - figure["value"], math.ceil))
        requirements.append(at_most(metric.of(attack.name), limit))
    accuracy = trial.accuracy
    least = max(0.0, _hundredths(2 * accuracy["low"] - accuracy["value"], math.floor))
    requirements.append(at_least(ACCURACY.name, least))
    return SafetySpec(spec.attacks, requirements, spec.alpha, spec.access, spec.shadows)


def _hundredths(value: float, towards: Callable[[float], int]) -> float:
    """``value`` with two digits, rounded ``towards`` one side; rounding errors of floats do not count."""
    return towards(round(100 * value, 6)) / 100
