"""How often each interval covers the truth it was made for, by simulation: ``python benchmarks/interval_coverage.py``.

Scores are normal, members shifted up, and a case may cut the normal line into cells, so that many rows tie; either way
the true AUC, rates and ROC are known in closed form. Lines marked "plain" are the textbook formulas that the package
does not use, for contrast. Limits on epsilon are one-sided: they cover when the truth is no lower. Ends with exit
code 1 when an interval of the package covers less than it promises by more than four standard errors of the simulation.

Writes results/coverage-simulated.json and, for people, results/coverage-simulated.md.
About four minutes of one core, half of them for the bootstrap, which therefore has fewer repeats.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats.metrics import placements
from safecompress.seeding import derive

SEED = 20240601
REPEATS = {150: 3000, 1000: 1500, 5000: 500}  # rows in each pool -> simulated data sets
BOOTSTRAPS = {150: 1000, 1000: 300, 5000: 60}  # the same for the bootstrap of 1000 draws
ALPHAS = (0.05, 0.005)  # one figure; and ten figures at once
RESULTS = Path(__file__).parent / "results"
CORRELATION = 0.95  # between the two scores of a pair: the same attack on two candidates

Estimate = tuple[str, float, Interval]  # what is estimated, its true value, the interval


@dataclass(frozen=True)
class Case:
    """Scores z + shift for members and z for non-members, z normal; with ``edges``, the number of the cell instead."""

    name: str
    shift: float
    cut: float
    edges: tuple[float, ...] = ()

    def scores(self, normal_N: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
        raw_N = normal_N + shift * self.is_member(normal_N.size // 2)
        return np.searchsorted(self.edges, raw_N).astype(np.float64) if self.edges else raw_N

    def is_member(self, rows: int) -> NDArray[np.bool_]:
        return np.arange(2 * rows) < rows

    def epsilon(self) -> float:
        """True epsilon of the best of all thresholds; infinite where normal scores leak."""
        if not self.edges:
            return math.inf if self.shift else 0.0
        return max(epsilon_of(float(ndtr(self.shift - edge)), float(ndtr(-edge))) for edge in self.edges)

    @property
    def threshold(self) -> float:
        """The rule fixed in advance: z >= cut, in the units of the scores."""
        return self.edges.index(self.cut) + 1 if self.edges else self.cut

    def rates(self, shift: float) -> tuple[float, float]:
        """True TPR and FPR of that rule."""
        return float(ndtr(shift - self.cut)), float(ndtr(-self.cut))

    def auc(self, shift: float) -> float:
        if not self.edges:
            return float(ndtr(shift / math.sqrt(2)))
        walls = np.array((-np.inf, *self.edges, np.inf))
        below_K = ndtr(walls)
        return float(np.diff(ndtr(walls - shift)) @ ((below_K[:-1] + below_K[1:]) / 2))

    def tpr_at(self, fpr: float) -> float:
        """True TPR of the loosest rule with a FPR of at most ``fpr``."""
        if not self.edges:
            return float(ndtr(self.shift + ndtri(fpr)))
        return max((float(ndtr(self.shift - edge)) for edge in self.edges if ndtr(-edge) <= fpr), default=0.0)


def epsilon_of(tpr: float, fpr: float) -> float:
    """What a rule of these true rates shows of epsilon."""
    return max(0.0, math.log(tpr / fpr), math.log((1 - fpr) / (1 - tpr)))


CASES = (
    Case("no leak", 0.0, 0.25),
    Case("leak, AUC .60", 0.358, 0.25),
    Case("leak in 14 tied values", 0.358, 0.0, tuple(np.arange(-3, 3.5, 0.5).tolist())),
    Case("labels only, right 99 % / 90 %", 1.045, -1.2816, (-1.2816,)),
    Case("near separation, AUC .99", 3.29, 1.6),
)
DROPS = {"nothing lost, 6 % differ": (0.03, 0.03), "2 points lost": (0.04, 0.02), "rarely differ": (0.004, 0.001)}
GIVEN_AWAY = {"": 0.0, ", gives away 1 in 1000": 0.001}


def of_scores(case: Case, rows: int, alpha: float, generator: np.random.Generator) -> Iterator[Estimate]:
    """Every interval that reads scores, on one simulated data set."""
    normal_N, noise_N = generator.standard_normal((2, 2 * rows))
    is_member, scores = case.is_member(rows), case.scores(normal_N, case.shift)
    other = case.scores(CORRELATION * normal_N + math.sqrt(1 - CORRELATION**2) * noise_N, 0.8 * case.shift)
    auc, other_auc = case.auc(case.shift), case.auc(0.8 * case.shift)
    tpr, fpr = case.rates(case.shift)
    table = stats.confusion_at(scores, is_member, case.threshold)

    yield "auc", auc, stats.auc_interval(scores, is_member, alpha)
    yield "auc, plain DeLong", auc, plain_delong(scores, is_member, alpha)
    yield "paired auc difference", auc - other_auc, stats.auc_difference(scores, other, is_member, alpha).interval
    halves = [stats.auc_interval(each, is_member, alpha / 2) for each in (scores, other)]
    yield "auc difference of two intervals", auc - other_auc, stats.difference_of_intervals(*halves)
    yield "rate (Clopper-Pearson)", tpr, stats.clopper_pearson(table.true_positives, rows, alpha)
    yield "balanced accuracy", (1 + tpr - fpr) / 2, stats.balanced_accuracy_interval(table, alpha)
    yield "advantage", tpr - fpr, stats.advantage_interval(table, alpha)
    for limit in (0.01, 0.001):
        caught = round(stats.tpr_at_fpr(scores, is_member, limit) * rows)
        name, truth = f"tpr at fpr {limit:g}", case.tpr_at(limit)
        yield name, truth, stats.tpr_at_fpr_interval(scores, is_member, limit, alpha)
        yield f"{name}, plain Clopper-Pearson", truth, stats.clopper_pearson(caught, rows, alpha)
    yield "epsilon per sample", epsilon_of(tpr, fpr), at_least(stats.epsilon_per_sample(table, alpha), alpha)
    if math.isfinite(case.epsilon()):
        over_all = stats.epsilon_over_thresholds(scores, is_member, alpha)
        yield "epsilon over thresholds", case.epsilon(), at_least(over_all, alpha)
        yield "epsilon over thresholds, plain", case.epsilon(), at_least(plain_epsilon(scores, is_member, alpha), alpha)


def at_least(limit: float, alpha: float) -> Interval:
    """A lower limit as an interval."""
    return Interval(limit, math.inf, 1 - alpha)


def of_bootstrap(case: Case, rows: int, alpha: float, generator: np.random.Generator) -> Iterator[Estimate]:
    """The bootstrap's interval, on one simulated data set."""
    scores, is_member = case.scores(generator.standard_normal(2 * rows), case.shift), case.is_member(rows)
    interval = stats.bootstrap_auc_interval(scores, is_member, alpha, generator=generator)
    yield "auc, bootstrap", case.auc(case.shift), interval


