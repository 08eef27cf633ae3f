"""Reference sets: the attacks that a verdict must rest on, by what the attacker is given, and at which strength.

A spec that bounds fewer may be of use, but it cannot pass a model: its verdict is INCONCLUSIVE and says what is
missing. A spec that runs them with other options than the default ones is judged by the larger of both figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from safecompress.attacks.base import Attack
from safecompress.attacks.membership.joint import JointLira
from safecompress.attacks.membership.label_only import LabelOnly
from safecompress.attacks.membership.lira import Lira
from safecompress.attacks.membership.neural import Neural
from safecompress.attacks.membership.rmia import Rmia
from safecompress.attacks.membership.threshold import Entropy, Gap, Loss, ModifiedEntropy
from safecompress.attacks.membership.whitebox import WhiteBox
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
"""Least values of the options whose strength costs time. Under them an attack counts as missing."""

_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "gap": Gap,
        "label_only": LabelOnly,
        "modified_entropy": ModifiedEntropy,
        "neural": Neural,
        "whitebox": WhiteBox,
        "lira": Lira,
        "joint_lira": JointLira,
    }
)
"""What each name of a reference set means; another class by the same name does not stand for it."""


def companions_of(attack: Attack) -> tuple[Attack, ...]:
    """The attacks that run beside a reference ``attack`` and whose figures count as its own where they are larger.

    Its default, where an option that does not cost time differs from it or the class is another one; and LiRA over all
    classes beside LiRA. Empty for attacks of no reference set.
    """
    cls = _CLASSES.get(attack.name)
    if cls is None:
        return ()
    default = _at_default_strength(attack, cls)
    companions = [] if default == attack else [default]
    if isinstance(default, Lira):
        companions.append(replace(default, signal="all"))
    return tuple(one for one in companions if one != attack)


def _at_default_strength(attack: Attack, cls: type[Any]) -> Attack:
    """The attack of ``cls`` with default options, but for those that cost time, which are ``attack``'s own."""
    own = type(attack) is cls
    kept = [name for name in LEAST.get(attack.name, {}) if hasattr(attack, name)] if own else []
    default: Attack = cls(**{one.name: getattr(attack, one.name) for one in fields(cls) if one.name in kept})
    return default


def siblings_of(attack: Attack) -> tuple[Attack, ...]:
    """Simpler attacks that ``attack`` should not be significantly under, with as many shadows as its own."""
    num_shadows = int(getattr(attack, "num_shadows", Lira().num_shadows))
    by_name: dict[str, tuple[Attack, ...]] = {
        "modified_entropy": (Entropy(),),
        "neural": (Loss(),),
        "whitebox": (Neural(),),
        "samia": (Neural(),),
        "label_only": (Gap(),),
        "quantile": (Loss(),),
        "base": (Loss(),),
        "rmia": (Loss(),),
    }
    if attack.name == "lira":
        return Loss(), Rmia(num_shadows, temperature=2.0)
    if attack.name == "joint_lira":
        return (Lira(num_shadows),)
    return by_name.get(attack.name, ())


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
