"""Do intervals of attacks by shadow models cover the figure expected over rows AND shadow draws? By simulation.

A row's scaled logit has a mean of its own, and being trained on moves it by a gap of its own. Every shadow adds noise
to each row; with "shared effects" it also moves all rows alike, and has more or less of the gap. The target is one more
such model and stays the same; 200 members, 200 non-members and K shadows, in complementary pairs, are drawn anew each
time. The truth is the mean figure over all repeats. "Given the shadows" is the interval over rows alone, for contrast.
Ends with exit code 1 when an interval of the package covers less than 95 % by more than three standard errors.

    python benchmarks/coverage_shadows.py      # writes results/coverage-shadows.json and .md; 8 minutes of one core
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import common
import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import Lira
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.membership.lira import ComparesWithShadows, ShadowAnswers
from safecompress.attacks.membership.rmia import Rmia
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.metrics.measurement import Interval, Levels
from safecompress.seeding import derive

ROWS, REPEATS, ALPHA = 200, 300, 0.05
NUM_SHADOWS = {"lira": (8, 16), "rmia": (16, 32)}
GAPS = {"no leak": 0.0, "leak": 1.6, "large leak": 4.0}
SHARED = {"none": 0.0, "shared effects": 0.5}
FIGURES = ("auc", "balanced_accuracy", "tpr@fpr=0.01")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """How far being trained on moves a row on average, and how far a shadow moves all rows alike."""

    gap: float
    shared: float

    def phi(self, is_in_KN: NDArray[np.bool_], gap_N: Floats, mean_N: Floats, stream: np.random.Generator) -> Floats:
        """Scaled logits of K models."""
        shift_K, size_K = self.shared * stream.standard_normal((2, len(is_in_KN), 1))
        noise_KN = 1.2 * stream.standard_normal(is_in_KN.shape)
        return mean_N + shift_K + is_in_KN * gap_N * np.exp(size_K) + noise_KN

    def draw(self, num_shadows: int, stream: np.random.Generator) -> ShadowAnswers:
        """What an attacker sees of 200 members and 200 non-members."""
        mean_N, gap_N = 2 + 2 * stream.standard_normal(2 * ROWS), self.gap * stream.exponential(size=2 * ROWS)
        first = stream.random((num_shadows // 2, 2 * ROWS)) < 0.5
        is_in_KN = np.stack([first, ~first], axis=1).reshape(num_shadows, -1)
        still = replace(self, shared=0.0)  # the target has no effect of its own: it is always the same
        (target_N,) = still.phi(IS_MEMBER[None], gap_N, mean_N, stream)
        return ShadowAnswers(target_N, self.phi(is_in_KN, gap_N, mean_N, stream), is_in_KN)


IS_MEMBER = np.arange(2 * ROWS) < ROWS


class Rates:
    """An attack on answers that are there already."""

    def __init__(self, attack: ComparesWithShadows) -> None:
        self._attack = attack

    def ranking(self, answers: ShadowAnswers) -> Ranking:
        """Scores, also by halves of the shadows; half of the rows are called members."""
        if isinstance(self._attack, Lira):
            answers = ShadowAnswers(answers.target[None], answers.shadows[:, None], answers.is_in_KN)
        scores = self._attack.rate(answers)
        return Ranking(scores, IS_MEMBER, float(np.median(scores)), self._attack.rate_halves(answers))


def of_one(rates: Rates, answers: ShadowAnswers) -> Iterator[tuple[str, float, Interval, Interval]]:
    """Every figure with its interval over rows and draws, and over rows alone."""
    ranking = rates.ranking(answers)
    both = [MEMBERSHIP.measure("a", r, Levels(ALPHA)) for r in (ranking, replace(ranking, halves_SHN=None))]
    for full, plain in zip(*both, strict=True):
        if full.name.removeprefix("a.") in FIGURES:
            yield full.name.removeprefix("a."), full.value, full.interval, plain.interval


def simulate() -> list[dict[str, object]]:
    """One record for each attack, figure, world and number of shadows."""
    records: list[dict[str, object]] = []
    for attack in (Rmia(), Lira()):
        for leak, gap in GAPS.items():
            for what, shared in SHARED.items():
                for num_shadows in NUM_SHADOWS[attack.name]:
                    stream = derive(0, "coverage of shadows", leak, what, num_shadows)
                    found = defaultdict(list)
                    for _ in range(REPEATS):
                        answers = World(gap, shared).draw(num_shadows, stream)
                        for name, *rest in of_one(Rates(attack), answers):
                            found[name].append(rest)
                    for name, draws in found.items():
                        case = {"attack": attack.name, "figure": name, "leak": leak, "shared": what}
                        records.append({**case, "num_shadows": num_shadows, **summary(draws)})
                    print(attack.name, leak, what, num_shadows, records[-len(found)], flush=True)
    return records


def summary(draws: list[list[float | Interval]]) -> dict[str, object]:
    """Coverage of the mean, and mean width relative to that of the interval over rows."""
    values = np.array([value for value, *_ in draws])
    truth = float(values.mean())
    full, plain = ([draw[place] for draw in draws] for place in (1, 2))
    widths = [np.mean([interval.high - interval.low for interval in some]) for some in (full, plain)]
    covered = [np.mean([interval.low <= truth <= interval.high for interval in some]) for some in (full, plain)]
    error = float(np.sqrt(ALPHA * (1 - ALPHA) / len(draws)))
    return {
        "truth": round(truth, 4),
        "spread": round(float(values.std(ddof=1)), 4),
        "covered": round(float(covered[0]), 4),
        "covered_given_shadows": round(float(covered[1]), 4),
        "width": round(float(widths[0]), 4),
        "wider_by": round(float(widths[0] / widths[1] - 1), 4),
        "under_covers": bool(covered[0] < 1 - ALPHA - 3 * error),
    }


def main() -> int:
    records = simulate()
    header = [
        "attack",
        "figure",
        "leak",
        "shared effects",
        "shadows",
        "mean",
        "covered",
        "given the shadows",
        "wider by",
    ]
    rows = [
        [
            *(str(record[key]) for key in ("attack", "figure", "leak", "shared", "num_shadows")),
            f"{record['truth']:.3f}",
            f"{'**' if record['under_covers'] else ''}{record['covered']:.3f}{'**' if record['under_covers'] else ''}",
            f"{record['covered_given_shadows']:.3f}",
            f"{record['wider_by']:.1%}",
        ]
        for record in records
    ]
    page = (
        "# Coverage over rows and shadow draws\n\nShare of simulated audits whose 95 % interval holds the figure that "
        f"is expected over rows and shadow draws ({REPEATS} repeats, standard error .013 if the promise is just kept), "
        "beside that of the interval over rows alone, and how much wider the former is on average. **Bold**: under its "
        "promise by more than three standard errors.\n\n" + common.table(header, rows)
    )
    common.save("coverage-shadows", "python benchmarks/coverage_shadows.py", records, page)
    failed = [record for record in records if record["under_covers"]]
    for record in failed:
        print(f"under-covers: {record}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
