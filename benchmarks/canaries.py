"""Does the worst-case figure name the people who are worst off, and does a verdict find the canaries of its spec?

Twenty of 600 members get a label that is not theirs, which a model can only learn by heart. Shadow models are trained
as for an audit with LiRA, on rows of Location-30 and of digits, three splits each. Each half of the shadows names the
most exposed of the members, as the figure does; how many of the planted are among the first 20, 30 and 60 is averaged
over both halves. Beside it the figure itself with its interval, and the other half's figure of the named rows that were
not planted: whether those took a place that was not theirs.

Then with twins, 200 rows with a wrong label that nobody was trained on (`plant_canaries`): which share of the twenty
lies above all but two of them. Once by the order of the worst-case figure, where canaries are in half of the shadow
models and twins in none (which are called in is drawn, and the share averaged over `REPEATS` draws): it says what
training on such a row does. Once by the verdict's figure `lira.canaries`, which asks one model that was trained on
them, with other ways of scoring beside it, and one that was not: that model must give none away beyond chance.

Also simulated: shadows on which training on a row changes nothing, where the interval must hold one half.

    python benchmarks/canaries.py run --location30 FOLDER --work DIR     # about twenty minutes of one core
    python benchmarks/canaries.py twins --location30 FOLDER --work DIR   # as long
    python benchmarks/canaries.py render --work DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch

from safecompress.attacks import Target
from safecompress.attacks.membership.likelihood import VARIANCES, lira_offline
from safecompress.attacks.shadows import ShadowDraw, ShadowModels, ShadowRows, balanced_draws
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer, shadow_rows
from safecompress.certify.canaries import canary_scores
from safecompress.certify.worst_case import _most_exposed_first, _shares_surer, worst_of
from safecompress.data import AuditData, Dataset, DataSplit, SplitSizes, digits, location30, make_split, plant_canaries
from safecompress.export import TaskInfo
from safecompress.metrics import stats
from safecompress.metrics.certifiers import CANARY_FPR
from safecompress.models import ModelSpec
from safecompress.seeding import derive
from safecompress.training import Recipe

PLANTED, MEMBERS, SHADOWS, SEEDS = 20, 600, (16, 32), (0, 1, 2)
FIRST = (20, 30, 60)
RECIPE = Recipe(epochs=60, batch_size=32, optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
NULL_DRAWS = 600
REPEATS = 20


def planted_split(data: Dataset, seed: int) -> tuple[DataSplit, np.ndarray]:
    """A split with `PLANTED` mislabelled members, and which of the verdict's members they are."""
    sizes = SplitSizes(
        train=MEMBERS, member_fit=0, member_select=0, member_verdict=MEMBERS, validation=0, test=0, nonmember_fit=300,
        nonmember_select=0, nonmember_verdict=600, population=297,
    )  # fmt: skip
    split, random = make_split(data, sizes, seed=seed), derive(seed, "canaries")
    planted = random.choice(split.indices["train"], PLANTED, replace=False)
    labels = data.labels.clone()
    labels[planted] += torch.from_numpy(random.integers(1, data.num_classes, PLANTED))
    wrong = replace(data, labels=labels % data.num_classes)
    return DataSplit(wrong, split.indices), np.isin(split.indices["member_verdict"], planted)


