"""What sparse training costs: a masked step beside a dense one, one rewire, the cheap tests' share of a run, memory.

python benchmarks/speed.py step | rewire | memory
python benchmarks/speed.py share [--root DIR]          # DIR holds location30.npz; without it digits alone
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save, table
from torch import nn
from torch.nn.functional import cross_entropy

import safecompress as sc
from safecompress import sparsity
from safecompress.data import Dataset, digits, location30
from safecompress.seeding import derive
from safecompress.sparsity import DROP_RULES, GROW_RULES, Masker

ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy")


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pattern_for(model: nn.Module, density: float) -> sparsity.SparsityPattern:
    weights = sparsity.find_maskable(model)
    return sparsity.initial_pattern(
        weights, density, allocation=sparsity.AllocateErk(), start=sparsity.Start.SCRATCH, seed=0
    )


OPTIMIZERS: dict[str, Any] = {
    "SGD Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "SGD Nesterov, foreach": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=True
    ),
    "Adam, fused": lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
}


def step() -> None:
    """Blocks of ten steps, dense, sparse and dense again in turn; the ratio of each pair of neighbours."""
    torch.manual_seed(0)
    features, labels = torch.randn(2048, 600), torch.randint(100, (2048,))
    results = []
    for name, make in OPTIMIZERS.items():
        for density in (0.2, 0.1, 0.05):
            runs = {}
            for which in ("dense", "sparse", "control"):
                model = mlp(600, 1024, 512, 256, 100)
                optimizer = make(model.parameters())
                if which == "sparse":
                    Masker(model, optimizer, pattern_for(model, density))
                runs[which] = partial(_steps, model, optimizer, features, labels)
            for block in runs.values():
                block()
            times = np.array([[block() for block in runs.values()] for _ in range(60)])
            dense, sparse, control = times.T
            results.append(
                {
                    "optimizer": name,
                    "density": density,
                    "dense_ms": float(np.median(dense)) * 100,
                    "sparse_over_dense": float(np.median(sparse / dense)),
                    "quartiles": np.percentile(sparse / dense, [25, 75]).tolist(),
                    "dense_over_dense": float(np.median(control / dense)),
                    "control_quartiles": np.percentile(control / dense, [25, 75]).tolist(),
                }
            )
            print(results[-1], flush=True)
    rows = [
        [r["optimizer"], f"{r['density']:g}", f"{r['dense_ms']:.2f}",
         "{:.3f} [{:.3f}, {:.3f}]".format(r["sparse_over_dense"], *r["quartiles"]),
         "{:.3f} [{:.3f}, {:.3f}]".format(r["dense_over_dense"], *r["control_quartiles"])]
        for r in results
    ]  # fmt: skip
    page = (
        "# A masked training step beside a dense one\n\nMLP 600-1024-512-256-100, batch 128, one thread; medians and "
        "quartiles of 60 paired blocks of ten steps. Target: at most 1.08.\n\n"
        + table(["optimizer", "density", "dense, ms a step", "sparse / dense", "dense / dense (control)"], rows)
    )
    save("speed-step", "python benchmarks/speed.py step", results, page)


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, features: torch.Tensor, labels: torch.Tensor) -> float:
    began = time.perf_counter()
    for start in range(0, 1280, 128):
        optimizer.zero_grad(set_to_none=True)
        rows = slice(start, start + 128)
        cross_entropy(model(features[rows]), labels[rows]).backward()
        optimizer.step()
    return time.perf_counter() - began


def rewire() -> None:
    """One rewire of 2.46 million weights, every pair of rules, a tenth of the weights trained values and gradients."""
    model = mlp(784, 1536, 768, 100)
    weights = sparsity.find_maskable(model)
    results = []
    for density in (0.2, 0.1, 0.05):
        pattern = pattern_for(model, density)
        pattern.apply_(model)
        cross_entropy(model(torch.randn(128, 784)), torch.randint(100, (128,))).backward()
        gradient = {name: p.grad for name, p in weights.items()}
        for drop in DROP_RULES.builtins:
            for grow in GROW_RULES.builtins:
                times = []
                for turn in range(15):
                    began = time.perf_counter()
                    layers = sparsity.view_layers(
                        weights, pattern.masks, gradient=gradient, momentum=gradient, fired=pattern.masks
                    )
                    rules = DROP_RULES.make(drop), GROW_RULES.make(grow)
                    moves = sparsity.rewire(layers, *rules, 0.3, stream=partial(derive, 0, "rewire", turn))
                    moves.applied_to(pattern)
                    times.append(time.perf_counter() - began)
                results.append(
                    {"density": density, "drop": drop, "grow": grow, "ms": float(np.median(times)) * 1e3,
                     "slowest_ms": max(times) * 1e3, "moved": moves.num_moved}
                )  # fmt: skip
    count = sum(p.numel() for p in weights.values())
    rows = [[f"{r['density']:g}", r["drop"], r["grow"], f"{r['ms']:.1f}", f"{r['moved']:,}"] for r in results]
    slowest = max(results, key=lambda r: r["ms"])
    page = (
        f"# One rewire of {count:,} weights\n\nOne thread, fraction 0.3, median of 15; views, drop, grow and the new "
        f"pattern together. Slowest median {slowest['ms']:.1f} ms; target at most 25 ms.\n\n"
        + table(["density", "drop", "grow", "ms", "weights moved"], rows)
    )
    print(f"slowest median {slowest['ms']:.1f} ms")
    save("speed-rewire", "python benchmarks/speed.py rewire", results, page)


def share(root: Path | None) -> None:
    """Seconds of each phase of a whole run, three seeds; the cheap tests' share of the wall time."""
    results = []
    datasets: dict[str, tuple[Dataset, list[int], int]] = {"digits": (digits(), [256, 128], 32)}
    if root:
        datasets["location30"] = (location30(root), [512, 256, 128], 128)
    for name, (dataset, hidden, batch) in datasets.items():
        for seed in range(3):
            split = sc.make_split(dataset, seed=seed)
            model = sc.ModelSpec("mlp", {"hidden": hidden}, dataset.input_shape, dataset.num_classes)
            recipe = sc.Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=batch)
            spec = sc.SafetySpec([*ATTACKS, "neural"], [sc.at_most("neural.auc", 0.999)])
            began = time.perf_counter()
            report = sc.compress(model, split, spec=spec, recipe=recipe, density=0.1, seed=seed).report
            wall = time.perf_counter() - began
            seconds = report.seconds
            cheap = seconds["forward"] + sum(seconds[f"attack.{attack}"] for attack in ATTACKS)
            neural = seconds["attack.neural"] + seconds["simulate"]
            results.append({"data": name, "seed": seed, "wall_s": wall, "cheap_share": cheap / wall,
                            "neural_share": neural / wall, "seconds": seconds})  # fmt: skip
            print(name, seed, f"cheap {cheap / wall:.3f} neural {neural / wall:.3f} of {wall:.1f} s", flush=True)
    rows = [
        [r["data"], str(r["seed"]), f"{r['wall_s']:.1f}", f"{r['cheap_share']:.3f}", f"{r['neural_share']:.3f}"]
        for r in results
    ]
    page = (
        "# The tests' share of a run\n\nDensity 0.1, ten rounds of five candidates. Cheap: forward passes on the "
        "selection pool and validation rows, gap, loss, confidence, entropy and modified entropy of every candidate "
        "(target at most 0.10). Neural: simulating the attacker once a round and testing every candidate with it.\n\n"
        + table(["data", "seed", "wall, s", "cheap tests", "neural"], rows)
    )
    save("speed-share", f"python benchmarks/speed.py share{' --root DIR' if root else ''}", results, page)


