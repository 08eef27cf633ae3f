"""Dense, static sparse, DST without selection and SafeCompress on Location-30 or digits: accuracy and every attack.

Same split, recipe, density and seed for all methods; the verdict's attackers are fitted anew for each model. The tables
are exploratory: no ledger is kept.

    python benchmarks/methods.py location30 --root DIR     # DIR holds location30.npz
    python benchmarks/methods.py digits
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import save, table
from scipy import stats as scipy_stats

import safecompress as sc
from safecompress.api import build
from safecompress.data import digits, location30
from safecompress.report.text import num_rounds_beyond_noise
from safecompress.search import RandomChoice
from safecompress.storage import read_tensors

ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural")
FOUR = tuple(map(sc.Branch.parse, ("magnitude+random", "magnitude+gradient", "threshold+random", "threshold+gradient")))
PLANS = {
    "static": sc.Plan(rounds=0),
    "DST": sc.Plan(branches=FOUR, selector=RandomChoice()),
    "SafeCompress": sc.Plan(),
    "test after the cut": sc.Plan(recovery=0.0),
    "attacker per candidate": sc.Plan(refit="candidate"),
}
MAIN, ABLATIONS = ("static", "DST", "SafeCompress"), ("SafeCompress", "test after the cut", "attacker per candidate")


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
        build(model, seed), split, spec=spec, recipe=recipe, plan=replace(PLANS[method], density=density),
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
            which: {name: [f["value"], f["low"], f["high"]] for name, f in figures.items() if not name.endswith((".rise", ".drop"))}
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
        "-", f"{np.mean([r['phases'].get('dense', float('nan')) for r in first]):.1f}" if 'dense' in first[0]['phases'] else "-", "-",
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
                    f"{beyond}/{total}",
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
    return table(header, lines)


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


def paired(rows: list[dict[str, Any]], first: str, second: str) -> str:
    """Mean paired differences first - second over equal density and seed, with a 95 % t interval."""
    by = {(r["method"], r["density"], r["seed"]): r for r in rows}
    keys = [(d, s) for m, d, s in by if m == first and (second, d, s) in by]
    lines = []
    figures = {
        "test accuracy": lambda r: r["compressed"]["accuracy"][0],
        "worst attack AUC": lambda r: worst(r["compressed"]),
        "loss AUC": lambda r: r["compressed"]["loss.auc"][0],
        "neural AUC": lambda r: r["compressed"]["neural.auc"][0],
        "TM-score": lambda r: r["tm_score"]["artifact"],
    }
    for name, figure in figures.items():
        differences = np.array([figure(by[first, d, s]) - figure(by[second, d, s]) for d, s in keys])
        half = scipy_stats.t.ppf(0.975, len(keys) - 1) * differences.std(ddof=1) / np.sqrt(len(keys))
        mean = differences.mean()
        lines.append(
            [
                name,
                f"{mean:+.4f}",
                f"[{mean - half:+.4f}, {mean + half:+.4f}]",
                f"{(differences > 0).sum()}/{len(keys)}",
            ]
        )
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
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="where dense models are kept")
    arguments = parser.parse_args()
    dataset = digits() if arguments.data == "digits" else location30(arguments.root)
    hidden, batch = ([256, 128], 32) if arguments.data == "digits" else ([512, 256, 128], 128)
    methods = ABLATIONS if arguments.ablation else MAIN
    rows = []
    for seed in range(arguments.seeds):
        for density in arguments.densities:
            for method in methods:
                rows.append(run(dataset, hidden, batch, method, density, seed, arguments.work / arguments.data))
                row = rows[-1]
                print(
                    seed,
                    density,
                    method,
                    f"accuracy {row['compressed']['accuracy'][0]:.3f}",
                    f"worst {worst(row['compressed']):.3f}",
                    flush=True,
                )
    topic = f"{'ablation' if arguments.ablation else 'methods'}-{arguments.data}"
    page = f"# {topic}: {arguments.seeds} seeds\n\nMean over seeds [lowest, highest].\n\n{summary(rows, methods)}\n"
    for second in methods:
        if second not in ("SafeCompress", "static"):
            page += f"## Paired over densities and seeds\n\n{paired(rows, 'SafeCompress', second)}\n"
    page += f"## Every run, every attack\n\n{every_attack(rows)}\n"
    flags = f"{arguments.data}{' --root DIR' if arguments.root else ''} --seeds {arguments.seeds} --densities {' '.join(map(str, arguments.densities))}"
    save(topic, f"python benchmarks/methods.py {flags}{' --ablation' if arguments.ablation else ''}", rows, page)


if __name__ == "__main__":
    main()
