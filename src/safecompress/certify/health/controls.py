"""Whether an attack finds a model that must be caught, and nothing where there is nothing to find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    AttackResult,
)
from safecompress.attacks.controls import OVERFITTED
from safecompress.attacks.questions import headline_of
from safecompress.certify.health.check import HealthCheck, auc_and_interval, broken, holds_half, in_brackets
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARED_ALPHA = 0.001
"""The chance that any of the negative, blind and sign checks of a sound audit raises an ERROR (Bonferroni)."""


WEAK_ALPHA = 0.1
"""Two-sided, of the limits on the weak control: 0.05 on the side that counts."""


def positive_control(result: AttackResult, *, accuracy: float, alpha: float) -> HealthCheck:
    """Whether the attack catches a model that knows its members by heart: the lower limit of its AUC is above 0.5.

    ``result`` is the attack on the control, ``accuracy`` the control's on its members. An attack on a question
    other than membership must do better than its ideal by its own headline figure. Not caught, it is an ERROR, or
    INCONCLUSIVE when the control was not overfitted.
    """
    name = "positive_control"
    if result.evidence is None:
        return broken(name, result)
    metric = headline_of(result.question)
    value, interval = result.question.interval(result.evidence, alpha)
    seen = f"{metric.label} {value:.3f} {in_brackets(interval)} on a control that knows {accuracy:.1%} of its members"
    if interval.low > metric.ideal:
        return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}: caught.")
    if accuracy < OVERFITTED:
        advice = f"it should know {OVERFITTED:.0%}. Train the control for longer (max_epochs), or scale the features."
        return HealthCheck(name, result.attack, Verdict.INCONCLUSIVE, value, f"{seen}, and {advice}")
    advice = (
        "not caught, so its figure on the target means nothing. Mend or drop the attack, or give the pools more rows."
    )
    return HealthCheck(name, result.attack, Verdict.ERROR, value, f"{seen}: {advice}")


def weak_control(result: AttackResult, reference: AttackResult) -> HealthCheck:
    """Whether the attack finds at least half of a weak leak, of which the ``reference`` attack finds all.

    Both are results on the weak control. A model that knows its members by heart is caught by a half-broken attack
    too; this one is not. ``value`` is the attack's AUC. ERROR where its upper limit (one-sided, at 0.05) lies under
    half of what the reference finds; INCONCLUSIVE where the reference itself finds nothing.
    """
    name = "positive_control"
    if result.scores is None or result.is_member is None:
        return broken(name, result)
    if reference.scores is None or reference.is_member is None:
        return broken(name, reference)
    there, least = auc_and_interval(reference.scores, reference.is_member, WEAK_ALPHA)
    value, interval = auc_and_interval(result.scores, result.is_member, WEAK_ALPHA)
    half = 0.5 + (there - 0.5) / 2
    seen = (
        f"AUC {value:.3f} {in_brackets(interval)} on a control with a weak leak, of which {reference.attack} finds "
        f"{there:.3f}"
    )
    if least.low <= 0.5:
        advice = "that is too little to try an attack on. Give the pools more rows."
        return HealthCheck(name, result.attack, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    if interval.high >= half:
        return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}: caught.")
    advice = (
        f"less than half of it ({half:.3f}), so its figure on the target means nothing. Mend or drop the attack, or "
        "use its default options."
    )
    return HealthCheck(name, result.attack, Verdict.ERROR, value, f"{seen}: {advice}")


def negative_control(result: AttackResult, *, num_checks: int) -> HealthCheck:
    """Whether the attack finds nothing between two sets of rows that the model never saw, ``result`` being on those."""
    name = "negative_control"
    if result.scores is None or result.is_member is None:
        return broken(name, result)
    return holds_half(
        name,
        result.attack,
        *auc_and_interval(result.scores, result.is_member, SHARED_ALPHA / num_checks),
        "between rows that the model never saw",
        "It tells them apart by something else than membership: look for rows prepared in two ways, for a score that "
        "reads is_member or the order of rows, and for rows that only one side shares with the shadows.",
    )


def blind_baseline(scores: Floats, is_member: Bools, *, num_checks: int) -> HealthCheck:
    """Whether a classifier that never saw the model fails to tell the pools apart; if not, the audit is void."""
    return holds_half(
        "blind_baseline",
        "data",
        *auc_and_interval(scores, is_member, SHARED_ALPHA / num_checks),
        "from rows and labels alone, without the model",
        "Members and non-members differ by themselves, so no attack's figure speaks of the model. Draw both at random "
        "from one set (make_split does), prepared in one way.",
    )
