"""Does an attack stay silent where there is nothing to find, and speak where there is?

Null: models that never saw the "members". Power: models that know them by heart (the health control). Every seed draws
another split of scikit-learn's digits, trains another model and fits fresh attackers. A run counts against an attack
when its one-sided 95 % lower limit of the AUC is above 0.5, or its epsilon per sample at 95 % is above 0; chance allows
18 of 200 (binomial, 99 %).

    python benchmarks/null.py run --seeds 200 --power 40 --workers 2 --work DIR     # goes on where it stopped
    python benchmarks/null.py render --work DIR
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from scipy.stats import binom

from safecompress.attacks import ATTACKS, Attack, Target, simulate_attacker
from safecompress.attacks.controls import train_control
from safecompress.attacks.shadows import ShadowModels
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer, shadow_rows
from safecompress.data import AuditData, DataSplit, SplitSizes, digits, make_split
from safecompress.export import ServedModel, TaskInfo
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import ModelSpec
from safecompress.seeding import derive
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern, rescale_
from safecompress.training import Recipe, TrainingState, TrainingTask, train

ALPHA = 0.05
SPEC = ModelSpec("mlp", {"hidden": (64,)}, (64,), 10)
RECIPE = Recipe(epochs=20, batch_size=32, optimizer="adam", learning_rate=3e-3, weight_decay=0.0)
SIZES = SplitSizes(
    train=600, member_fit=150, member_select=150, member_verdict=150, validation=0, test=0,
    nonmember_fit=150, nonmember_select=150, nonmember_verdict=150, population=150,
)  # fmt: skip


def attacks() -> list[Attack]:
    """Every attack that is built in, with its defaults (16 shadows where it takes any)."""
    return [ATTACKS.make(name) for name, origin in ATTACKS.origins().items() if origin == "built in"]


def null_target(seed: int) -> tuple[Target, AuditData, AuditData]:
    """A sparse model, another version of it, and pools whose "members" neither was trained on.

    The pseudo-members are the rows of the selection pool's non-members and of the population; both lie among the rows
    that shadows are drawn from, as the non-members do.
    """
    split = make_split(digits(), SIZES, seed=seed)
    task = TaskInfo(10, split.dataset.class_names, (64,))
    indices = dict(split.indices)
    everything = np.concatenate([indices["nonmember_select"], indices["population"]])
    shadow_split = DataSplit(split.dataset, {**indices, "population": everything})
    rows = shadow_rows(shadow_split, "verdict", seed)

    def under_attack(name: str, density: float, versions: dict[str, Target]) -> Target:
        network = SPEC.fresh(int(derive(seed, name).integers(2**31)))
        pattern = initial_pattern(
            find_maskable(network), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=seed
        )
        rescale_(network, pattern)
        pattern.apply_(network)
        course = TrainingTask(*split.part("train"), RECIPE, seed)
        state = train(network, TrainingState.capture(0, network), course, until=course.total_steps, pattern=pattern)
        state.restore_(network)
        shadows = ShadowModels(rows, FixedMaskShadowTrainer.of(network, SPEC, task, RECIPE, pattern=pattern))
        return Target(ServedModel(network, task), shadows=shadows, versions=versions)

    target = under_attack("small", 0.3, {"large": under_attack("large", 0.9, {})})
    fit = _pool(split, "nonmember_select", "nonmember_fit")
    return target, fit, _pool(split, "population", "nonmember_verdict")


def power_target(seed: int) -> tuple[Target, AuditData, AuditData]:
    """The overfitted control of a model of the null."""
    split = make_split(digits(), SIZES, seed=1000 + seed)
    task = TaskInfo(10, split.dataset.class_names, (64,))
    networks = {name: Target(ServedModel(SPEC.fresh(seed + place), task)) for place, name in enumerate(("", "large"))}
    target = Target(networks[""].model, versions={"large": networks["large"]})
    control = train_control(target, split.audit("fit"), split.audit("verdict"), seed=seed)
    return control.as_target(), control.fit, control.verdict


def _pool(split: DataSplit, members: str, non_members: str) -> AuditData:
    sides = [split.part(members), split.part(non_members)]
    features, labels = (torch.cat([side[i] for side in sides]) for i in (0, 1))
    return AuditData(features, labels, np.arange(len(labels)) < len(sides[0][1]))


def one_run(kind: str, seed: int) -> dict[str, Any]:
    """What every attack says of one target."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    target, fit, verdict = {"null": null_target, "power": power_target}[kind](seed)
    found: dict[str, Any] = {}
    for attack in attacks():
        began = time.perf_counter()
        attacker = simulate_attacker(attack, target, fit, generator=derive(seed, "null", attack.name))
        result = attacker.test(target, verdict, Levels(ALPHA))
        if result.scores is None or result.is_member is None:
            found[attack.name] = {"error": result.error}
            continue
        interval = stats.auc_interval(result.scores, result.is_member, 2 * ALPHA)  # one-sided 95 %
        threshold = getattr(attacker, "threshold")  # noqa: B009  (a broken attacker has none, and no scores)
        confusion = stats.confusion_at(result.scores, result.is_member, threshold)
        found[attack.name] = {
            "auc": stats.auc(result.scores, result.is_member),
            "low": interval.low,
            "epsilon": stats.epsilon_per_sample(confusion, ALPHA),
            "seconds": time.perf_counter() - began,
        }
    return {"kind": kind, "seed": seed, "found": found}