def of_canaries(
    epsilon: float, delta: float, rows: int, alpha: float, generator: np.random.Generator
) -> Iterator[Estimate]:
    """The one-run audit of randomised response: as many canaries as rows, guesses about half of them."""
    right = delta + (1 - delta) / (1 + math.exp(-epsilon))
    num_right = int(generator.binomial(rows // 2, right))
    bound = stats.epsilon_lower(rows // 2, num_right, alpha, delta=delta, num_canaries=rows)
    yield "epsilon, one-run audit (canaries for rows)", epsilon, at_least(bound, alpha)


def plain_epsilon(scores: NDArray[np.float64], is_member: NDArray[np.bool_], alpha: float) -> float:
    """The largest limit over all thresholds, as if each had been the only one."""
    curve, tail = stats.roc_curve(scores, is_member), alpha / 2
    sizes = np.count_nonzero(is_member), np.count_nonzero(~is_member)
    hits = (np.rint(rate * size) for rate, size in zip((curve.tpr, 1 - curve.fpr), sizes, strict=True))
    lows = [
        np.where(hit > 0, betaincinv(np.maximum(hit, 1), size - np.maximum(hit, 1) + 1, tail), 0.0)
        for hit, size in zip(hits, sizes, strict=True)
    ]
    tpr, tnr = (np.maximum(low, 1e-300) for low in lows)
    return max(0.0, float(np.log(np.maximum(tpr / (1 - tnr), tnr / (1 - tpr))).max()))


def plain_delong(scores: NDArray[np.float64], is_member: NDArray[np.bool_], alpha: float) -> Interval:
    """The formula of DeLong et al. (1988) as it stands."""
    placed = placements(scores, is_member)
    value, pools = placed.members.mean(), (placed.members, placed.non_members)
    reach = float(-ndtri(alpha / 2) * np.sqrt(sum(pool.var(ddof=1) / pool.size for pool in pools)))
    return Interval(float(value) - reach, float(value) + reach, 1 - alpha)


def of_accuracy(lost: float, won: float, rows: int, alpha: float, generator: np.random.Generator) -> Iterator[Estimate]:
    """The interval of a paired drop of accuracy, on one simulated test set where 85 % agree and are right."""
    draw_N = generator.random(rows)
    before, after = draw_N < 0.85 + lost, (draw_N < 0.85) | ((draw_N >= 0.85 + lost) & (draw_N < 0.85 + lost + won))
    yield "accuracy drop", lost - won, stats.accuracy_drop_interval(before, after, alpha).interval


def simulate() -> list[dict[str, object]]:
    """One record per interval, case, number of rows and alpha."""
    records: list[dict[str, object]] = []
    for rows, repeats in REPEATS.items():
        for name, draw, num_draws in [
            *((case.name, partial(of_scores, case), repeats) for case in CASES),
            *((case.name, partial(of_bootstrap, case), BOOTSTRAPS[rows]) for case in CASES),
            *((name, partial(of_accuracy, *drop), repeats) for name, drop in DROPS.items()),
            *(
                (f"randomised response{name}", partial(of_canaries, epsilon, delta), repeats)
                for epsilon in (0.0, 1.0, 4.0)
                for name, delta in GIVEN_AWAY.items()
            ),
        ]:
            for alpha in ALPHAS:
                stream = derive(SEED, name, rows)
                draws = [list(draw(rows, alpha, stream)) for _ in range(num_draws)]
                records += [summary(name, rows, alpha, same) for same in zip(*draws, strict=True)]
    return records


def summary(case: str, rows: int, alpha: float, draws: tuple[Estimate, ...]) -> dict[str, object]:
    """Coverage, misses on either side, and mean width over the simulated data sets."""
    name, truth, _ = draws[0]
    slack = 1e-12  # the truth itself is rounded
    too_high = sum(interval.low > truth + slack for *_, interval in draws) / len(draws)
    too_low = sum(interval.high < truth - slack for *_, interval in draws) / len(draws)
    covered = 1 - too_high - too_low
    mean_low, mean_high = (sum(ends) / len(draws) for ends in zip(*((i.low, i.high) for *_, i in draws), strict=True))
    error = math.sqrt(alpha * (1 - alpha) / len(draws))
    return {
        "interval": name,
        "case": case,
        "rows_per_pool": rows,
        "alpha": alpha,
        "repeats": len(draws),
        "truth": round(truth, 6),
        "covered": round(covered, 5),
        "interval_above_truth": round(too_high, 5),
        "interval_below_truth": round(too_low, 5),
        "mean_low": round(mean_low, 5),
        "mean_width": round(mean_high - mean_low, 5) if math.isfinite(mean_high) else None,
        "simulation_error": round(error, 5),
        "under_covers": covered < 1 - alpha - 4 * error,
    }


def environment() -> dict[str, object]:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return {**versions, "cpu_count": os.cpu_count(), "seed": SEED}


def markdown(records: list[dict[str, object]]) -> str:
    """The records as one table per alpha: share covered (mean width), a column per number of rows."""
    lines = ["# Simulated coverage of the intervals", ""]
    lines += [
        "Share of simulated data sets whose interval covers the truth, ± one standard error of the simulation if the "
        "promise is just kept, and in brackets the interval's mean width; of a one-sided limit (epsilon), its mean.",
        "",
        "**Bold**: under its promise by more than four standard errors. Plain: textbook formulas, for contrast.",
        "",
    ]
    lines += ["Environment: " + ", ".join(f"{key} {value}" for key, value in environment().items()) + ".", ""]
    keys = ("alpha", "interval", "case", "truth", "rows_per_pool")
    by_key = {tuple(record[key] for key in keys): record for record in records}
    for alpha in ALPHAS:
        lines += [f"## Promised: {1 - alpha:.1%}", ""]
        heads = [
            f"{rows} rows a pool ({repeats} repeats, bootstrap {BOOTSTRAPS[rows]})" for rows, repeats in REPEATS.items()
        ]
        lines += [f"| interval | case | truth | {' | '.join(heads)} |", "|---|---|--:|" + "--:|" * len(heads)]
        for line in sorted({tuple(record[key] for key in keys[1:4]) for record in records}, key=str):
            name, case, truth = line
            row = [by_key[alpha, *line, rows] for rows in REPEATS]
            lines.append(f"| {name} | {case} | {truth:.4g} | {' | '.join(map(cell, row))} |")
        lines.append("")
    return "\n".join(lines)


def cell(record: dict[str, object]) -> str:
    mark = "**" if record["under_covers"] else ""
    size = f"{record['mean_width']:.3f}" if record["mean_width"] is not None else f">= {record['mean_low']:.3f}"
    return f"{mark}{record['covered']:.4f}{mark} ± {record['simulation_error']:.4f} ({size})"


def main() -> int:
    records = simulate()
    RESULTS.mkdir(exist_ok=True)
    content = {"environment": environment(), "records": records}
    (RESULTS / "coverage-simulated.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "coverage-simulated.md").write_text(markdown(records), encoding="utf-8")
    failed = [record for record in records if record["under_covers"] and "plain" not in str(record["interval"])]
    for record in failed:
        print(f"under-covers: {record}", file=sys.stderr)
    print(f"{len(records)} coverages in {RESULTS / 'coverage-simulated.md'}; {len(failed)} under their promise.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
