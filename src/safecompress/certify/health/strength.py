"""Whether an attack is at its strength: it must not find less than its weaker sibling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    AttackResult,
)
from safecompress.certify.health.check import HealthCheck, broken, in_brackets
from safecompress.certify.health.shadow_models import DECISIVE
from safecompress.metrics import stats
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STRONGER_THAN: Mapping[str, str] = {
    "lira": "loss",
    "whitebox": "neural",
    "modified_entropy": "entropy",
    "samia": "neural",
    "joint_lira": "lira",
    "rmia": "loss",
    "base": "loss",
    "quantile": "loss",
}
"""The weaker sibling that each attack must not be significantly under."""


def strength(strong: AttackResult, weak: AttackResult | None) -> HealthCheck:
    """Whether an attack is no weaker than its weaker sibling: paired DeLong at 0.01; ``value`` is the AUCs' difference.

    ``weak`` on the same rows; None when it was not run, which is INCONCLUSIVE.
    """
    name, sibling = "strength", STRONGER_THAN.get(strong.attack, "sibling")
    if strong.scores is None or strong.is_member is None:
        return broken(name, strong)
    if weak is None or weak.scores is None:
        why = "was not run" if weak is None else f"broke ({weak.error})"
        advice = f"{sibling}, which it is compared with, {why}. Add {sibling!r} to the attacks of the spec."
        return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, None, advice)
    difference = stats.auc_difference(strong.scores, weak.scores, strong.is_member, DECISIVE)
    seen = f"AUC {difference.value:+.3f} {in_brackets(difference.interval)} beside {weak.attack}, its weaker sibling"
    if difference.value < 0 and difference.p_value < DECISIVE:
        advice = f"it is not at its strength, so its figure is too kind. Judge by {weak.attack}, or mend its options."
        return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, difference.value, f"{seen}: {advice}")
    return HealthCheck(name, strong.attack, Verdict.PASS, difference.value, f"{seen}.")
