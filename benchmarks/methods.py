"""Dense, static sparse, DST without selection and SafeCompress on Location-30 or digits: accuracy and every attack.

Same split, recipe, density and seed for all methods; the verdict's attackers are fitted anew for each model. The tables
are exploratory: no ledger is kept.

    python benchmarks/methods.py location30 --root DIR     # DIR holds location30.npz
    python benchmarks/methods.py digits
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, save, table
from scipy import stats as scipy_stats

import safecompress as sc
from safecompress.compression.search import RandomChoice
from safecompress.data import digits, location30
from safecompress.report.text import num_rounds_beyond_noise
from safecompress.storage import read_tensors

ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural")
FOUR = tuple(map(sc.Branch.parse, ("magnitude+random", "magnitude+gradient", "threshold+random", "threshold+gradient")))
PLANS = {
    "static": sc.Plan(rounds=0),
    "DST": sc.Plan(branches=FOUR, selector=RandomChoice()),
    "SafeCompress": sc.Plan(),
    "test after the cut": sc.Plan(recovery=0.0),
    "attacker per candidate": sc.Plan(refit="candidate"),
    "without keep": sc.Plan(branches=FOUR),
}
MAIN = ("static", "DST", "SafeCompress")
ABLATIONS = ("SafeCompress", "test after the cut", "attacker per candidate", "without keep", "DST")


def run(
    dataset: sc.Dataset, hidden: list[int], batch: int, method: str, density: float, seed: int, folder: Path
) -> dict[str, Any]:
    """One method at one density and seed; the dense model of a seed is trained once."""
    split = sc.make_split(dataset, seed=seed)
    model = sc.ModelSpec("mlp", {"hidden": hidden}, dataset.input_shape, dataset.num_classes)
    recipe = sc.Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=batch)
    kept = folder / f"dense-{seed}" / "dense.safetensors"
    spec = sc.SafetySpec(ATTACKS, [sc.at_most("neural.auc", 0.999)])
    if not kept.exists():
        plan = sc.Plan(rounds=0, density=0.5)
        sc.compress(model, split, spec=spec, recipe=recipe, plan=plan, seed=seed, out=kept.parent)
    began = time.perf_counter()
    report = sc.compress(
        model.fresh(seed), split, spec=spec, recipe=recipe, plan=replace(PLANS[method], density=density),
        seed=seed, dense=read_tensors(kept)[0],
    ).report  # fmt: skip
    seconds = time.perf_counter() - began
    both = {"compressed": report.measurements, "dense": report.dense}
    return {
        "method": method, "density": density, "seed": seed, "seconds": seconds, "phases": report.seconds,
        "bytes": report.artifact["size_bytes"], "floor_ratio": report.artifact["floor_ratio"],
        "tm_score": report.tm_score, "rounds_beyond_noise": num_rounds_beyond_noise(report),
        "branches": [entry["branch"] for entry in report.rounds], "coverage": report.search["coverage"],
        **{
            which: {
                name: [figure["value"], figure["low"], figure["high"]]
                for name, figure in figures.items()
                if not name.endswith((".rise", ".drop"))
            }
            for which, figures in both.items()
        },
    }  # fmt: skip


def worst(figures: dict[str, Any]) -> float:
    """The worst attack's AUC."""
    return max(figures[f"{attack}.auc"][0] for attack in ATTACKS)


def summary(rows: list[dict[str, Any]], methods: tuple[str, ...]) -> str:
    """Means over seeds, with the lowest and highest."""

    def spread(values: list[float], digits: int = 3) -> str:
        return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"

    seeds = sorted({row["seed"] for row in rows})
    first = [next(row for row in rows if row["seed"] == seed) for seed in seeds]
    lines = [[
        "1", "dense", spread([r["dense"]["accuracy"][0] for r in first]), spread([worst(r["dense"]) for r in first]),
        spread([r["dense"]["neural.tpr@fpr=0.01"][0] for r in first]), spread([r["tm_score"]["dense"] for r in first]),
        "-", "-", "-",
    ]]  # fmt: skip
    for density in sorted({row["density"] for row in rows}, reverse=True):
        for method in methods:
            group = [r for r in rows if (r["method"], r["density"]) == (method, density)]
            if group:
                beyond = sum(r["rounds_beyond_noise"][0] for r in group)
                total = sum(r["rounds_beyond_noise"][1] for r in group)
                lines.append([
                    f"{density:g}", method, spread([r["compressed"]["accuracy"][0] for r in group]),
                    spread([worst(r["compressed"]) for r in group]),
                    spread([r["compressed"]["neural.tpr@fpr=0.01"][0] for r in group]),
                    spread([r["tm_score"]["artifact"] for r in group]),
                    f"{np.mean([r['bytes'] for r in group]):,.0f}", f"{np.median([r['seconds'] for r in group]):.1f}",
                    f"{beyond}/{total}" if total else "-",
                ])  # fmt: skip
    header = [
        "density",
        "method",
        "test accuracy",
        "worst attack AUC",
        "neural TPR@1 %",
        "TM-score",
        "bytes",
        "s",
        "rounds beyond noise",
    ]
    width = None if "static" in methods else -1  # the ablation says nothing of single rounds
    return table(header[:width], [line[:width] for line in lines])


