"""For authors of plug-ins: does a rule or an attack keep its contract? Nothing in the product imports this room."""

from safecompress.testing.attacks import check_attack
from safecompress.testing.fakes import CollapsedAttack, ConstantModel, FailingAttack, MemorisingModel, NanAttack
from safecompress.testing.rules import check_drop_rule, check_grow_rule

__all__ = [
    "CollapsedAttack",
    "ConstantModel",
    "FailingAttack",
    "MemorisingModel",
    "NanAttack",
    "check_attack",
    "check_drop_rule",
    "check_grow_rule",
]