def run(kind: str, seeds: int, workers: int, work: Path) -> None:
    """One JSON line a seed; seeds that are there already are not run again."""
    path = work / f"{kind}.jsonl"
    done = {entry["seed"] for entry in _read(path)}
    todo = [seed for seed in range(seeds) if seed not in done]
    with ProcessPoolExecutor(workers) as pool, path.open("a") as file:
        for entry in pool.map(partial(one_run, kind), todo):
            file.write(json.dumps(entry) + "\n")
            file.flush()
            print(kind, entry["seed"], flush=True)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def render(work: Path) -> None:
    """null-digits.json and null-digits.md."""
    null, power = _read(work / "null.jsonl"), _read(work / "power.jsonl")
    allowed = int(binom.ppf(0.99, len(null), ALPHA))
    results: dict[str, Any] = {"null_runs": len(null), "power_runs": len(power), "allowed": allowed, "attacks": {}}
    rows = []
    for name in [attack.name for attack in attacks()]:
        silent, loud = (
            [entry["found"][name] for entry in entries if "auc" in entry["found"].get(name, {})]
            for entries in (null, power)
        )
        figures = {
            "null_runs": len(silent),
            "null_auc_above": sum(f["low"] > 0.5 for f in silent),
            "null_epsilon_above": sum(f["epsilon"] > 0 for f in silent),
            "null_mean_auc": float(np.mean([f["auc"] for f in silent])),
            "power_runs": len(loud),
            "power_caught": sum(f["low"] > 0.5 for f in loud),
            "power_mean_auc": float(np.mean([f["auc"] for f in loud])),
            "median_seconds": float(np.median([f["seconds"] for f in silent])),
        }
        results["attacks"][name] = figures
        rows.append(
            [
                name,
                f"{figures['null_auc_above']} of {len(silent)}",
                f"{figures['null_epsilon_above']} of {len(silent)}",
                f"{figures['null_mean_auc']:.3f}",
                f"{figures['power_caught']} of {len(loud)}",
                f"{figures['power_mean_auc']:.3f}",
                f"{figures['median_seconds']:.2f}",
            ]
        )
    header = ["attack", "false alarms: AUC", "false alarms: epsilon", "mean AUC", "caught", "mean AUC", "s per run"]
    page = (
        "# Silent where nothing is, loud where everything is\n\n"
        f"Null: {len(null)} models that never saw the rows that stand for members (150 + 150 of each pool). A false "
        f"alarm is a one-sided 95 % lower limit of the AUC above 0.5, or an epsilon per sample above 0; {allowed} of "
        f"{len(null)} are within chance (binomial, 99 %). Caught: the same limit on {len(power)} controls that know "
        "their members by heart.\n\n" + common.table(header, rows)
    )
    common.save("null-digits", "python benchmarks/null.py run; python benchmarks/null.py render", results, page)
    print(page)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("run", "render"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--power", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    return parser


if __name__ == "__main__":
    options = _options().parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.verb == "run":
        run("power", options.power, options.workers, options.work)
        run("null", options.seeds, options.workers, options.work)
    render(options.work)
