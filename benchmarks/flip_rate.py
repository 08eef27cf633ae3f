"""How often does a verdict near its bound hang on which shadow models were drawn?

Small networks on Location-30: 640 shadow models that each train on half of 1,200 rows are trained once for each recipe;
draws of them stand for ten users who differ in nothing but the seed of their shadow models. Rows, model and attack stay
the same.

    python benchmarks/flip_rate.py train --root DIR --work DIR      # three recipes, about four minutes of one core
    python benchmarks/flip_rate.py render --work DIR                # the figures, from what was trained
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from numpy.typing import NDArray

from safecompress.attacks import Lira
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.membership.lira import ShadowAnswers
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.attacks.shadows import balanced_draws
from safecompress.attacks.signals import Signals
from safecompress.certify.looks import look_levels, look_sizes
from safecompress.data import location30
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.metrics.stats.metrics import placements
from safecompress.models import ModelSpec
from safecompress.seeding import derive
from safecompress.training import Recipe, TrainingState, TrainingTask, predict_logits
from safecompress.training.stacked import train_many

MODEL = ModelSpec("mlp", {"hidden": (64,)}, (446,), 30)
EPOCHS = (5, 10, 30)
"""Of the three recipes: the longer, the more leaks."""
POOL, NUM_SHADOWS, NUM_TARGETS = 1200, 640, 20
TOGETHER = 20
"""Models that train at once."""
ROWS, SHADOWS, BUDGET, DRAWS = 200, 16, 64, 10
LEVELS = Levels(0.025)
"""Of the first use of verdict rows at alpha 0.05."""
AWAY = (1.0, 0.5, 0.0)
"""Standard errors between the mean limit and the bound, on either side."""
Floats = NDArray[np.float64]


def train(root: Path, work: Path) -> None:
    """Scaled logits of every model on every row of the pool, one file for each recipe.

    Of the targets the first half trained on half of the pool as shadows do; the others on as many rows outside it, so
    that nothing of the pool leaks from them.
    """
    dataset = location30(root)
    order = derive(0, "flip rate", "rows").permutation(dataset.num_rows)
    features, labels = dataset.read(torch.from_numpy(order)), dataset.labels[torch.from_numpy(order)]
    num_models, half = NUM_SHADOWS + NUM_TARGETS // 2, POOL // 2
    is_in_KP = balanced_draws(np.arange(POOL), half, num_models, derive(0, "flip rate", "draws"))
    parts = [np.flatnonzero(is_in_P) for is_in_P in is_in_KP]
    outside = derive(0, "flip rate", "outside")
    parts += [POOL + outside.permutation(dataset.num_rows - POOL)[:half] for _ in range(NUM_TARGETS // 2)]
    for epochs in EPOCHS:
        recipe = Recipe(epochs=epochs, batch_size=64, optimizer="adam", learning_rate=2e-3, weight_decay=0.0)
        phi_KP = []
        for first in range(0, len(parts), TOGETHER):
            numbers = range(first, min(first + TOGETHER, len(parts)))
            networks = [MODEL.fresh(number) for number in numbers]
            tasks = [TrainingTask(features[parts[n]], labels[parts[n]], recipe, n) for n in numbers]
            states = train_many(networks[0], [TrainingState.capture(0, n) for n in networks], tasks)
            for network, state in zip(networks, states, strict=True):
                network.load_state_dict(dict(state.model))
                logits = predict_logits(network, features[:POOL]).double().numpy()
                phi_KP.append(Signals(logits, labels[:POOL].numpy()).scaled_logit_N)
        np.savez_compressed(work / f"epochs{epochs}.npz", phi=np.array(phi_KP), is_in=is_in_KP)
        print(epochs, len(phi_KP), flush=True)


@dataclass(frozen=True, eq=False)
class Case:
    """One target and its verdict rows: 200 members and 200 others, and all shadows' answers for them."""

    target_N: Floats
    phi_KN: Floats
    is_in_KN: NDArray[np.bool_]
    order: NDArray[np.int64]
    """Of the pairs of shadows, from which draws are cut."""

    @classmethod
    def of(cls, work: Path, epochs: int, number: int) -> Case:
        """Of the targets of a recipe; of those that leak nothing any rows of the pool stand for members."""
        kept, stream = np.load(work / f"epochs{epochs}.npz"), derive(number, "flip rate", "case")
        order = stream.permutation(POOL)
        if number < NUM_TARGETS // 2:
            is_in_P = kept["is_in"][NUM_SHADOWS + number]
            order = np.concatenate([order[is_in_P[order]][:ROWS], order[~is_in_P[order]][:ROWS]])
        rows = order[: 2 * ROWS]
        phi_KN = kept["phi"][:, rows]
        pairs = stream.permutation(NUM_SHADOWS // 2)
        return cls(phi_KN[NUM_SHADOWS + number], phi_KN[:NUM_SHADOWS], kept["is_in"][:NUM_SHADOWS, rows], pairs)

    def draw(self, number: int, size: int, reserved: int) -> ShadowAnswers:
        """The first ``size`` of the ``reserved`` shadows that are those of draw ``number`` alone."""
        pairs = self.order[number * reserved // 2 :][: size // 2]
        shadows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return ShadowAnswers(self.target_N[None], self.phi_KN[shadows][:, None], self.is_in_KN[shadows])


IS_MEMBER = np.arange(2 * ROWS) < ROWS


def attacked(answers: ShadowAnswers) -> Ranking:
    """What LiRA finds."""
    attack = Lira(num_shadows=len(answers.shadows))
    return Ranking(attack.rate(answers), IS_MEMBER, 0.0, attack.rate_halves(answers))


def spread(case: Case) -> dict[str, float]:
    """The AUC's spread over disjoint draws, and how much of it is no chance of single rows: seen, and estimated."""
    num_draws = NUM_SHADOWS // SHADOWS
    scores = [Lira().rate(case.draw(number, SHADOWS, SHADOWS)) for number in range(num_draws)]
    placed = [placements(each, IS_MEMBER) for each in scores]
    pools = [np.stack([p.members for p in placed]), np.stack([p.non_members for p in placed])]
    value_D = pools[0].mean(axis=1)
    of_rows = sum((pool - pool.mean(axis=0)).var(axis=1, ddof=1).mean() / ROWS for pool in pools)
    rankings = [attacked(case.draw(number, SHADOWS, SHADOWS)) for number in range(6)]
    found = [stats.auc_noise(ranking.halves_SHN, IS_MEMBER).variance for ranking in rankings]
    reaches = [
        [MEMBERSHIP.interval(r, 0.05)[1] for r in (ranking, replace(ranking, halves_SHN=None))] for ranking in rankings
    ]
    full, plain = (np.mean([pair[n].high - pair[n].low for pair in reaches]) for n in (0, 1))
    return {
        "auc": float(value_D.mean()),
        "sd over draws": float(value_D.std(ddof=1)),
        "row error": float(plain / 2 / 1.96),
        "main effect": float((value_D.var() - of_rows) * num_draws / (num_draws - 1)),
        "estimated": float(np.mean(found)),
        "wider": float(full / plain - 1),
    }


def flips(case: Case) -> dict[str, dict[float, float]]:
    """By procedure and distance of the bound, the share of draws whose verdict is not that of most."""
    sizes = look_sizes(SHADOWS, BUDGET)
    alphas = [levels.alpha for levels in look_levels(LEVELS, len(sizes))]
    one, looks, errors = [], [], []
    for number in range(DRAWS):
        rankings = [attacked(case.draw(number, size, BUDGET)) for size in sizes]
        value, interval = MEMBERSHIP.interval(rankings[0], LEVELS.alpha)
        one.append(interval.high)
        errors.append((interval.high - value) / 2.2414)
        looks.append([MEMBERSHIP.interval(each, a)[1] for each, a in zip(rankings, alphas, strict=True)])
    error = float(np.mean(errors))
    last = float(np.mean([intervals[-1].high for intervals in looks]))
    found: dict[str, dict[float, float]] = {"one look": {}, "budget": {}}
    for away in AWAY:
        sides = (away, -away) if away else (0.0,)
        passed = {
            "one look": [[high <= np.mean(one) + side * error for high in one] for side in sides],
            "budget": [[passes(intervals, last + side * error) for intervals in looks] for side in sides],
        }
        for procedure, by_side in passed.items():
            found[procedure][away] = float(np.mean([min(np.mean(p), 1 - np.mean(p)) for p in by_side]))
    return found | {"deviation": {"one look": float(np.std(one, ddof=1)), "error": error}}


def passes(intervals: list[Any], bound: float) -> bool:
    """Whether the verdict is PASS, at the first look that decides or at the last; one figure fails at alpha, too."""
    for interval in intervals:
        if interval.high <= bound:
            return True
        if interval.low > bound:
            return False
    return False


def render(work: Path) -> None:
    """flip-rate.json and .md."""
    numbers = [0, 1, 2, 3, 4, NUM_TARGETS // 2, NUM_TARGETS // 2 + 1, NUM_TARGETS // 2 + 2]
    results: dict[str, Any] = {}
    for epochs in EPOCHS:
        for kind, some in (("leaks", numbers[:5]), ("leaks nothing", numbers[5:])):
            cases = [Case.of(work, epochs, number) for number in some]
            name = f"{epochs} epochs, {kind}"
            results[name] = {"spread": [spread(case) for case in cases], "flips": [flips(case) for case in cases]}
            print(name, results[name]["flips"], flush=True)
    spreads, rates = [], []
    for name, result in results.items():
        mean = {key: float(np.mean([one[key] for one in result["spread"]])) for key in result["spread"][0]}
        row = mean["row error"] ** 2
        spreads.append(
            [
                name,
                *(f"{mean[key]:.4f}" for key in ("auc", "sd over draws", "row error")),
                *(f"{mean[key] / row:+.3f}" for key in ("main effect", "estimated")),
                f"{mean['wider']:.1%}",
            ]
        )
        shares = {
            (procedure, away): np.mean([one[procedure][away] for one in result["flips"]])
            for procedure in ("one look", "budget")
            for away in AWAY
        }
        rates.append([name, *(f"{share:.1%}" for share in shares.values())])
    means = [
        f"{np.mean([one[p][a] for r in results.values() for one in r['flips']]):.1%}"
        for p in ("one look", "budget")
        for a in AWAY
    ]
    rates.append(["**all**", *(f"**{mean}**" for mean in means)])
    page = (
        "# How often a verdict hangs on the draw of shadow models\n\n"
        f"Location-30, MLP 446-64-30, 600 members, {ROWS} + {ROWS} verdict rows, LiRA. Rows, model and bound stay "
        f"the same over {DRAWS} disjoint draws of shadow models; five targets that leak and three that leak nothing a "
        "recipe. The share of draws whose verdict (PASS or not) is not that of most, at bounds one standard error, "
        f"half of one and none away from the mean limit, on both sides of it. One look: {SHADOWS} shadows. Budget: "
        f"up to {BUDGET}, at looks that share alpha.\n\n"
        + common.table(["", *(f"{p}, {a:g} away" for p in ("one look", "budget") for a in AWAY)], rates)
        + "\n## What a draw of 16 shadows adds\n\n"
        f"Over {NUM_SHADOWS // SHADOWS} disjoint draws: the AUC's deviation, and the part of its variance that a draw "
        "does to all rows alike (main effect), as a share of the variance over rows; then that share as one audit "
        "estimates it from halves of its own shadows, and how much wider its interval becomes.\n\n"
        + common.table(
            ["", "AUC", "deviation over draws", "error over rows", "main effect", "estimated", "wider by"], spreads
        )
    )
    command = "python benchmarks/flip_rate.py train --root DIR --work DIR && python benchmarks/flip_rate.py render"
    common.save("flip-rate", f"{command} --work DIR", results, page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("train", "render"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.verb == "train":
        train(options.root, options.work)
    else:
        render(options.work)
