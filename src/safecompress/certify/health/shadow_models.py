"""Whether shadow models are like the target. N rows, K shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from safecompress.attacks import (
    Target,
)
from safecompress.certify.health.check import HealthCheck
from safecompress.data import AuditData
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DECISIVE = 0.01
"""The error rate of the checks that compare two things: shadows with the target, an attack with its weaker sibling."""

LARGEST_GAP = 0.05
"""The largest gap between target and shadows beyond noise."""


def shadow_gap(is_correct_N: Bools, is_correct_KN: Bools, is_in_KN: Bools) -> HealthCheck:
    """Whether shadows are as good as the target on rows that neither trained on; ``value`` is the target's lead.

    All N rows are out of the target; each shadow counts on those it was not trained on. More than 0.05 beyond noise
    (z at 0.01, over rows and over shadows, of which the target is one more draw) is INCONCLUSIVE.
    """
    name, subject = "shadow_gap", "shadows"
    is_out_KN = ~is_in_KN
    lead_KN = np.where(is_out_KN, is_correct_N.astype(np.float64) - is_correct_KN, np.nan)
    rows, shadows = is_out_KN.any(axis=0), is_out_KN.any(axis=1)
    if rows.sum() < 2 or shadows.sum() < 2:
        reason = f"{rows.sum()} rows are out of {shadows.sum()} shadows; it takes 2 of each. Train more shadows."
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, None, reason)
    by_row, by_shadow = np.nanmean(lead_KN[:, rows], axis=0), np.nanmean(lead_KN[shadows], axis=1)
    value = float(by_row.mean())
    noise = np.sqrt(by_row.var(ddof=1) / by_row.size + by_shadow.var(ddof=1) * (1 + 1 / by_shadow.size))
    reach = -float(ndtri(DECISIVE / 2)) * float(noise)
    seen = (
        f"on rows that neither saw the target is right {abs(value):.1%} {'more' if value >= 0 else 'less'} often than "
        f"its {by_shadow.size} shadows (noise {reach:.1%})"
    )
    if abs(value) > LARGEST_GAP + reach:
        advice = (
            "they are not models of it, and attacks by shadows may miss what it leaks. Train them as it was trained."
        )
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}.")


def compare_shadows(target: Target, verdict: AuditData, num_shadows: int) -> HealthCheck:
    """The gap between shadows and target on the verdict's non-members."""
    if not target.has_shadows:
        reason = "attacks ask for shadow models, and the target has none. Give the recipe that it was trained by."
        return HealthCheck("shadow_gap", "shadows", Verdict.INCONCLUSIVE, None, reason)
    outputs = target.shadows.outputs(verdict, count=num_shadows)
    rows = ~verdict.is_member
    is_right = target.signals(verdict).is_correct_N
    return shadow_gap(is_right[rows], outputs.is_correct_KN[:, rows], outputs.is_in_KN[:, rows])