def one_run(name: str, data: Dataset, seed: int) -> list[dict[str, Any]]:
    """What is named with each number of shadows."""
    torch.set_num_threads(1)
    split, is_planted_N = planted_split(data, seed)
    spec = ModelSpec("mlp", {"hidden": (128,)}, data.input_shape, data.num_classes)
    task = TaskInfo(data.num_classes, data.class_names, data.input_shape)
    trainer = FixedMaskShadowTrainer.of(spec.fresh(seed), spec, task, RECIPE, pattern=None)
    shadows, audit = ShadowModels(shadow_rows(split, "verdict", seed), trainer), split.audit("verdict")
    entries = []
    for count in SHADOWS:
        outputs = shadows.outputs(audit, count=count)
        phi_KN, is_in_KN = outputs.scaled_logit_KQN[:, 0, audit.is_member], outputs.is_in_KN[:, audit.is_member]
        worst = worst_of(phi_KN, is_in_KN, 0.05)
        assert worst is not None
        halves = [(phi_KN[side], is_in_KN[side]) for side in (slice(count // 2), slice(count // 2, None))]
        named, rivals = [], []
        for chooser, scorer in (halves, reversed(halves)):
            is_known_N = np.all([half[1].any(0) & (~half[1]).any(0) for half in halves], axis=0)
            places = np.flatnonzero(is_known_N)[_most_exposed_first(*(part[:, is_known_N] for part in chooser))]
            named.append([int(is_planted_N[places[:first]].sum()) for first in FIRST])
            others = places[:PLANTED][~is_planted_N[places[:PLANTED]]]
            rivals += _shares_surer(*(part[:, others] for part in scorer)).tolist()
        value, interval = worst.worst
        entries.append(
            {
                "data": name, "seed": seed, "shadows": count, "named": np.mean(named, axis=0).tolist(),
                "figure": value, "low": interval.low, "high": interval.high, "every": worst.every[0],
                "rivals": float(np.mean(rivals)) if rivals else None,
            }
        )  # fmt: skip
    return entries


def with_twins(name: str, data: Dataset, seed: int) -> dict[str, Any]:
    """The share found in both ways, with each number of shadows."""
    torch.set_num_threads(1)
    sizes = SplitSizes(
        train=MEMBERS, member_fit=0, member_select=0, member_verdict=MEMBERS, validation=0, test=0, nonmember_fit=200,
        nonmember_select=0, nonmember_verdict=200, population=200,
    )  # fmt: skip
    plain = make_split(data, sizes, seed=seed)
    split = plant_canaries(plain, PLANTED, seed=seed)
    spec = ModelSpec("mlp", {"hidden": (128,)}, data.input_shape, data.num_classes)
    task = TaskInfo(data.num_classes, data.class_names, data.input_shape)
    trainer = FixedMaskShadowTrainer.of(spec.fresh(seed), spec, task, RECIPE, pattern=None)
    rows, audit = shadow_rows(split, "verdict", seed), split.audit_canaries()
    shadows = ShadowModels(rows, trainer)
    targets = {which: _target(one, trainer, rows, shadows) for which, one in (("knows", split), ("never saw", plain))}
    entry: dict[str, Any] = {"data": name, "seed": seed}
    for count in SHADOWS:
        outputs = shadows.outputs(audit, count=count)
        phi_N = targets["knows"].signals(audit).scaled_logit_N
        ways = {
            variance: lira_offline(phi_N[None], outputs.scaled_logit_KQN, outputs.is_in_KN, variance=variance)
            for variance in VARIANCES
        }
        ways["loss"] = phi_N
        entry[str(count)] = {
            "found": _found(canary_scores(targets["knows"], audit, count), audit),
            "found in a model that never saw them": _found(canary_scores(targets["never saw"], audit, count), audit),
            "by": {way: _found(scores, audit) for way, scores in ways.items()},
        }
    shares = _by_the_way_of_training(rows, trainer, audit, seed)
    for count in SHADOWS:
        entry[str(count)]["named by the worst case"] = shares[count]
    return entry


def _target(split: DataSplit, trainer: FixedMaskShadowTrainer, rows: ShadowRows, shadows: ShadowModels) -> Target:
    """A model of the split's train rows."""
    features, labels = split.part("train")
    pool = ShadowRows(features, labels, np.arange(len(labels)), len(labels), rows.seed)
    (weights,) = trainer(pool, [ShadowDraw(1000, np.arange(len(labels)))])
    network = trainer.build()
    network.load_state_dict(dict(weights))
    return Target(network, shadows=shadows)


def _found(scores_N: np.ndarray, audit: AuditData) -> float:
    return stats.tpr_at_fpr(scores_N, audit.is_member, CANARY_FPR)


def _by_the_way_of_training(
    rows: ShadowRows, trainer: FixedMaskShadowTrainer, audit: AuditData, seed: int
) -> dict[int, float]:
    """The share that the worst-case figure's order puts above all but two twins, by the number of shadows."""
    num_ordinary, most = len(rows.labels) - rows.num_mislabelled, max(SHADOWS)
    is_in_KN = np.zeros((most, len(audit.labels)), dtype=bool)
    is_in_KN[:, :PLANTED] = balanced_draws(np.arange(PLANTED), PLANTED // 2, most, derive(seed, "half"))
    ordinary_KN = replace(rows, num_mislabelled=0).draws(most)[:, :num_ordinary]
    draws = [
        ShadowDraw(number, np.flatnonzero(np.concatenate(pair)))
        for number, pair in enumerate(zip(ordinary_KN, is_in_KN, strict=True))
    ]
    network, phi = trainer.build(), []
    for first in range(0, most, trainer.group_size):
        for weights in trainer(rows, draws[first : first + trainer.group_size]):
            network.load_state_dict(dict(weights))
            phi.append(Target(network).signals(audit).scaled_logit_N)
    shares: dict[int, float] = {}
    for count in SHADOWS:
        found = []
        for repeat in range(REPEATS):
            drawn_KN = is_in_KN[:count].copy()
            num_twins = len(audit.labels) - PLANTED
            generator = derive(repeat, "twins called in")
            drawn_KN[:, PLANTED:] = balanced_draws(np.arange(num_twins), num_twins // 2, count, generator)
            order = _most_exposed_first(np.array(phi[:count]), drawn_KN)
            found.append(_found(-np.argsort(order).astype(float), audit))
        shares[count] = float(np.mean(found))
    return shares


def null_coverage(num_rows: int, count: int, share: float) -> dict[str, Any]:
    """How often the interval holds one half where shadows learn nothing; rows differ in difficulty and in spread."""
    held = values = 0.0
    for number in range(NULL_DRAWS):
        random = derive(number, "null", str(num_rows), str(count))
        size = int(2.5 * num_rows)
        is_in_KN = balanced_draws(np.arange(size), int(share * size), count, random)[:, :num_rows]
        spread_N = np.exp(random.normal(size=num_rows) / 2)
        worst = worst_of(
            3 * random.normal(size=num_rows) + spread_N * random.normal(size=is_in_KN.shape), is_in_KN, 0.05
        )
        assert worst is not None
        value, interval = worst.worst
        held, values = held + (interval.low <= 0.5 <= interval.high), values + value
    return {"rows": num_rows, "shadows": count, "share": share, "held": held / NULL_DRAWS, "mean": values / NULL_DRAWS}


def run(folder: Path, work: Path) -> None:
    """One JSON line for each data set, seed and number of shadows."""
    path = work / "canaries.jsonl"
    done = {(entry["data"], entry["seed"]) for entry in _read(path)}
    for name, data in (("digits", digits()), ("location30", location30(folder))):
        for seed in SEEDS:
            if (name, seed) not in done:
                with path.open("a") as file:
                    file.writelines(json.dumps(entry) + "\n" for entry in one_run(name, data, seed))
                print(name, seed, flush=True)


def run_twins(folder: Path, work: Path) -> None:
    """One JSON line for each data set and seed."""
    path = work / "twins.jsonl"
    done = {(entry["data"], entry["seed"]) for entry in _read(path)}
    for name, data in (("digits", digits()), ("location30", location30(folder))):
        for seed in SEEDS:
            if (name, seed) not in done:
                entry = with_twins(name, data, seed)
                with path.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
                print(name, seed, flush=True)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def render(work: Path) -> None:
    """canaries.json and canaries.md."""
    twins = sorted(_read(work / "twins.jsonl"), key=lambda one: (one["data"], one["seed"]))
    entries = sorted(_read(work / "canaries.jsonl"), key=lambda one: (one["data"], one["shadows"], one["seed"]))
    null = [null_coverage(*case) for case in ((200, 16, 0.5), (200, 16, 0.375), (60, 16, 0.375), (400, 8, 0.375))]
    header = ["data", "shadows", "split", *(f"planted in the first {first}" for first in FIRST)]
    header += ["worst case", "all members", "named but not planted"]
    page = (
        "# Planted rows and the worst case\n\n"
        f"{PLANTED} of {MEMBERS} members have a label that is not theirs. Named by each half of the shadow models, "
        "scored by the other, averaged; an interval is over rows. Rows that are named and were not planted take their "
        "places by right where their own figure (last column) is as high. On Location-30 this network shows nearly "
        "every member (column before it), so that a planted one hardly stands out.\n\n"
        + common.table(header, [_row(entry) for entry in entries])
        + "\n## Canaries against twins\n\n"
        + f"{PLANTED} canaries among {MEMBERS} other rows that a model trains on, 200 twins that nobody trains on, "
        "both with a wrong label; the share of canaries above all but two twins. By the worst case: in the order of "
        "that figure, which asks shadow models with and without the row. The others ask one model, as `lira.canaries` "
        "of a verdict does (LiRA, offline, variances shrunken). Guessing finds 0.015.\n\n"
        + common.table(TWINS_HEADER, [_twins_row(entry, count) for entry in twins for count in SHADOWS])
        + "\n## Where training on a row changes nothing\n\n"
        + f"{NULL_DRAWS} simulated draws each; the interval promises 95 %.\n\n"
        + common.table(
            ["members", "shadows", "share that a shadow trains on", "interval holds 0.5", "mean figure"],
            [
                [str(n["rows"]), str(n["shadows"]), f"{n['share']:g}", f"{n['held']:.3f}", f"{n['mean']:.3f}"]
                for n in null
            ],
        )
    )
    command = "python benchmarks/canaries.py run, twins, render"
    common.save("canaries", command, {"planted": entries, "twins": twins, "null": null}, page)
    print(page)


TWINS_HEADER = [
    "data",
    "split",
    "shadows",
    "by the worst case",
    "`lira.canaries`",
    "a model that never saw them",
    "pooled variance",
    "per-sample variance",
    "loss alone",
]


def _twins_row(entry: dict[str, Any], count: int) -> Sequence[str]:
    shown = entry[str(count)]
    names = ("named by the worst case", "found", "found in a model that never saw them")
    values = [*(shown[name] for name in names), *(shown["by"][way] for way in ("pooled", "per_sample", "loss"))]
    return [entry["data"], str(entry["seed"]), str(count), *(f"{value:.2f}" for value in values)]


def _row(entry: dict[str, Any]) -> Sequence[str]:
    interval = f"[{entry['low']:.3f}, {entry['high']:.3f}]"
    return [
        entry["data"],
        str(entry["shadows"]),
        str(entry["seed"]),
        *(f"{found / PLANTED:.2f}" for found in entry["named"]),
        f"{entry['figure']:.3f} {interval}",
        f"{entry['every']:.3f}",
        "-" if entry["rivals"] is None else f"{entry['rivals']:.3f}",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("run", "twins", "render"))
    parser.add_argument("--location30", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.verb == "run":
        run(options.location30, options.work)
    if options.verb == "twins":
        run_twins(options.location30, options.work)
    render(options.work)
