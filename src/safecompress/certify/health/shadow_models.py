"""Whether shadow models are like the target, on rows that neither trained on and on rows that each did.

N rows, K shadows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

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
"""The largest gap in accuracy between target and shadows beyond noise."""

LARGEST_SHIFT = 0.5
"""The largest gap in mean scaled logit beyond noise, in standard deviations of a row's over shadows.

Honest runs on Location-30 lie within 0.25 of them; a quarter of the epochs left out is more than one, other members or
another objective are six and more.
"""


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


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model, or K of them, answers of rows: the scaled logit and whether it is right, (N,) or (K, N)."""

    scaled_logit: Floats = field(repr=False)
    is_correct: Bools = field(repr=False)


def likeness(target_answers: Answers, shadow_answers: Answers, is_in_KN: Bools) -> HealthCheck:
    """Whether the target knows its claimed members as shadows know the rows that they trained on.

    ``target_answers`` are the target's for its claimed members, ``shadow_answers`` and ``is_in_KN`` those of K shadows
    for rows drawn from where members were. A target that was trained on other rows, or shadows that were trained in
    another way (other epochs, another objective), answer otherwise. ``value`` is the target's lead in mean scaled
    logit, in standard deviations of a row's over shadows. INCONCLUSIVE where it is off by more than `LARGEST_SHIFT`,
    or its accuracy by more than `LARGEST_GAP`, beyond noise (t at 0.01 over shadows, of which the target is one more).
    """
    name, subject = "likeness", "shadows"
    counts_K = is_in_KN.sum(axis=1)
    known = counts_K > 0
    if known.sum() < 2:
        reason = f"{known.sum()} shadows were trained on some of the rows; it takes 2. Train more shadows."
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, None, reason)
    inside_KN = is_in_KN[known]
    shift, shift_noise, theirs = _lead(target_answers.scaled_logit, shadow_answers.scaled_logit[known], inside_KN)
    gap, gap_noise, right = _lead(target_answers.is_correct, shadow_answers.is_correct[known], inside_KN)
    scale = _row_deviation(shadow_answers.scaled_logit[known], inside_KN)
    value = shift / scale if scale > 0 else 0.0 if shift == 0 else float(np.copysign(np.inf, shift))
    ours = float(target_answers.scaled_logit.mean())
    seen = (
        f"on rows that each was trained on the target is right on {target_answers.is_correct.mean():.1%} and its "
        f"{known.sum()} shadows on {right:.1%}; mean scaled logit {ours:.2f} and {theirs:.2f} (noise {shift_noise:.2f})"
    )
    if abs(shift) > LARGEST_SHIFT * scale + shift_noise or abs(gap) > LARGEST_GAP + gap_noise:
        advice = (
            "these are not the rows that it was trained on, or its shadows are trained in another way than it was. "
            "Give its own members, recipe and objective."
        )
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}.")


def _lead(target_N: Floats | Bools, shadows_KN: Floats | Bools, is_in_KN: Bools) -> tuple[float, float, float]:
    """The target's mean less the shadows', how far chance alone takes it, and the shadows' mean."""
    means_K = np.where(is_in_KN, shadows_KN, 0.0).sum(axis=1) / is_in_KN.sum(axis=1)
    noise = -stdtrit(len(means_K) - 1, DECISIVE / 2) * means_K.std(ddof=1) * np.sqrt(1 + 1 / len(means_K))
    return float(target_N.mean() - means_K.mean()), float(noise), float(means_K.mean())


def _row_deviation(values_KN: Floats, is_in_KN: Bools) -> float:
    """The standard deviation of what shadows that trained on a row say of it, pooled over rows."""
    count_N = is_in_KN.sum(axis=0)
    rows = count_N > 1
    inside_KN, values_KN = is_in_KN[:, rows], values_KN[:, rows]
    mean_N = np.where(inside_KN, values_KN, 0.0).sum(axis=0) / count_N[rows]
    squares = np.where(inside_KN, (values_KN - mean_N) ** 2, 0.0).sum()
    return float(np.sqrt(squares / max(1, (count_N[rows] - 1).sum())))


def compare_outside(target: Target, verdict: AuditData, num_shadows: int) -> HealthCheck:
    """The gap between shadows and target on the verdict's non-members."""
    if not target.has_shadows:
        return _without_shadows("shadow_gap")
    outputs = target.shadows.outputs(verdict, count=num_shadows)
    rows = ~verdict.is_member
    is_right = target.signals(verdict).is_correct_N
    return shadow_gap(is_right[rows], outputs.is_correct_KN[:, rows], outputs.is_in_KN[:, rows])


def compare_members(target: Target, verdict: AuditData, num_shadows: int) -> HealthCheck:
    """The likeness of shadows and target on what each trained on: the verdict's members, and the shadows' own rows."""
    if not target.has_shadows:
        return _without_shadows("likeness")
    outputs, signals = target.shadows.outputs(verdict, count=num_shadows), target.signals(verdict)
    rows = verdict.is_member
    members = Answers(signals.scaled_logit_N[rows], signals.is_correct_N[rows])
    return likeness(members, Answers(outputs.scaled_logit_KQN[:, 0], outputs.is_correct_KN), outputs.is_in_KN)


def _without_shadows(name: str) -> HealthCheck:
    reason = "attacks ask for shadow models, and the target has none. Give the recipe that it was trained by."
    return HealthCheck(name, "shadows", Verdict.INCONCLUSIVE, None, reason)
