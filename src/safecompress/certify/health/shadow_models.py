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

LARGEST_SHIFT = 0.3
"""How far the step from other rows to members may differ, beyond noise, in standard deviations of a row's scaled logit.

With other members there is no step. By the normal law training moves a row by 0.36 where an AUC is 0.6, by 1.8 where it
is 0.9.
"""

LARGEST_OFFSET = 3.0
"""How far the target's scaled logits may lie from its shadows' as a whole, in the same units.

A target that was rewired while it trained is less sure, or surer, than shadows of its final pattern on all rows alike:
by 1.3 in the demo.
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


def likeness(target_answers: Answers, is_member_N: Bools, shadow_answers: Answers, is_in_KN: Bools) -> HealthCheck:
    """Whether the target knows its claimed members as shadows know the rows that they trained on.

    Answers are for N rows: the target's (N,), of which ``is_member_N`` marks the claimed members, and those of K
    shadows (K, N), ``is_in_KN`` saying which trained on which. Every answer is compared with what (other) shadows say
    that are on the same side of the row, so that hard and easy rows weigh alike. The target's lead on its members less
    its lead on the other rows is how much more, or less, it has learned of them than a shadow learns of its own: a
    target that was trained on other rows, or shadows that were trained in another way (other epochs, another
    objective), show there.

    ``value`` is that difference in scaled logit, in standard deviations of a row's. INCONCLUSIVE where it is beyond
    `LARGEST_SHIFT`, the lead on members in accuracy beyond `LARGEST_GAP`, or that in scaled logit beyond
    `LARGEST_OFFSET`, by more than noise (t at 0.01 over shadows, of which the target is one more).
    """
    name, subject = "likeness", "shadows"
    rows_N = np.minimum(is_in_KN.sum(axis=0), (~is_in_KN).sum(axis=0)) > 1
    is_in_KN, is_member_N = is_in_KN[:, rows_N], is_member_N[rows_N]
    if min(np.count_nonzero(is_member_N), np.count_nonzero(~is_member_N)) < 2:
        reason = f"{np.count_nonzero(is_member_N)} members are in and out of two shadows or more. Train more shadows."
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, None, reason)
    sure, right = (
        _Leads.of(ours[rows_N].astype(np.float64), theirs[:, rows_N].astype(np.float64), is_member_N, is_in_KN)
        for ours, theirs in (
            (target_answers.scaled_logit, shadow_answers.scaled_logit),
            (target_answers.is_correct, shadow_answers.is_correct),
        )
    )
    scale = sure.scale or 1.0
    value = sure.apart / scale
    seen = (
        f"on rows that each was trained on the target is right {abs(right.inside):.1%} "
        f"{'more' if right.inside >= 0 else 'less'} often than its {len(is_in_KN)} shadows (noise "
        f"{right.inside_noise:.1%}); it has learned {value:+.2f} standard deviations more of them than a shadow has "
        f"(noise {sure.apart_noise / scale:.2f}), and is {sure.inside / scale:+.2f} surer on the whole (noise "
        f"{sure.inside_noise / scale:.2f})"
    )
    if (
        abs(sure.apart) > LARGEST_SHIFT * sure.scale + sure.apart_noise
        or abs(sure.inside) > LARGEST_OFFSET * sure.scale + sure.inside_noise
        or abs(right.inside) > LARGEST_GAP + right.inside_noise
    ):
        advice = (
            "these are not the rows that it was trained on, or its shadows are trained in another way than it was. "
            "Give its own members, recipe and objective."
        )
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}.")


@dataclass(frozen=True, slots=True)
class _Leads:
    """The target's lead over shadows on its members, and that less its lead on other rows, each with chance's reach.

    ``scale`` is the standard deviation of what shadows on one side say of a row.
    """

    inside: float
    inside_noise: float
    apart: float
    apart_noise: float
    scale: float

    @classmethod
    def of(cls, target_N: Floats, shadows_KN: Floats, is_member_N: Bools, is_in_KN: Bools) -> _Leads:
        """From what all say of rows that two shadows or more are in, and two or more out of."""
        sides = ((is_member_N, is_in_KN), (~is_member_N, ~is_in_KN))
        (inside, inside_K), (outside, outside_K) = (
            _mean_leads(target_N, shadows_KN, rows_N, side_KN) for rows_N, side_KN in sides
        )
        squares = sum(_squares(shadows_KN, side_KN) for _, side_KN in sides)
        scale = float(np.sqrt(squares / (shadows_KN.size - 2 * shadows_KN.shape[1])))
        return cls(inside, _reach(inside_K), inside - outside, _reach(inside_K - outside_K), scale)


def _mean_leads(target_N: Floats, shadows_KN: Floats, is_row_N: Bools, is_on_KN: Bools) -> tuple[float, Floats]:
    """The target's mean lead on its rows of a side, and each shadow's on its own over the other shadows (K,)."""
    count_N, sum_N = is_on_KN.sum(axis=0), np.where(is_on_KN, shadows_KN, 0.0).sum(axis=0)
    others_KN = np.where(is_on_KN, shadows_KN - (sum_N - shadows_KN) / (count_N - 1), 0.0)
    lead_K = others_KN.sum(axis=1) / np.maximum(is_on_KN.sum(axis=1), 1)
    return float((target_N - sum_N / count_N)[is_row_N].mean()), lead_K


def _squares(shadows_KN: Floats, is_on_KN: Bools) -> float:
    """The sum of squares of what shadows of a side say, less their mean row by row."""
    mean_N = np.where(is_on_KN, shadows_KN, 0.0).sum(axis=0) / is_on_KN.sum(axis=0)
    return float(np.square(np.where(is_on_KN, shadows_KN - mean_N, 0.0)).sum())


def _reach(lead_K: Floats) -> float:
    """How far from 0 the lead of one more model lies by chance."""
    return float(-stdtrit(len(lead_K) - 1, DECISIVE / 2) * lead_K.std(ddof=1) * np.sqrt(1 + 1 / len(lead_K)))


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
    target_answers = Answers(signals.scaled_logit_N, signals.is_correct_N)
    shadow_answers = Answers(outputs.scaled_logit_KQN[:, 0], outputs.is_correct_KN)
    return likeness(target_answers, verdict.is_member, shadow_answers, outputs.is_in_KN)


def _without_shadows(name: str) -> HealthCheck:
    reason = "attacks ask for shadow models, and the target has none. Give the recipe that it was trained by."
    return HealthCheck(name, "shadows", Verdict.INCONCLUSIVE, None, reason)
