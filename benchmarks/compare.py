"""SafeCompress beside the field's defences, by `safecompress compare`: the page is left in benchmarks/results.

python benchmarks/compare.py location30 --root DIR --work DIR [--workers 2]
python benchmarks/compare.py digits --work DIR
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import common
import tomli_w

OURS = [
    "safecompress",
    {"name": "safecompress", "label": "safecompress + split teachers", "objective": "split_distillation"},
    {
        "name": "safecompress",
        "label": "safecompress + objective axis",
        "branches": [
            "magnitude+random",
            "magnitude+gradient",
            "threshold+random",
            "threshold+gradient",
            "keep",
            "magnitude+random+relax_loss",
            "threshold+gradient+relax_loss",
            "threshold+gradient+split_distillation",
        ],
    },
]
FIELD = [
    "dense", "dense_early_stop", "dense_relax", "dense_hamp", "dmp", "selena", "static", "set", "rigl", "one_shot",
    "gmp", "mia_pruning", "ppb", "wemem", "pr_dp", "pr_advreg", "pr_dmp", "kd", "kd_dp", "kd_advreg", "kd_dmp",
]  # fmt: skip
ATTACKS = ["gap", "loss", "confidence", "entropy", "modified_entropy", "neural", "whitebox", "lira"]
SETTINGS = {
    "location30": {"hidden": [512, 256, 128], "batch": 128, "sizes": {}},
    "digits": {"hidden": [256, 128], "batch": 32, "sizes": {"test": 247, "population": 200}},
}


def spec(
    data: str, root: Path | None, seeds: int, num_shadows: int, densities: list[float], without: list[str]
) -> dict[str, object]:
    """The comparison, as `safecompress compare` reads it."""
    setting = SETTINGS[data]
    source = {"name": data, "root": str(root.resolve())} if root else data
    return {
        "name": f"compare-{data}",
        "data": {"source": source, **setting["sizes"]},
        "model": {"name": "mlp", "hidden": setting["hidden"]},
        "recipe": {
            "epochs": 60,
            "optimizer": "adam",
            "batch_size": setting["batch"],
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
        },
        "compare": {
            "methods": [*OURS, *(name for name in FIELD if name not in without)],
            "densities": densities,
            "seeds": list(range(seeds)),
            "num_shadows": num_shadows,
            "attacks": ATTACKS,
            "shadows": "full pipeline",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SETTINGS))
    parser.add_argument("--root", type=Path, help="folder of location30.npz")
    parser.add_argument(
        "--work", type=Path, required=True, help="where cells and shadows are kept: a second run goes on"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05])
    parser.add_argument("--without", nargs="*", default=[], help="methods of the field to leave out")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file, out = options.work / f"{options.data}.toml", options.work / options.data
    asked = spec(options.data, options.root, options.seeds, options.shadows, options.densities, options.without)
    file.write_text(tomli_w.dumps(asked))
    command = ["compare", str(file), "--out", str(out), "--workers", str(options.workers)]
    subprocess.run([Path(sys.executable).with_name("safecompress"), *command], check=False)
    document = json.loads((out / "compare.json").read_text())
    document["spec"]["data"] = {**document["spec"]["data"], "source": options.data}
    topic = f"compare-{options.data}"
    called = f"python benchmarks/compare.py {options.data}{' --root DIR' * bool(options.root)} --work DIR"
    called += f" --seeds {options.seeds} --shadows {options.shadows}"
    called += f" --densities {' '.join(f'{density:g}' for density in options.densities)}"
    called += f" --without {' '.join(options.without)}" * bool(options.without)
    page = (out / "compare.md").read_text().replace("compare.svg", f"{topic}.svg")
    common.save(topic, called, document, page)
    (common.RESULTS / f"{topic}.svg").write_bytes((out / "compare.svg").read_bytes())


if __name__ == "__main__":
    main()