def memory() -> None:
    """Peak memory of whole processes that differ in the number of branches alone."""
    results = []
    for num_branches in (1, 2, 4, 8, 16):
        for _ in range(3):
            line = subprocess.run(
                [sys.executable, __file__, "memory-of", str(num_branches)], check=True, capture_output=True, text=True
            ).stdout
            results.append(json.loads(line.splitlines()[-1]))
        print(results[-1], flush=True)
    base = np.median([r["peak_mb"] for r in results if r["branches"] == 1])
    rows = []
    for num_branches in (1, 2, 4, 8, 16):
        peaks = [r["peak_mb"] for r in results if r["branches"] == num_branches]
        rows.append([str(num_branches), f"{np.median(peaks):.0f}", f"{np.median(peaks) - base:+.0f}"])
    size = results[0]["candidate_mb"]
    page = (
        "# Peak memory by number of branches\n\nMLP 784-1536-768-10 (2.39 million weights), 4,000 rows, two rounds, "
        f"SGD with momentum; medians of three processes. One candidate with its optimizer state takes {size:.0f} MB: "
        "if candidates were kept in memory, sixteen would add about fifteen times that.\n\n"
        + table(["branches", "peak MB", "against one branch, MB"], rows)
    )
    save("memory-branches", "python benchmarks/speed.py memory", results, page)


def memory_of(num_branches: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(4000) % 10
    features = generator.normal(size=(4000, 784)).astype(np.float32) + generator.normal(size=(10, 784))[labels]
    dataset = Dataset.from_arrays(features.astype(np.float32), labels)
    split = sc.make_split(dataset, seed=0)
    pairs = [
        f"{drop}+{grow}"
        for drop in DROP_RULES.builtins
        for grow in ("random", "gradient", "random-unfired", "smallest-gradient")
    ]
    plan = sc.Plan(rounds=2, branches=tuple(map(sc.Branch.parse, pairs[:num_branches])))
    spec = sc.SafetySpec(["loss"], [sc.at_most("loss.auc", 0.999)])
    model = sc.ModelSpec("mlp", {"hidden": [1536, 768]}, (784,), 10)
    sc.compress(model, split, spec=spec, recipe=sc.Recipe(epochs=2, learning_rate=0.01), plan=plan)
    weights = 784 * 1536 + 1536 * 768 + 768 * 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"branches": num_branches, "peak_mb": peak, "candidate_mb": weights * (4 + 4 + 1 + 1) / 2**20}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "rewire", "share", "memory", "memory-of"])
    parser.add_argument("num", nargs="?", type=int)
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "share":
        share(arguments.root)
    elif arguments.what == "memory-of":
        memory_of(arguments.num)
    else:
        {"step": step, "rewire": rewire, "memory": memory}[arguments.what]()


if __name__ == "__main__":
    main()
