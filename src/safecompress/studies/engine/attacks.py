"""The attacks of a study: made by name with enough shadow models, and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from safecompress.attacks import ATTACKS, Attack, AttackResult, Lira, capabilities_of
from safecompress.attacks.questions import headline_of
from safecompress.attacks.reference import companions_of
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.data import DataSplit
from safecompress.errors import UsageError
from safecompress.report import describe_measurements
from safecompress.studies.engine.page import changed_options
from safecompress.studies.engine.study import Figure

StrategyT = TypeVar("StrategyT")


def give_num_shadows(strategy: StrategyT | str, num_shadows: int) -> StrategyT | str | dict[str, Any]:
    """``strategy``; the bare name of an attack that uses shadow models becomes a table that sets ``num_shadows``."""
    if not isinstance(strategy, str) or strategy not in ATTACKS.names():
        return strategy
    if capabilities_of(ATTACKS.factory(strategy)).num_shadows:
        return {"name": strategy, "num_shadows": num_shadows}
    return strategy


def name_apart(attack: Attack) -> str:
    """``lira`` or ``lira, signal = 'all'``: an attack with the options that are not its defaults, shadows apart."""
    changed = changed_options(attack) or {}
    options = [f"{name} = {own!r}" for name, (own, _) in changed.items() if name != "num_shadows"]
    return ", ".join([attack.name, *options])


def apart(attacks: Iterable[Attack], results: Sequence[AttackResult]) -> dict[str, Figure]:
    """The headline figure of each attack that others run beside, and of those, by name."""
    found: dict[str, Figure] = {}
    for attack, result in zip(attacks, results, strict=True):
        headline = headline_of(result.question).of(result.attack)
        for one, own in zip((attack, *companions_of(attack)), result.largest_of, strict=False):
            figures = {figure.name: figure for figure in own.measurements}
            found |= {name_apart(one): describe_measurements({headline: figures[headline]})[headline]}
    return found


def check_single_version(attacks: Iterable[Attack], reason: str) -> None:
    """Raise UsageError, with the ``reason``, for attacks that combine several versions of one model."""
    joining = [attack.name for attack in attacks if capabilities_of(attack).joins_versions]
    if joining:
        raise UsageError(
            f"{', '.join(joining)} joins several versions of one model, and {reason}. Leave it out; `compress` runs it."
        )


def check_shadows(
    attacks: Iterable[Attack], evidence: DataSplit, purpose: str, seed: int, *, has_reference: bool
) -> None:
    """Raise UsageError, where LiRA runs online, unless every row of the pool is in two shadows and out of two."""
    all_attacks = [one for attack in attacks for one in (attack, *companions_of(attack))]
    counts = [one.num_shadows for one in all_attacks if isinstance(one, Lira) and one.mode == "online"]
    if not counts:
        return
    pool = shadow_rows(evidence, purpose, seed, has_reference=has_reference)
    draws = pool.draws(min(counts))[:, : len(pool.labels) - pool.num_mislabelled]
    fewest = min(int(side.sum(axis=0).min()) for side in (draws, ~draws))
    if fewest < 2:
        share = pool.size / len(pool.labels)
        raise UsageError(
            f"lira needs at least 2 shadow models trained with each row and 2 without it. With {min(counts)} shadows "
            f"and seed {seed}, some row has only {fewest}. A shadow trains on {share:.1%} of its pool: raise "
            f"num_shadows, or size [data] so that train is half of train, nonmember_fit, nonmember_{purpose} and "
            "population."
        )
