"""Every attack against dense and compressed models of one data set: all figures, and how long an audit takes.

python benchmarks/attacks.py table --root DIR --work DIR [--workers 2]     # dense and three densities, three seeds
python benchmarks/attacks.py time --root DIR --work DIR                    # an audit with 64 shadows, end to end
python benchmarks/attacks.py render --work DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

from safecompress import api
from safecompress.attacks import ATTACKS, Lira
from safecompress.compression.search import Plan, ProcessExecutor
from safecompress.data import DataSplit, location30, make_split
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.spec import SafetySpec, at_most
from safecompress.training import Course, Recipe, TrainingState, train

DENSITIES = (0.2, 0.1, 0.05)
SEEDS = (0, 1, 2)
NUM_SHADOWS = 16
SEARCH = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural")
"""What the search looks at; the verdict simulates every attack."""
MODEL = ModelSpec("mlp", {"hidden": (512, 256, 128)}, (446,), 30)
RECIPE = Recipe(epochs=60, batch_size=128, optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
FIGURES = ("auc", "balanced_accuracy", "advantage", "tpr@fpr=0.01", "tpr@fpr=0.001")


def every_attack() -> SafetySpec:
    """A spec of all built-in attacks; its one limit is of no interest here."""
    made = []
    for name, origin in ATTACKS.origins().items():
        if origin == "built in":
            attack = ATTACKS.make(name)
            is_shadowed = hasattr(attack, "num_shadows")
            made.append(ATTACKS.make({"name": name, "num_shadows": NUM_SHADOWS}) if is_shadowed else attack)
    return SafetySpec(made, [at_most("lira.auc", 0.9)])


def table(root: Path, work: Path, workers: int) -> None:
    """One run of the product for every seed and density, each leaving its report in ``work``."""
    dataset = location30(root)
    with ProcessExecutor(workers) as pool:
        for seed in SEEDS:
            split = make_split(dataset, seed=seed)
            for density in DENSITIES:
                out = work / f"seed{seed}-density{density:g}"
                if (out / "report.json").exists():
                    continue
                is_first = (seed, density) == (SEEDS[0], DENSITIES[0])  # a ranking takes as long as the rest
                began = time.perf_counter()
                result = api.compress(
                    MODEL,
                    split,
                    spec=every_attack(),
                    recipe=RECIPE,
                    plan=Plan(density=density, attacks=tuple(map(ATTACKS.make, SEARCH)), rank=is_first),
                    seed=seed,
                    out=out,
                    ledger=work / f"{out.name}.jsonl",
                    executor=pool,
                    cache=work / "cache",
                )
                print(seed, density, result.report.verdict, f"{time.perf_counter() - began:.0f} s", flush=True)


def measure_time(root: Path, work: Path, workers: int) -> None:
    """An audit with LiRA of 64 shadows: of a dense model, of a compressed one, and by the full pipeline (8 of 64)."""
    split = make_split(location30(root), seed=0)
    made = _small_artifacts(split, work)
    spec = SafetySpec([Lira(num_shadows=64)], [at_most("lira.auc", 0.9)])
    seconds: dict[str, float] = {}
    figures: dict[str, float] = {}
    for name, path in made.items():
        with ProcessExecutor(workers) as pool:
            began = time.perf_counter()
            report = api.audit(path, split, spec=spec, recipe=RECIPE, executor=pool)
            seconds[name] = time.perf_counter() - began
        figures[name] = report.measurements["lira.auc"]["value"]
        print(name, f"{seconds[name]:.1f} s", figures[name], flush=True)
    spec = SafetySpec([ATTACKS.make("loss"), Lira(num_shadows=8)], [at_most("lira.auc", 0.9)], shadows="full pipeline")
    with ProcessExecutor(workers) as pool:
        began = time.perf_counter()
        result = api.compress(MODEL, split, spec=spec, recipe=RECIPE, plan=Plan(density=0.1), executor=pool)
        seconds["full pipeline, 8 shadows, the run itself included"] = time.perf_counter() - began
    seconds["of which certification"] = result.report.seconds["certify"]
    seconds["of which the search and the trainings"] = (
        sum(result.report.seconds.values()) - seconds["of which certification"]
    )
    figures["full pipeline"] = result.report.measurements["lira.auc"]["value"]
    page = (
        "# How long an audit takes\n\nLocation-30, MLP 446-512-256-128-30, 1,500 members, LiRA with 64 shadow models, "
        f"{workers} processes of one thread: from the file to the report, with all health checks and the control's own "
        "shadows.\n\n" + common.table(["what", "s"], [[name, f"{value:.1f}"] for name, value in seconds.items()])
    )
    results = {"seconds": seconds, "lira_auc": figures}
    common.save("speed-audit", "python benchmarks/attacks.py time --root DIR --work DIR", results, page)


def _small_artifacts(split: DataSplit, work: Path) -> dict[str, Path]:
    """A dense artifact, and one of density 0.1 with the pattern it started with."""
    task = TaskInfo(30, split.dataset.class_names, (446,))
    network = MODEL.fresh(0)
    course = Course(*split.part("train"), RECIPE, 0)
    state = train(network, TrainingState.capture(0, network), course, until=course.total_steps)
    paths = {"dense": work / "dense.safetensors", "final pattern only": work / "small.safetensors"}
    Artifact(state.model, {}, MODEL, task).save(paths["dense"])
    spec = SafetySpec([ATTACKS.make("loss")], [at_most("loss.auc", 0.99)])
    result = api.compress(MODEL, split, spec=spec, recipe=RECIPE, plan=Plan(density=0.1))
    result.artifact.save(paths["final pattern only"])
    return paths


def render(work: Path) -> None:
    """attacks-location30.json and .md from the reports in ``work``."""
    reports = {
        (seed, density): json.loads((work / f"seed{seed}-density{density:g}" / "report.json").read_text())
        for seed in SEEDS
        for density in DENSITIES
        if (work / f"seed{seed}-density{density:g}" / "report.json").exists()
    }
    models: dict[str, list[dict[str, Any]]] = {"dense": [], **{f"density {density:g}": [] for density in DENSITIES}}
    for (_, density), report in reports.items():
        if density == DENSITIES[0]:
            models["dense"].append(report["dense"])
        models[f"density {density:g}"].append(report["measurements"])
    names = [attack.name for attack in every_attack().attacks]
    sections, results = [], {}
    for model, measured in models.items():
        accuracy = [figures["accuracy"]["value"] for figures in measured]
        rows, results[model] = [], {"accuracy": accuracy, "attacks": {}}
        for name in names:
            values = {f: [m[f"{name}.{f}"]["value"] for m in measured if f"{name}.{f}" in m] for f in FIGURES}
            results[model]["attacks"][name] = values
            rows.append([name, *(_spread(values[figure]) for figure in FIGURES)])
        header = ["attack", "AUC", "balanced accuracy", "advantage", "TPR at FPR 1 %", "TPR at FPR 0.1 %"]
        sections.append(f"## {model}: test accuracy {_spread(accuracy)}\n\n{common.table(header, rows)}")
    unwell = {
        f"seed {seed}, density {density:g}": [c for c in report["health"] if c["outcome"] != "PASS"]
        for (seed, density), report in reports.items()
    }
    results["health"] = unwell
    results["strength"] = {
        f"seed {seed}, density {density:g}": [c for c in report["health"] if c["check"] == "strength"]
        for (seed, density), report in reports.items()
    }
    results["ranking"] = {
        f"seed {seed}, density {density:g}": report["search"]["rounds"][-1].get("ranking")
        for (seed, density), report in reports.items()
    }
    flags = [f"- {run}: {c['check']} of {c['subject']}: {c['detail']}" for run, cs in unwell.items() for c in cs]
    taus = [r["tau"] for r in results["ranking"].values() if r]
    ranked = [
        [name, *(f"{value:+.2f}" if value is not None else "-" for value in (tau.get(name) for tau in taus))]
        for name in (taus[0] if taus else {})
    ]
    page = (
        "# Every attack on Location-30\n\n"
        f"MLP 446-512-256-128-30, 1,500 members, verdict pools of 500 + 500, seeds {SEEDS}; mean, and the range over "
        f"seeds. Attacks by shadow models have {NUM_SHADOWS} of them (dense: dense ones; compressed: final pattern "
        "only). joint_lira joins the compressed model with the dense one. TPR at 0.1 % is reported and cannot be "
        "certified with 500 non-members.\n\n"
        + "\n".join(sections)
        + "\n## Health checks that did not hold\n\n"
        + ("\n".join(flags) or "None.")
        + "\n\n## Cheap tests against the verdict's attacks\n\nKendall's tau over the last round's candidates, one "
        "column a run.\n\n" + common.table(["attack", *map(str, range(1, len(taus) + 1))], ranked)
    )
    common.save("attacks-location30", "python benchmarks/attacks.py table --root DIR --work DIR", results, page)
    print(page)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("table", "time", "render"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.verb == "table":
        table(options.root, options.work, options.workers)
    if options.verb == "time":
        measure_time(options.root, options.work / "time", options.workers)
        shutil.rmtree(options.work / "time", ignore_errors=True)
    else:
        render(options.work)
