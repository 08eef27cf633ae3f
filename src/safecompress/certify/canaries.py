"""Canaries: how many of the mislabelled rows that were put into training an attacker with shadow models finds.

N rows, K shadows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safecompress.attacks import MEMBERSHIP, Attack, Target, capabilities_of
from safecompress.attacks.membership.likelihood import lira_offline
from safecompress.attacks.membership.lira import phi_and_shadows
from safecompress.attacks.signals import Floats
from safecompress.certify.worst_case import PersonFigures
from safecompress.data import AuditData, DataSplit
from safecompress.errors import SafeCompressError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import CANARIES
from safecompress.metrics.certifiers import CANARY_FPR
from safecompress.metrics.measurement import Levels, Measurement


@dataclass(frozen=True, slots=True)
class Planted:
    """How many canaries and twins there are, and how many rows the model was trained on, canaries among them."""

    num_canaries: int
    num_twins: int
    num_train: int


def planted_in(split: DataSplit) -> Planted | None:
    """The counts of ``split``; None where nothing was planted."""
    if not split.size("canaries"):
        return None
    return Planted(split.size("canaries"), split.size("canary_twins"), split.size("train"))


def canary_scores(target: Target, audit: AuditData, num_shadows: int) -> Floats:
    """Of each canary and twin (N,) how much surer of its wrong label the target is than shadows without the row.

    LiRA offline, with variances shrunken towards those of all these rows: a row is in few shadows, as many as its
    share of the canaries and twins is, too few to say what training on it does. Other variances and the loss
    alone find fewer on average (benchmarks/canaries.py). Raises AttackError for a row without two shadows that it is
    not in.
    """
    answers = phi_and_shadows(target, audit, num_shadows)
    return lira_offline(answers.target[None], answers.shadows[:, None], answers.is_in_KN)


def measure_canaries(target: Target, split: DataSplit, attacks: Sequence[Attack], levels: Levels) -> PersonFigures:
    """`CANARIES` by the shadows of each attack on membership that asks for some; nothing where none were planted.

    The figure is the share of canaries above all but one in a hundred of the twins. Its interval (Clopper & Pearson
    1934) is over canaries, given the score above which one is found.
    """
    if not split.size("canaries"):
        return PersonFigures()
    audit, measurements, unmeasured = split.audit_canaries(), {}, {}
    for attack in attacks:
        asked = capabilities_of(attack)
        if asked.question != MEMBERSHIP or not asked.num_shadows:
            continue
        name = CANARIES.of(attack.name)
        try:
            scores_N = canary_scores(target, audit, asked.num_shadows)
        except SafeCompressError as error:
            unmeasured[name] = str(error)
            continue
        value, count = stats.tpr_at_fpr(scores_N, audit.is_member, CANARY_FPR), audit.num_members
        near, far = (
            stats.clopper_pearson(round(value * count), count, alpha)
            for alpha in (levels.alpha, levels.simultaneous_alpha)
        )
        measurements[name] = Measurement(name, value, near, far, count, CANARIES.direction)
    return PersonFigures(measurements, unmeasured)
