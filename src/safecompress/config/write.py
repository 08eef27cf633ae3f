"""Recipes, plans and safety specs as the tables of a spec, with every default written out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from safecompress.attacks import ATTACKS
from safecompress.compression.search.branch import Branch
from safecompress.compression.search.plan import Plan
from safecompress.compression.search.select import SELECTORS
from safecompress.config.options import plain
from safecompress.config.reading import BuiltStrategy
from safecompress.errors import UsageError
from safecompress.metrics.measurement import Direction
from safecompress.registry import Registry
from safecompress.sparsity import ALLOCATIONS, SCHEDULES, SHAPES
from safecompress.spec import Requirement, SafetySpec
from safecompress.training import AUGMENTATIONS, OBJECTIVES, Recipe


def recipe_table(recipe: Recipe, strategies: Iterable[BuiltStrategy]) -> dict[str, Any]:
    """``[recipe]`` or ``[dense_recipe]``."""
    tables = {
        "objective": strategy_table(OBJECTIVES, recipe.objective, strategies),
        "augment": [strategy_table(AUGMENTATIONS, one, strategies) for one in recipe.augmentations],
    }
    values = {one.name: plain(getattr(recipe, one.name)) for one in fields(recipe) if one.name not in tables}
    return {**values, **tables}


def identity_table(recipe: Recipe, table: Mapping[str, Any]) -> dict[str, Any]:
    """The ``table`` of ``recipe`` without what no digest mentions: later fields that keep their defaults."""
    identity = recipe.identity_fields()
    return {name: value for name, value in table.items() if name in identity}


def plan_tables(plan: Plan, spec: SafetySpec, strategies: Iterable[BuiltStrategy]) -> dict[str, Any]:
    """``[compress]`` and ``[search]``; the search's attacks are the spec's own where the plan names none."""
    attacks = [attack for tier in plan.tests(spec.attacks) for attack in tier]
    return {
        "compress": {
            "density": float(plan.density),
            "allocation": strategy_table(ALLOCATIONS, plan.allocation, strategies),
            "shape": strategy_table(SHAPES, plan.shape, strategies),
            **({} if plan.start is None else {"start": plan.start.value}),
            "include": list(plan.include),
            "exclude": list(plan.exclude),
        },
        "search": {
            **_method_table(plan),
            "rounds": plan.rounds,
            "branches": [_branch_name(branch) for branch in plan.branches],
            "selector": strategy_table(SELECTORS, plan.selector, strategies),
            "attacks": [strategy_table(ATTACKS, attack, strategies) for attack in attacks],
            "finalists": plan.finalists,
            "schedule": strategy_table(SCHEDULES, plan.schedule, strategies),
            "stop": float(plan.stop),
            "recovery": float(plan.recovery),
        },
    }


def _method_table(plan: Plan) -> dict[str, Any]:
    """The keys of ``[search]`` that the plan's method alone has."""
    arms = plan.arms
    if arms is None:
        return {"method": "rewiring", "rank": plan.rank, "refit": plan.refit}
    return {
        "method": "folds",
        "folds": {"number": arms.folds, "held_out": arms.held_out, "rewiring": arms.rewiring},
        "shares": list(arms.shares),
        "lengths": list(arms.lengths),
        **({"densities": list(arms.densities)} if arms.densities else {}),
        "goal": arms.goal,
        "evidence": {"repeats": arms.repeats},
    }


def safety_tables(spec: SafetySpec, strategies: Iterable[BuiltStrategy]) -> dict[str, Any]:
    """``[safety]`` and ``[[require]]``; a margin (within) is written as the bound on the change that it is."""
    return {
        "safety": {
            "attacks": [strategy_table(ATTACKS, attack, strategies) for attack in spec.attacks],
            "alpha": float(spec.alpha),
            "access": spec.access.name.lower(),
            "shadows": spec.shadows,
            **({} if spec.shadow_budget is None else {"shadow_budget": spec.shadow_budget}),
            **({"canaries": spec.canaries} if spec.canaries else {}),
            **({} if spec.rough is None else {"rough": spec.rough}),
        },
        "require": [_requirement_table(requirement) for requirement in spec.requirements],
    }


def strategy_table(registry: Registry[Any], strategy: Any, strategies: Iterable[BuiltStrategy]) -> str | dict[str, Any]:
    """The name of ``strategy``, or a table with its name and all options when it has any.

    Of what a spec built, ``strategies``, the table is known; else the class gives the name and its fields the options.
    Raises UsageError when neither does.
    """
    known = next((dict(built.table) for built in strategies if built.strategy is strategy), None)
    table = known or _table_of(registry, strategy)
    return table["name"] if len(table) == 1 else table


def _table_of(registry: Registry[Any], strategy: Any) -> dict[str, Any]:
    name = next((name for name in registry.names() if registry.factory(name) is type(strategy)), None)
    if name is None or not is_dataclass(strategy):
        raise UsageError(
            f"The {registry.kind} {strategy!r} has no name that a spec could give it, so this run cannot be written "
            f"down. Register its class, a dataclass, as an entry point of {registry.group}."
        )
    return {"name": name, **{one.name: plain(getattr(strategy, one.name)) for one in fields(strategy) if one.init}}


def _branch_name(branch: Branch) -> str:
    try:
        is_named = Branch.parse(branch.name) == branch
    except UsageError:
        is_named = False
    if not is_named:
        raise UsageError(
            f"The branch {branch.name!r} has rules or options that its name does not say, so this run cannot be "
            "written down. Make it with Branch.parse, from the names of its rules."
        )
    return branch.name


def _requirement_table(requirement: Requirement) -> dict[str, str | float]:
    word = "at_most" if requirement.direction is Direction.LOWER else "at_least"
    proposed = {} if requirement.proposed is None else {"proposed": float(requirement.proposed)}
    return {"metric": requirement.metric, word: float(requirement.bound), **proposed}
