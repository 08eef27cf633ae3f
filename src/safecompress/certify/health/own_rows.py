"""Whether every shadow model knows the rows that it is said to have trained on.

N rows, K shadows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from safecompress.attacks import Target
from safecompress.certify.health.check import HealthCheck
from safecompress.certify.health.controls import SHARED_ALPHA
from safecompress.data import AuditData
from safecompress.metrics import stats
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def own_rows(scaled_logit_KN: Floats, is_in_KN: Bools, target_low: float) -> HealthCheck:
    """Whether shadows are surer of the rows that they trained on than of others, row by row; ``value`` is their AUC.

    ``scaled_logit_KN`` are the shadows' answers and ``is_in_KN`` says which rows each trained on. From every row the
    shadows' mean is taken, so that hard and easy rows weigh alike; a shadow's AUC then tells its own rows from the
    others. ERROR where one shadow finds less than half of what the middle one finds (upper limit at `SHARED_ALPHA`
    over all shadows); where all together lie under 0.5 (t over shadows, the same level, and no less than chance
    allows); or under half of what the target leaks (``target_low`` is the lower limit of the AUC of its own answers).
    """
    name, subject = "own_rows", "shadows"
    rows_N = is_in_KN.any(axis=0) & ~is_in_KN.all(axis=0)
    known_KN, own_KN = scaled_logit_KN[:, rows_N], is_in_KN[:, rows_N]
    usable_K = own_KN.any(axis=1) & ~own_KN.all(axis=1)
    if np.count_nonzero(usable_K) < 2:
        reason = "fewer than two shadows have rows in and out. Train more shadows."
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, None, reason)
    centred_KN = (known_KN - known_KN.mean(axis=0))[usable_K]
    sides = list(zip(centred_KN, own_KN[usable_K], strict=True))
    auc_K = np.array([stats.auc(scores, is_own) for scores, is_own in sides])
    alpha, value, half = SHARED_ALPHA / len(auc_K), float(auc_K.mean()), 0.5 + (float(np.median(auc_K)) - 0.5) / 2
    lost = sum(stats.auc_interval(scores, is_own, alpha).high < half for scores, is_own in sides)
    chance = float(np.sqrt((own_KN.shape[1] + 1) / (12 * own_KN.sum(axis=1).mean() * (~own_KN).sum(axis=1).mean())))
    seen_reach = float(-stdtrit(len(auc_K) - 1, SHARED_ALPHA / 2) * auc_K.std(ddof=1))
    reach = max(seen_reach, float(-ndtri(SHARED_ALPHA / 2)) * chance) / len(auc_K) ** 0.5
    least = 0.5 + max(0.0, target_low - 0.5) / 2
    seen = (
        f"{len(auc_K)} shadows tell the rows that they trained on from others with AUC {value:.3f} (noise {reach:.3f})"
    )
    if lost or value + reach < least:
        what = f"{lost} of them know nothing of theirs" if lost else f"it should be {least:.3f} at least"
        advice = (
            "they were trained on other rows, or are other models. Train them anew: leave out --cache, or give an "
            "empty folder."
        )
        return HealthCheck(name, subject, Verdict.ERROR, value, f"{seen}; {what}: {advice}")
    return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}.")


def compare_own_rows(target: Target, verdict: AuditData, num_shadows: int) -> HealthCheck:
    """The check `own_rows` of the target's shadows, on the verdict's rows."""
    if not target.has_shadows:
        reason = "attacks ask for shadow models, and the target has none. Give the recipe that it was trained by."
        return HealthCheck("own_rows", "shadows", Verdict.INCONCLUSIVE, None, reason)
    outputs = target.shadows.outputs(verdict, count=num_shadows)
    leak = stats.auc_interval(target.signals(verdict).scaled_logit_N, verdict.is_member, SHARED_ALPHA)
    return own_rows(outputs.scaled_logit_KQN[:, 0], outputs.is_in_KN, leak.low)
