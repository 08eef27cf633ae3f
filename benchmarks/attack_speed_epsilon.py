"""What epsilon over all thresholds costs: one threshold after the other beside vectorised beta quantiles.

python benchmarks/attack_speed_epsilon.py
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from common import save, table
from numpy.typing import NDArray
from scipy.stats import beta

from safecompress.metrics import stats
from safecompress.seeding import derive

ALPHA = 0.05


def epsilon(num_rows: int = 10_000, repeats: int = 9) -> None:
    """Both on the same scores, limits at every count; the slow one once, the fast one's median."""
    results = []
    for name, shift in (("no leak", 0.0), ("AUC .75", 0.954), ("AUC .99", 3.29)):
        is_member = np.arange(2 * num_rows) < num_rows
        scores = derive(0, "epsilon", name).standard_normal(2 * num_rows) + shift * is_member
        naive_s, naive = timed(lambda s=scores, m=is_member: one_by_one(s, m, ALPHA))
        every = [
            timed(lambda s=scores, m=is_member: stats.epsilon_over_thresholds(s, m, ALPHA, num_thresholds=num_rows))
            for _ in range(repeats)
        ]
        default = [
            timed(lambda s=scores, m=is_member: stats.epsilon_over_thresholds(s, m, ALPHA)) for _ in range(repeats)
        ]
        if not math.isclose(naive, every[0][1], rel_tol=1e-9, abs_tol=1e-12):
            raise SystemExit(f"{name}: one by one gives {naive}, vectorised {every[0][1]}.")
        results.append(
            {
                "scores": name,
                "naive_s": naive_s,
                "vectorised_s": float(np.median([seconds for seconds, _ in every])),
                "slowest_vectorised_s": max(seconds for seconds, _ in every),
                "default_s": float(np.median([seconds for seconds, _ in default])),
                "epsilon": naive,
                "vectorised_epsilon": every[0][1],
                "default_epsilon": default[0][1],
            }
        )
        print(results[-1], flush=True)
    rows = [
        [r["scores"], f"{r['naive_s']:.2f}", f"{r['vectorised_s']:.3f}", f"{r['naive_s'] / r['vectorised_s']:.0f}x",
         f"{r['default_s']:.4f}", *(f"{r[key]:.6f}" for key in ("epsilon", "vectorised_epsilon", "default_epsilon"))]
        for r in results
    ]  # fmt: skip
    header = ["scores", "one by one, s", "vectorised, s", "gain", "64 counts, s", "epsilon, one by one",
              "epsilon, vectorised", "epsilon, 64 counts"]  # fmt: skip
    page = (
        f"# Epsilon over all thresholds, {num_rows:,} + {num_rows:,} rows\n\nOne thread; one by one once, the others "
        f"the median of {repeats}. Limits at every count (the first two, equal to nine digits) and at 64 counts of "
        "each pool (the default). Target for the vectorised one: at most 0.3 s.\n\n" + table(header, rows)
    )
    save("speed-epsilon", "python benchmarks/attack_speed_epsilon.py", results, page)


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """Seconds, and what came back."""
    began = time.perf_counter()
    value = work()
    return time.perf_counter() - began, value


def one_by_one(scores: NDArray[np.float64], is_member: NDArray[np.bool_], alpha: float) -> float:
    """Two beta quantiles of scipy for each threshold: the plain way to write it."""
    order = np.argsort(-scores)
    num_members, num_others = int(is_member.sum()), int((~is_member).sum())
    found, caught, alarms = 0.0, 0, 0
    for member in is_member[order]:
        caught, alarms = caught + int(member), alarms + int(not member)
        tpr = beta.ppf(alpha / 2 / num_members, caught, num_members - caught + 1) if caught else 0.0
        spared = num_others - alarms
        tnr = beta.ppf(alpha / 2 / num_others, spared, alarms + 1) if spared else 0.0
        if tpr > 0 and tnr > 0:
            found = max(found, math.log(tpr / (1 - tnr)), math.log(tnr / (1 - tpr)))
    return found


if __name__ == "__main__":
    epsilon()
