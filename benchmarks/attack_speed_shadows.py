"""What scoring by shadows costs: row by row or with the whole matrix, beside the package, on the same arrays.

python benchmarks/attack_speed_shadows.py

Ends with an error when the two sides do not agree, or when a target is missed. Half a minute on one core.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from common import save, table
from numpy.typing import NDArray
from scipy.stats import norm

from safecompress.attacks.membership.likelihood import FLOOR, VARIANCES, lira_offline, lira_online, rmia_scores
from safecompress.seeding import derive

Floats = NDArray[np.float64]
ROWS, SHADOWS, COMPARED = 20_000, 64, 10_000
MOST_SECONDS = {"lira": 0.2, "rmia": 0.05}
MOST_MB = {"lira": None, "rmia": 200.0}


def lira_by_rows(phi_N: Floats, phi_KN: Floats, is_in_KN: NDArray[np.bool_], variance: str) -> Floats:
    """SciPy's normal law, one row after the other."""
    columns = [[phi_KN[is_in_KN[:, row] == side, row] for side in (True, False)] for row in range(len(phi_N))]
    squares = np.array([[((x - x.mean()) ** 2).sum() for x in sides] for sides in columns])
    freedom = np.array([[len(x) - 1 for x in sides] for sides in columns])
    floor = FLOOR * squares.sum() / freedom.sum()
    pooled = np.maximum(squares.sum(axis=0) / freedom.sum(axis=0), floor)
    scores = np.empty(len(phi_N))
    for row, sides in enumerate(columns):
        deviation = np.sqrt(pooled if variance == "pooled" else np.maximum(squares[row] / freedom[row], floor))
        inside, outside = (norm.logpdf(phi_N[row], x.mean(), s) for x, s in zip(sides, deviation, strict=True))
        scores[row] = inside - outside
    return scores


def rmia_by_matrix(log_ratio_N: Floats, log_ratio_Z: Floats, gamma: float) -> Floats:
    """Every quotient ratio(x) / ratio(z), as the method is written down."""
    quotient_NZ = log_ratio_N[:, None] - log_ratio_Z[None]
    return np.asarray((np.exp(quotient_NZ, out=quotient_NZ) > gamma).mean(axis=1))


def timed(function: Callable[[], Floats], repeats: int) -> tuple[Floats, float, float]:
    """What it gives, the median of its seconds, and its peak of allocated MB (measured in a run of its own)."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        values = function()
        seconds.append(time.perf_counter() - began)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return values, float(np.median(seconds)), peak


def main() -> None:
    random = derive(0, "speed-shadow-scores")
    base, is_member = random.normal(2, 3, ROWS), random.random(ROWS) < 0.5
    deviation = np.exp(0.5 * random.normal(size=ROWS))
    order = np.broadcast_to(np.arange(SHADOWS)[:, None], (SHADOWS, ROWS))
    is_in_KN = random.permuted(order, axis=0) < SHADOWS // 2
    phi_KN = base + is_in_KN + deviation * random.normal(size=is_in_KN.shape)
    phi_N = base + is_member + deviation * random.normal(size=ROWS)
    phi_QN, phi_KQN = phi_N[None], phi_KN[:, None]
    # rounded, so that many quotients tie with each other and with gamma 1, but none lies near gamma 2
    ratio_N, ratio_Z = random.normal(size=ROWS).round(3), random.normal(size=COMPARED).round(3)

    results = []

    def record(what: str, target: str, naive: Callable[[], Floats] | None, fast: Callable[[], Floats]) -> None:
        values, seconds, mb = timed(fast, 11)
        line: dict[str, Any] = {"what": what, "seconds": seconds, "peak_mb": mb}
        if naive is not None:
            slow, slow_seconds, slow_mb = timed(naive, 1)
            np.testing.assert_allclose(values, slow, rtol=1e-9, atol=1e-9)
            line |= {"naive_seconds": slow_seconds, "naive_peak_mb": slow_mb, "gain": slow_seconds / seconds}
        results.append(line)
        print(line, flush=True)
        most_mb = MOST_MB[target]
        assert seconds < MOST_SECONDS[target], f"{what}: {seconds:.3f} s, target {MOST_SECONDS[target]:g} s"
        assert most_mb is None or mb < most_mb, f"{what}: {mb:.0f} MB, target {most_mb:g} MB"

    for variance in VARIANCES:
        naive = None if variance == "shrunken" else lambda v=variance: lira_by_rows(phi_N, phi_KN, is_in_KN, v)
        record(f"LiRA online, {variance}", "lira", naive,
               lambda v=variance: lira_online(phi_QN, phi_KQN, is_in_KN, variance=v))  # fmt: skip
    record("LiRA offline, shrunken", "lira", None, lambda: lira_offline(phi_QN, phi_KQN, is_in_KN))
    for gamma in (1.0, 2.0):
        record(f"RMIA, gamma {gamma:g}", "rmia", lambda g=gamma: rmia_by_matrix(ratio_N, ratio_Z, g),
               lambda g=gamma: rmia_scores(ratio_N, ratio_Z, g))  # fmt: skip

    def cell(line: dict[str, Any], key: str, form: str) -> str:
        return format(line[key], form) if key in line else "-"

    rows = [
        [str(r["what"]), cell(r, "naive_seconds", ".2f"), cell(r, "seconds", ".4f"), cell(r, "gain", ",.0f"),
         cell(r, "naive_peak_mb", ",.0f"), cell(r, "peak_mb", ",.1f")]
        for r in results
    ]  # fmt: skip
    page = (
        f"# Scoring by shadows\n\n{ROWS:,} rows, {SHADOWS} shadows; RMIA beside {COMPARED:,} rows. Naive: SciPy row by "
        "row, and the whole matrix. Both sides run on the same arrays and are asserted equal; one thread, medians of "
        f"eleven (naive: one run). Targets: LiRA {MOST_SECONDS['lira']:g} s, RMIA {MOST_SECONDS['rmia']:g} s and "
        f"{MOST_MB['rmia']:.0f} MB. Peaks are of what the call allocates beside its inputs. Shrunken variances have no "
        "naive side here; a test holds them against a row-by-row version.\n\n"
        + table(["what", "naive, s", "here, s", "gain", "naive, peak MB", "here, peak MB"], rows)
    )
    save("speed-shadow-scores", "python benchmarks/attack_speed_shadows.py", results, page)


if __name__ == "__main__":
    main()
