"""Whether an attack is at its strength: it must not find less than a simpler sibling."""

from __future__ import annotations

from safecompress.attacks import AttackResult
from safecompress.certify.health.check import HealthCheck, broken, in_brackets
from safecompress.certify.health.shadow_models import DECISIVE
from safecompress.metrics import stats
from safecompress.spec import Verdict

MARGIN = 0.02
"""How far under its sibling, beyond noise, an attack may be: two attacks of one strength differ by less."""


def strength(strong: AttackResult, weak: AttackResult, *, is_judged: bool = False) -> HealthCheck:
    """Whether an attack is no weaker than its sibling ``weak`` on the same rows; ``value`` is the AUCs' difference.

    INCONCLUSIVE where it is under it by more than `MARGIN` beyond noise (paired DeLong at 0.01), or where the sibling
    broke. Where a requirement bounds the sibling, or an attack that finds as much (``is_judged``), what it finds is
    judged and nothing is in doubt.
    """
    name = "strength"
    if strong.scores is None or strong.is_member is None:
        return broken(name, strong)
    if weak.scores is None:
        advice = f"{weak.attack}, which it is compared with, broke ({weak.error}). Mend what breaks it."
        return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, None, advice)
    difference = stats.auc_difference(strong.scores, weak.scores, strong.is_member, DECISIVE)
    seen = f"AUC {difference.value:+.3f} {in_brackets(difference.interval)} beside {weak.attack}, its simpler sibling"
    if difference.interval.high >= -MARGIN:
        return HealthCheck(name, strong.attack, Verdict.PASS, difference.value, f"{seen}.")
    if is_judged:
        reason = f"{seen}: less, but a requirement bounds {weak.attack}, or what finds as much, so nothing is missed."
        return HealthCheck(name, strong.attack, Verdict.PASS, difference.value, reason)
    advice = f"it is not at its strength, so its figure is too kind. Bound {weak.attack} too, or mend its options."
    return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, difference.value, f"{seen}: {advice}")
