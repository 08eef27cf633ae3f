"""The attacks of a study: made by name with enough shadow models, and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from safecompress.attacks import ATTACKS, Attack, Lira, capabilities_of
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.data import DataSplit
from safecompress.errors import UsageError

ChoiceT = TypeVar("ChoiceT")


def with_shadows(choice: ChoiceT | str, num_shadows: int) -> ChoiceT | str | dict[str, Any]:
    """``choice``; the name alone of an attack that uses shadow models becomes a table that gives it ``num_shadows``."""
    if not isinstance(choice, str) or choice not in ATTACKS.names():
        return choice
    if capabilities_of(ATTACKS.factory(choice)).num_shadows:
        return {"name": choice, "num_shadows": num_shadows}
    return choice


def check_single_version(attacks: Iterable[Attack], reason: str) -> None:
    """Raise UsageError, with the ``reason``, for attacks that join what several versions of one model say."""
    joining = [attack.name for attack in attacks if capabilities_of(attack).joins_versions]
    if joining:
        raise UsageError(
            f"{', '.join(joining)} joins several versions of one model, and {reason}. Leave it out; `compress` runs it."
        )


def check_shadows(
    attacks: Iterable[Attack], evidence: DataSplit, purpose: str, seed: int, *, has_reference: bool
) -> None:
    """Raise UsageError unless every row of the pool is in two shadows, and out of two, where LiRA asks for it."""
    counts = [attack.num_shadows for attack in attacks if isinstance(attack, Lira) and attack.mode == "online"]
    if not counts:
        return
    pool = shadow_rows(evidence, purpose, seed, has_reference=has_reference)
    draws = pool.draws(min(counts))
    fewest = min(int(side.sum(axis=0).min()) for side in (draws, ~draws))
    if fewest < 2:
        share = pool.size / len(pool.labels)
        raise UsageError(
            f"{min(counts)} shadow models are too few for lira: with seed {seed} some row is in, or out of, only "
            f"{fewest} of them, and needs two of both. A shadow has {share:.1%} of its pool: raise num_shadows, or "
            f"size [data] so that train is half of train, nonmember_fit, nonmember_{purpose} and population."
        )
