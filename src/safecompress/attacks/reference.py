"""Reference sets: the attacks that a verdict must rest on, by what the attacker is given.

A spec that bounds fewer, or runs them weaker, may be of use, but it cannot pass a model: its verdict is INCONCLUSIVE
and says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from safecompress.attacks.base import Attack
from safecompress.attacks.target import Access

REFERENCE: Mapping[Access, tuple[str, ...]] = MappingProxyType(
    {
        Access.LABELS: ("gap", "label_only"),
        Access.SCORES: ("modified_entropy", "neural", "lira"),
        Access.WEIGHTS: ("modified_entropy", "neural", "whitebox", "lira"),
    }
)
"""Names of the attacks that a verdict at each access must bound. An artifact on a device grants WEIGHTS."""

STANDS_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType({"lira": ("joint_lira",)})
"""Attacks that see at least what another does, and may be bounded in its place."""

LEAST: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "neural": {"epochs": 50, "patience": 5},
        "whitebox": {"epochs": 50, "patience": 5},
        "lira": {"num_shadows": 16},
        "joint_lira": {"num_shadows": 16},
        "label_only": {"queries": 16},
    }
)
"""Least values of the options that an attack's strength hangs on."""


def missing_reference_attacks(
    attacks: Iterable[Attack], bounded: Iterable[str], access: Access, reasons: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """What ``attacks``, of which those named ``bounded`` have a requirement, lack of the reference set of ``access``.

    One phrase each; empty when nothing is missing. ``reasons`` say of an attack why its requirement does not bound it.
    """
    by_name, required = {attack.name: attack for attack in attacks}, set(bounded)
    missing = []
    for name in REFERENCE[access]:
        candidates = [by_name[n] for n in (name, *STANDS_FOR.get(name, ())) if n in by_name]
        ready = [attack for attack in candidates if attack.name in required]
        if not candidates:
            missing.append(f"the attack {name} is not simulated")
        elif not ready:
            said = [reasons[attack.name] for attack in candidates if attack.name in reasons]
            missing.append(said[0] if said else f"no requirement bounds {name}")
        elif all(map(weaknesses, ready)):
            missing.append(weaknesses(ready[0])[0])
    return tuple(missing)


def weaknesses(attack: Attack) -> tuple[str, ...]:
    """The options of ``attack`` that lie under their least values, in words."""
    least = LEAST.get(attack.name, {})
    return tuple(
        f"{attack.name} runs with {option}={getattr(attack, option)}, under {value:g}"
        for option, value in least.items()
        if getattr(attack, option, value) < value
    )
