"""How often is an honest run turned away by a health check?

Whole runs of compress on digits, Location-30 and Adult: a small MLP, a few rounds, the reference set of attacks with
16 shadow models, 200 + 200 verdict rows. Bounds are loose, so whatever keeps a run from PASS is a check. Every fifth
run is audited again from its folder, which proves its members and its training.

    python benchmarks/honest.py run --seeds 34 --workers 2 --data DIR --work DIR     # goes on where it stopped
    python benchmarks/honest.py render --work DIR
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch

import safecompress as sc
from safecompress.data import SplitSizes
from safecompress.data.tabular.adult import adult
from safecompress.training import Recipe

NAMES = ("digits", "location30", "adult")
SIZES = {
    "digits": {"train": 600, "population": 250, "test": 200},
    "location30": {"train": 1000, "population": 400, "test": 400},
    "adult": {"train": 1000, "population": 400, "test": 400},
}
POOLS = {f"{side}_{pool}": count for side in ("member", "nonmember")
         for pool, count in (("fit", 150), ("select", 50), ("verdict", 200))}  # fmt: skip
RECIPES = {
    "digits": Recipe(epochs=20, batch_size=32, optimizer="adam", learning_rate=2e-3, weight_decay=0.0),
    "location30": Recipe(epochs=20, batch_size=32, optimizer="adam", learning_rate=1e-3, weight_decay=0.0),
    "adult": Recipe(epochs=15, batch_size=32, optimizer="adam", learning_rate=2e-3, weight_decay=0.0),
}
ATTACKS = ("modified_entropy", "neural", "whitebox", "lira")


def dataset(name: str, folder: Path) -> sc.Dataset:
    """The data set; Location-30 and Adult lie in ``folder``."""
    if name == "digits":
        return sc.data.digits()
    if name == "adult":
        people = adult(folder / "adult")
        columns = people.features.numpy()
        scaled = ((columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-6)).astype(np.float32)
        return sc.Dataset.from_arrays(scaled, people.labels.numpy(), name=name)
    packed = np.load(folder / "location30" / "location30.npz")
    features = np.unpackbits(packed["x_packed"], axis=1, count=int(packed["n_features"])).astype(np.float32)
    return sc.Dataset.from_arrays(features, packed["y"].astype(np.int64), name=name)


def honest_run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run: its verdict, and each check that does not hold."""
    torch.set_num_threads(1)
    began, data = time.perf_counter(), dataset(name, folder)
    split = sc.make_split(data, SplitSizes(**SIZES[name], **POOLS, validation=100), seed=seed)
    spec = sc.SafetySpec([*ATTACKS[:3], sc.attacks.Lira(16)], [sc.at_most(f"{attack}.auc", 0.99) for attack in ATTACKS])
    model = sc.ModelSpec("mlp", {"hidden": [128]}, input_shape=data.input_shape, num_classes=data.num_classes)
    density = (0.1, 0.2, 0.4)[seed % 3]
    with tempfile.TemporaryDirectory() as place:
        report = sc.compress(
            model, split, spec=spec, recipe=RECIPES[name], density=density, seed=seed, plan=sc.Plan(rounds=3),
            out=Path(place) / "run",
        ).report  # fmt: skip
        again = None
        if seed % 5 == 0:
            again = sc.audit(
                Path(place) / "run" / "artifact.safetensors", split, spec=spec, recipe=RECIPES[name], seed=seed,
                cache=Path(place) / "run" / "work" / "cache",
            )  # fmt: skip
    health = [*report.health, *([] if again is None else again.health)]
    return {
        "data": name,
        "seed": seed,
        "density": density,
        "verdict": report.verdict,
        "audited": None if again is None else again.verdict,
        "lira": report.measurements["lira.auc"]["value"],
        "likeness": next(check["value"] for check in report.health if check["check"] == "likeness"),
        "alarms": [check for check in health if check["outcome"] != "PASS"],
        "checks": len(health),
        "seconds": time.perf_counter() - began,
        "versions": f"PyTorch {torch.__version__}, Python {platform.python_version()}",
    }


def run(seeds: int, workers: int, folder: Path, work: Path) -> None:
    """Every run that is not kept in ``work`` yet."""
    work.mkdir(parents=True, exist_ok=True)
    cells = [(name, seed) for seed in range(seeds) for name in NAMES]
    missing = [cell for cell in cells if not _file(work, *cell).exists()]
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(honest_run, name, seed, folder): (name, seed) for name, seed in missing}
        for future in as_completed(futures):
            found, cell = future.result(), futures[future]
            _file(work, *cell).write_text(json.dumps(found))
            alarms = "; ".join(f"{check['check']} of {check['subject']}" for check in found["alarms"])
            print(*cell, found["verdict"], f"{found['seconds']:.0f} s", alarms, flush=True)


def render(work: Path, command: str) -> None:
    """The table of alarms."""
    found = [json.loads(path.read_text()) for path in sorted(work.glob("*.json"))]
    rows = []
    for name in (*NAMES, "all"):
        runs = [one for one in found if name in (one["data"], "all")]
        away = [one for one in runs if one["alarms"]]
        kinds = Counter(f"{check['check']} of {check['subject']}" for one in away for check in one["alarms"])
        leaks = [one["lira"] for one in runs]
        shifts = [abs(one["likeness"]) for one in runs]
        rows.append(
            [
                name,
                str(len(runs)),
                str(len(away)),
                ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "-",
                f"{min(leaks):.2f} to {max(leaks):.2f}",
                f"{np.median(shifts):.2f}, at most {max(shifts):.2f}",
            ]
        )
    header = ["data", "honest runs", "turned away", "by", "LiRA AUC", "target beside its shadows, deviations"]
    audits = [one["audited"] for one in found if one["audited"]]
    page = (
        "# Honest runs that a health check turned away\n\n"
        "Small MLPs, densities 0.1 to 0.4, three rounds, the reference set for weights with 16 shadow models, "
        "200 + 200 verdict rows; another split, model and search for each seed. Bounds are at 0.99, so only a check "
        f"can keep a run from PASS. {len(audits)} runs were audited again from their folder, with "
        f"{audits.count('PASS')} PASS. Made with "
        f"{', '.join(sorted({one['versions'] for one in found}))}.\n\n" + common.table(header, rows)
    )
    common.save("honest", command, found, page)
    print(page)


def _file(work: Path, name: str, seed: int) -> Path:
    return work / f"{name}-{seed}.json"


def main() -> None:
    """Run or render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "render"])
    parser.add_argument("--seeds", type=int, default=34)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "run":
        run(options.seeds, options.workers, options.data, options.work)
    else:
        render(options.work, "python benchmarks/honest.py run --seeds 34 --data DIR --work DIR")


if __name__ == "__main__":
    main()
