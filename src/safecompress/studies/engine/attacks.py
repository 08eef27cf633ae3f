"""The attacks of a study: made by name with enough shadow models, and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from safecompress.attacks import ATTACKS, Attack, Lira, capabilities_of
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.data import DataSplit
from safecompress.errors import UsageError

StrategyT = TypeVar("StrategyT")


def give_num_shadows(strategy: StrategyT | str, num_shadows: int) -> StrategyT | str | dict[str, Any]:
    """``strategy``; the bare name of an attack that uses shadow models becomes a table that sets ``num_shadows``."""
    if not isinstance(strategy, str) or strategy not in ATTACKS.names():
        return strategy
    if capabilities_of(ATTACKS.factory(strategy)).num_shadows:
        return {"name": strategy, "num_shadows": num_shadows}
    return strategy


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
    counts = [attack.num_shadows for attack in attacks if isinstance(attack, Lira) and attack.mode == "online"]
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
