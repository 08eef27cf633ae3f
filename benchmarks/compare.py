"""SafeCompress beside the field's defences, by `safecompress compare`: the page is left in benchmarks/results.

python benchmarks/compare.py location30 --root DIR --work DIR [--workers 2]
python benchmarks/compare.py digits --work DIR
python benchmarks/compare.py cifar10 --root DIR --work DIR --densities 0.1 --seeds 2 --shadows 0 --without pr_dp kd_dp
python benchmarks/compare.py cifar100 --root DIR --work DIR --densities 0.1 --shadows 0
python benchmarks/compare.py ag_news --root DIR --encoder DIR --work DIR --densities 0.2 --shadows 0     # sst2 alike

On CIFAR-10 six epochs teach a sparse network from scratch little, and pruned ones had six more as a dense model: a
search that begins with the trained dense model, of as many steps, stands beside them too.

The papers' other tasks are compared in small: dense, static, plain dynamic sparse training, SafeCompress. ``--encoder``
is the folder of a pretrained BERT (config.json, model.safetensors, vocab.txt), of which three layers are fine-tuned.

With --known FILE cells of an earlier document are not made again, but for one, drawn by lot, that must come out equal.
DP-SGD takes no batch norm, so the two methods with it are left out where the network has that. With --shadows 0 nobody
attacks by shadow models: on two cores those of CIFAR-10 would take days.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import common
import tomli_w

from safecompress.storage import write_json
from safecompress.studies.comparison import load_comparison
from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.engine.folder import KEY

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
ADAM = {"epochs": 60, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0}
POOLS = [f"{side}_{pool}" for side in ("member", "nonmember") for pool in ("fit", "select", "verdict")]
BEGUN = {"start": "pretrained", "exclude": ["*classifier*"]}
TEXT: dict[str, Any] = {
    "model": {"name": "transformer", "layers": 3},
    "recipe": {
        "epochs": 4, "batch_size": 32, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01,
        "decay": "linear", "warmup": 0.1, "clip_norm": 1.0,
    },
    "sizes": {"train": 1_000, "validation": 500, "test": 1_500, **dict.fromkeys(POOLS, 330)},
    "methods": [
        {"name": "safecompress", "rounds": 2, **BEGUN},
        "dense",
        {"name": "static", **BEGUN},
        {"name": "set", "rounds": 2, **BEGUN},
        {"name": "rigl", "rounds": 2, **BEGUN},
    ],
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "location30": {
        "model": {"name": "mlp", "hidden": [512, 256, 128]},
        "recipe": {**ADAM, "batch_size": 128},
        "sizes": {},
    },
    "digits": {
        "model": {"name": "mlp", "hidden": [256, 128]},
        "recipe": {**ADAM, "batch_size": 32},
        "sizes": {"test": 247, "population": 200},
    },
    "cifar10": {
        "model": {"name": "resnet", "blocks": [1, 1, 1]},  # ResNet-8
        "recipe": {"epochs": 6, "batch_size": 128, "decay": "cosine"},
        "sizes": {
            "train": 10_000, "validation": 2_000, "test": 5_000, "population": 10_000,
            "member_fit": 2_000, "member_select": 1_000, "member_verdict": 2_000,
            "nonmember_fit": 2_000, "nonmember_select": 1_000, "nonmember_verdict": 2_000,
        },
        "normalise": "standard",
        "also": [{"name": "safecompress", "label": "safecompress from the dense model", "start": "dense"}],
    },
    "cifar100": {
        "model": {"name": "vgg", "widths": [32, 64, 128], "depths": [1, 1, 1], "hidden": [128]},
        "recipe": {"epochs": 15, "batch_size": 64, "learning_rate": 0.05, "decay": "cosine"},
        "source": {"part": "all"},
        "sizes": {"train": 8_000, "validation": 2_000, "test": 5_000, **dict.fromkeys(POOLS, 2_000)},
        "normalise": "standard",
        "methods": [OURS[0], "dense", "static", "set", "rigl"],
    },
    "ag_news": {"source": {"part": "all"}, **TEXT},
    "sst2": {"source": {"part": "all"}, **TEXT},
}  # fmt: skip


def spec(
    data: str,
    root: Path | None,
    seeds: int,
    num_shadows: int,
    densities: list[float],
    without: list[str],
    encoder: Path | None = None,
) -> dict[str, object]:
    """The comparison, as `safecompress compare` reads it."""
    setting = SETTINGS[data]
    source = {"name": data, "root": str(root.resolve()), **setting.get("source", {})} if root else data
    model = dict(setting["model"])
    if encoder is not None:
        source = {**source, "tokenizer": str(encoder.resolve()), "max_length": 32, "rows": 8_000}
        model["folder"] = str(encoder.resolve())
    return {
        "name": f"compare-{data}",
        "data": {"source": source, **setting["sizes"], "normalise": setting.get("normalise", "none")},
        "model": model,
        "recipe": setting["recipe"],
        "compare": {
            "methods": [
                *setting.get("methods", [*OURS, *(name for name in FIELD if name not in without)]),
                *setting.get("also", []),
            ],
            "densities": densities,
            "seeds": list(range(seeds)),
            "num_shadows": num_shadows or 8,
            "attacks": ATTACKS if num_shadows else [name for name in ATTACKS if name != "lira"],
            "shadows": "full pipeline",
        },
    }


def take_over(document: Path, file: Path, out: Path) -> str | None:
    """Put the cells of ``document`` into the folder ``out``, but one; return that one's digest as it was."""
    study = load_comparison(file).study(1)
    (out / "cells").mkdir(parents=True, exist_ok=True)
    key = out / KEY
    if not key.exists():
        key.write_bytes(secrets.token_bytes(32))
    wanted = {astuple(cell): cell for stage in study.comparison.stages() for cell in stage}
    methods = {entry.label: repr(entry.method) for entry in study.comparison.entries}
    known = [
        result
        for told in json.loads(document.read_text())["results"]["cells"]
        if (result := CellResult.from_json({k: v for k, v in told.items() if k != "digest"})).error is None
        and astuple(result.cell) in wanted
        and methods[result.cell.label] == result.method
    ]
    again = random.randrange(len(known)) if known else None
    for place, result in enumerate(known):
        path = out / "cells" / f"{study.digest(wanted[astuple(result.cell)], key.read_bytes())}.json"
        if place != again and not path.exists():
            write_json(path, result.to_json())
    print(
        f"{len(known)} cells of {len(wanted)} are known; made again: {known[again].cell if again is not None else '-'}"
    )
    return known[again].digest() if again is not None else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SETTINGS))
    parser.add_argument("--root", type=Path, help="folder of the data set, where it has one")
    parser.add_argument(
        "--work", type=Path, required=True, help="where cells and shadows are kept: a second run goes on"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05])
    parser.add_argument("--without", nargs="*", default=[], help="methods of the field to leave out")
    parser.add_argument("--encoder", type=Path, help="folder of a pretrained BERT, for texts")
    parser.add_argument("--known", type=Path, help="an earlier document whose cells are taken over")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file, out = options.work / f"{options.data}.toml", options.work / options.data
    asked = spec(
        *(options.data, options.root, options.seeds, options.shadows, options.densities, options.without),
        options.encoder,
    )
    file.write_text(tomli_w.dumps(asked))
    expected = take_over(options.known, file, out) if options.known else None
    command = ["compare", str(file), "--out", str(out), "--workers", str(options.workers)]
    subprocess.run([Path(sys.executable).with_name("safecompress"), *command], check=False)
    document = json.loads((out / "compare.json").read_text())
    if expected is not None and expected not in {told["digest"] for told in document["cells"]}:
        raise SystemExit(
            "The cell that was made again came out otherwise: nothing was taken over. Start without --known."
        )
    document["spec"]["data"] = {**document["spec"]["data"], "source": options.data}
    document["spec"]["model"].pop("folder", None)
    topic = f"compare-{options.data}"
    called = f"python benchmarks/compare.py {options.data}{' --root DIR' * bool(options.root)}"
    called += f"{' --encoder DIR' * bool(options.encoder)} --work DIR"
    called += f" --seeds {options.seeds} --shadows {options.shadows}"
    called += f" --densities {' '.join(f'{density:g}' for density in options.densities)}"
    called += f" --without {' '.join(options.without)}" * bool(options.without)
    page = (out / "compare.md").read_text().replace("compare.svg", f"{topic}.svg")
    common.save(topic, called, document, page)
    (common.RESULTS / f"{topic}.svg").write_bytes((out / "compare.svg").read_bytes())


if __name__ == "__main__":
    main()