def every_attack(rows: list[dict[str, Any]]) -> str:
    """Each run, each attack: AUC with its interval."""
    lines = []
    done = set()
    for row in sorted(rows, key=lambda r: (r["seed"], -r["density"], r["method"])):
        models = [(f"{row['density']:g}", row["method"], row["compressed"])]
        if row["seed"] not in done:
            done.add(row["seed"])
            models.insert(0, ("1", "dense", row["dense"]))
        for density, method, figures in models:
            cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*figures[f"{attack}.auc"]) for attack in ATTACKS]
            lines.append([str(row["seed"]), density, method, *cells])
    return table(["seed", "density", "method", *(f"{attack} AUC" for attack in ATTACKS)], lines)


FIGURES = {
    "test accuracy": lambda r: r["compressed"]["accuracy"][0],
    "worst attack AUC": lambda r: worst(r["compressed"]),
    "loss AUC": lambda r: r["compressed"]["loss.auc"][0],
    "neural AUC": lambda r: r["compressed"]["neural.auc"][0],
    "TM-score": lambda r: r["tm_score"]["artifact"],
}


def differences(rows: list[dict[str, Any]], first: str, second: str) -> dict[str, tuple[float, float, int, int]]:
    """Of each figure, first - second over equal density and seed: mean, half of a 95 % t interval, wins, pairs."""
    by = {(r["method"], r["density"], r["seed"]): r for r in rows}
    keys = [(d, s) for m, d, s in by if m == first and (second, d, s) in by]
    found = {}
    for name, figure in FIGURES.items():
        values = np.array([figure(by[first, d, s]) - figure(by[second, d, s]) for d, s in keys])
        half = scipy_stats.t.ppf(0.975, len(keys) - 1) * values.std(ddof=1) / np.sqrt(len(keys))
        found[name] = (float(values.mean()), float(half), int((values > 0).sum()), len(keys))
    return found


def in_words(rows: list[dict[str, Any]]) -> str:
    """What choosing by attacks bought, beside choosing by lot."""
    mean, half, wins, pairs = differences(rows, "SafeCompress", "DST")["TM-score"]
    beyond = [sum(r["rounds_beyond_noise"][i] for r in rows if r["method"] == "SafeCompress") for i in (0, 1)]
    rewiring, other, _, _ = differences(rows, "DST", "static")["TM-score"]
    bought = "nothing that these seeds can show" if abs(mean) <= half else "a difference beyond the seeds' noise"
    return (
        f"**What selection bought: {bought}.** Choosing by TM-score instead of by lot changed the TM-score by "
        f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}] and was ahead in {wins} of {pairs} pairs; in "
        f"{beyond[0]} of {beyond[1]} rounds the winner's leak differed from `keep`'s beyond noise (paired DeLong). "
        f"Rewiring itself, by lot, changed it by {rewiring:+.4f} [{rewiring - other:+.4f}, {rewiring + other:+.4f}] "
        "against the static pattern.\n"
    )


def paired(rows: list[dict[str, Any]], first: str, second: str) -> str:
    """The paired differences as a table."""
    lines = [
        [name, f"{mean:+.4f}", f"[{mean - half:+.4f}, {mean + half:+.4f}]", f"{wins}/{pairs}"]
        for name, (mean, half, wins, pairs) in differences(rows, first, second).items()
    ]
    return table([f"{first} minus {second}", "mean", "95 % interval", "above zero"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["location30", "digits"])
    parser.add_argument("--root", type=Path, help="folder of location30.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05])
    parser.add_argument(
        "--ablation", action="store_true", help="compare tests after the cut and attackers per candidate"
    )
    parser.add_argument("--render", action="store_true", help="write the page again from the JSON; run nothing")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="where dense models are kept")
    arguments = parser.parse_args()
    hidden, batch = ([256, 128], 32) if arguments.data == "digits" else ([512, 256, 128], 128)
    methods = ABLATIONS if arguments.ablation else MAIN
    topic = f"{'ablation' if arguments.ablation else 'methods'}-{arguments.data}"
    densities = " ".join(f"{density:g}" for density in arguments.densities)
    command = f"python benchmarks/methods.py {arguments.data}" + " --root DIR" * bool(arguments.root)
    command += f" --seeds {arguments.seeds} --densities {densities}" + " --ablation" * arguments.ablation
    if arguments.render:
        rows = json.loads((RESULTS / f"{topic}.json").read_text())["results"]
        (RESULTS / f"{topic}.md").write_text(page(rows, methods, topic) + f"\nMade by `{command}`.\n")
        return
    dataset = digits() if arguments.data == "digits" else location30(arguments.root)
    rows = []
    for seed in range(arguments.seeds):
        for density in arguments.densities:
            for method in methods:
                row = run(dataset, hidden, batch, method, density, seed, arguments.work / arguments.data)
                rows.append(row)
                figures = f"accuracy {row['compressed']['accuracy'][0]:.3f} worst {worst(row['compressed']):.3f}"
                print(seed, density, method, figures, flush=True)
    save(topic, command, rows, page(rows, methods, topic))


def page(rows: list[dict[str, Any]], methods: tuple[str, ...], topic: str) -> str:
    """The readable page: means, paired differences, every run."""
    parts = [
        f"# {topic}",
        "Mean over seeds [lowest, highest]; attackers fitted anew for each model.",
        summary(rows, methods),
    ]
    if "static" in methods:
        parts.append(in_words(rows))
    parts += ["## Paired over densities and seeds"]
    parts += [paired(rows, "SafeCompress", second) for second in methods if second != "SafeCompress"]
    return "\n\n".join([*parts, "## Every run, every attack", every_attack(rows)])


if __name__ == "__main__":
    main()
