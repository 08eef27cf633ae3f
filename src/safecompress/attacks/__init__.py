"""Attacks: what a model gives away about the rows it was trained on."""

from safecompress.attacks.base import (
    Attack,
    Attacker,
    AttackResult,
    FailedAttacker,
    FittedAttack,
    FittedTally,
    simulate_attacker,
)
from safecompress.attacks.capabilities import Capabilities, as_searched, capabilities_of, with_shadows
from safecompress.attacks.evidence import Evidence, Ranking, Tally
from safecompress.attacks.membership.joint import JointLira
from safecompress.attacks.membership.label_only import LabelOnly
from safecompress.attacks.membership.lira import Lira
from safecompress.attacks.membership.neural import Neural
from safecompress.attacks.membership.quantile import Quantile
from safecompress.attacks.membership.rmia import Base, Rmia
from safecompress.attacks.membership.samia import Samia
from safecompress.attacks.membership.threshold import Confidence, Entropy, Gap, Loss, ModifiedEntropy
from safecompress.attacks.membership.whitebox import WhiteBox
from safecompress.attacks.questions import MEMBERSHIP, Question, RateOfSuccess
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
        "whitebox": WhiteBox,
        "samia": Samia,
        "quantile": Quantile,
        "label_only": LabelOnly,
        "lira": Lira,
        "rmia": Rmia,
        "base": Base,
        "joint_lira": JointLira,
    },
)

__all__ = [
    "ATTACKS",
    "MEMBERSHIP",
    "Access",
    "Attack",
    "AttackResult",
    "Attacker",
    "Base",
    "Capabilities",
    "Confidence",
    "Entropy",
    "Evidence",
    "FailedAttacker",
    "FittedAttack",
    "FittedTally",
    "Gap",
    "JointLira",
    "LabelOnly",
    "Lira",
    "Loss",
    "ModifiedEntropy",
    "Neural",
    "Quantile",
    "Question",
    "Ranking",
    "RateOfSuccess",
    "Rmia",
    "Samia",
    "SignalCache",
    "Signals",
    "Tally",
    "Target",
    "WhiteBox",
    "as_searched",
    "capabilities_of",
    "simulate_attacker",
    "with_shadows",
]
