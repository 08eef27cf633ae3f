"""Attacks: what a model gives away about the rows it was trained on."""

from safecompress.attacks.base import (
    METRICS,
    Attack,
    Attacker,
    AttackResult,
    BrokenAttacker,
    FittedAttack,
    simulate_attacker,
)
from safecompress.attacks.membership.neural import Neural
from safecompress.attacks.membership.threshold import Confidence, Entropy, Gap, Loss, ModifiedEntropy
from safecompress.attacks.signals import SignalCache, Signals
from safecompress.attacks.target import Access, Target
from safecompress.registry import Registry

ATTACKS: Registry[Attack] = Registry(
    "attack",
    "safecompress.attacks",
    {
        "gap": Gap,
        "loss": Loss,
        "confidence": Confidence,
        "entropy": Entropy,
        "modified_entropy": ModifiedEntropy,
        "neural": Neural,
    },
)

__all__ = [
    "ATTACKS",
    "METRICS",
    "Access",
    "Attack",
    "AttackResult",
    "Attacker",
    "BrokenAttacker",
    "Confidence",
    "Entropy",
    "FittedAttack",
    "Gap",
    "Loss",
    "ModifiedEntropy",
    "Neural",
    "SignalCache",
    "Signals",
    "Target",
    "simulate_attacker",
]
