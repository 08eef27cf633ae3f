"""Whether an attack's scores can be read: their direction, their ties, and whether the model's answers saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    Access,
    AttackResult,
    Signals,
)
from safecompress.certify.health.check import HealthCheck, auc_and_interval, broken, in_brackets
from safecompress.certify.health.controls import SHARED_ALPHA
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LARGEST_TIE = 0.5
"""The largest share of rows that may be equal."""


def sign_agreement(result: AttackResult, *, num_checks: int) -> HealthCheck:
    """Whether the direction found on the fitting pool holds on the verdict pool: AUC not significantly under 0.5."""
    name = "sign"
    if result.scores is None or result.is_member is None:
        return broken(name, result)
    # one-sided: the whole error rate on the side that counts
    value, interval = auc_and_interval(result.scores, result.is_member, 2 * SHARED_ALPHA / num_checks)
    seen = f"AUC {value:.3f} {in_brackets(interval)} on the verdict pool"
    if interval.high < 0.5:
        advice = (
            "the direction learnt on the fitting pool is contradicted. The pools differ, or the attack knows its "
            "fitting rows by heart: draw both pools at random from one set, or give it more fitting rows."
        )
        return HealthCheck(name, result.attack, Verdict.ERROR, value, f"{seen}: {advice}")
    return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}: the fitting pool's direction stands.")


def ties(result: AttackResult) -> HealthCheck:
    """How many rows share the most common score: more than half is INCONCLUSIVE, unless the attack reads labels."""
    name = "ties"
    if result.scores is None:
        return broken(name, result)
    value = largest_tie(result.scores)
    seen = f"{value:.1%} of the rows share one score"
    if value > LARGEST_TIE and result.access > Access.LABELS:
        advice = "the attack cannot rank them. Look for rounding or clipping in its score, or in the model's outputs."
        return HealthCheck(name, result.attack, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}.")


def saturation(signals: Signals) -> HealthCheck:
    """How many rows the model's answers leave alike: the largest share with one top margin, to float32's precision.

    Margins are taken for equal when they differ by less than a float32 of the size of the row's logits can say.
    """
    step = float(np.finfo(np.float32).eps) * float(np.median(np.abs(signals.logits_NC).max(axis=1)))
    margins_N = signals.top_margin_N
    value = largest_tie(np.round(margins_N / step) if step > 0 else margins_N)
    seen = f"{value:.1%} of the rows get an answer of one and the same confidence"
    if value > LARGEST_TIE:
        advice = (
            "attacks that read scores have nothing to read there, and another form of the same model may say more. "
            "Audit the logits before they are clipped, rounded or made constant."
        )
        return HealthCheck("saturation", "target", Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck("saturation", "target", Verdict.PASS, value, f"{seen}.")


def largest_tie(values_N: Floats) -> float:
    """The share of rows in the largest group of equal values, in (0, 1]."""
    return float(np.unique(values_N, return_counts=True)[1].max()) / len(values_N)
