"""Small runs of compress, compare and tune, and every figure and digest that they leave.

    python tests/digests/digest_recorder.py   # writes recorded.json anew, after a change of figures that is meant

A refactor proves itself by leaving all of it equal. Names of classes and files are not among the figures.
"""

import json
import os
import platform
import sys
from functools import partial
from pathlib import Path

import numpy as np
import tomli_w
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, too

from whole_runs import TINY, report_of, run_cli, tiny

RECORDED = Path(__file__).with_name("recorded.json")

SHADOWS = [{"name": name, "num_shadows": 4} for name in ("lira", "joint_lira")]
"""Train is half of what shadows are drawn from, so that four of them have every row twice."""

SHORT = {"recipe": {"epochs": 6}}

STRONG = tiny(
    name="strong",
    **SHORT,
    data={"normalise": "standard"},
    search={"rounds": 2, "branches": ["magnitude+gradient", "threshold+random+relax_loss", "keep"]},
    deploy={"precision": "int8", "shrink": True},
    safety={"access": "weights", "attacks": ["loss", "modified_entropy", "neural", "whitebox", *SHADOWS]},
    require=[
        {"metric": "lira.auc", "at_most": 0.9},
        {"metric": "whitebox.auc", "at_most": 0.9},
        {"metric": "loss.auc", "within": 0.1},
        {"metric": "accuracy", "within": 0.2},
        {"metric": "neural.balanced_accuracy", "at_most": 0.9},
    ],
)
"""Every tier of attack, an objective that a branch brings, int8 weights, changes from the dense model."""

UNITS = tiny(
    name="units",
    compress={"density": 0.4, "shape": "unit", "start": "dense"},
    search={
        "rounds": 2,
        "branches": ["magnitude+random", "keep"],
        "selector": {"name": "safest_above", "accuracy": 0.5},
    },
    deploy={"shrink": True},
)
"""Whole units that leave the file, from the dense model."""

COMPARED = {
    "name": "compared",
    **{key: tiny(**SHORT)[key] for key in ("data", "model", "recipe")},
    "compare": {
        "methods": ["dense", "static", "rigl", {"name": "safecompress", "rounds": 2}, "one_shot", "selena"],
        "densities": [0.2],
        "seeds": [0],
        "num_shadows": 4,
        "attacks": ["gap", "loss", "neural", "lira"],
    },
}

TUNED = {
    "name": "tuned",
    **{key: tiny(**SHORT)[key] for key in ("data", "model", "recipe")},
    "search": {"rounds": 2},
    "tune": {
        "trials": 4,
        "batch": 2,
        "densities": [0.1, 0.5],
        "objectives": ["cross_entropy", "label_smoothing"],
        "num_shadows": 4,
        "attacks": ["gap", "loss", "lira"],
    },
    "safety": {"attacks": ["gap", "loss", "lira"]},
}


def environment() -> dict:
    """What figures depend on to the bit, beside the code."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "processor": processor,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def compressed(spec: dict, folder: Path) -> dict:
    """Digests, figures, verdicts and health of a run of ``compress``."""
    report = _left_by("compress", spec, folder)
    return {
        "digests": {name: report["digests"][name] for name in ("pattern", "weights", "dense")},
        "artifact bytes": report["artifact"]["size_bytes"],
        "measurements": _plain(report["measurements"]),
        "dense": _plain(report["dense"]),
        "trained": _plain(report["trained"]),
        "tm score": report["tm_score"],
        "verdicts": [finding["verdict"] for finding in report["findings"]],
        "epsilon": report["epsilon"],
        "health": [[check["check"], check["subject"], check["outcome"], check["value"]] for check in report["health"]],
        "winners": [next(c["branch"] for c in r["candidates"] if c["won"]) for r in report["search"]["rounds"]],
        "candidates": [
            [c["branch"], c["moved"], _plain({"accuracy": c["accuracy"], **c["metrics"]})]
            for r in report["search"]["rounds"]
            for c in r["candidates"]
        ],
        "ranking": report["search"]["rounds"][-1].get("ranking"),
        "exposure": report["exposure"],
    }


def compared(folder: Path) -> dict:
    """The figures of every cell."""
    cells = _left_by("compare", COMPARED, folder)["cells"]
    return {
        f"{one['cell']['label']} {one['cell']['density']} {one['cell']['seed']}": {
            "figures": _plain(one["figures"]),
            **{key: one[key] for key in ("error", "broken", "tm_score", "num_bytes", "num_kept", "shadows")},
        }
        for one in cells
    }


def tuned(folder: Path) -> dict:
    """The figures of every trial, the front, and how much of the plane it covers."""
    left = _left_by("tune", TUNED, folder)
    trials = [
        {"figures": _plain(one["figures"]), **{key: one[key] for key in ("error", "broken", "num_bytes", "pattern")}}
        for one in left["trials"]
    ]
    return {"trials": trials, "front": left["front"], "hypervolume": left["hypervolume"]}


PARTS = {
    "labels": partial(compressed, TINY),
    "strong": partial(compressed, STRONG),
    "units": partial(compressed, UNITS),
    "compared": compared,
    "tuned": tuned,
}
"""Each a function of the folder that it works in."""


def _left_by(verb: str, spec: dict, folder: Path) -> dict:
    """The JSON document that ``verb`` leaves. Raises AssertionError with what it printed when there is none."""
    folder.mkdir(parents=True)
    (folder / "spec.toml").write_text(tomli_w.dumps(spec))
    ended = run_cli(verb, folder / "spec.toml", "--out", folder / "run")
    document = folder / "run" / {"compress": "report.json"}.get(verb, f"{verb}.json")
    assert document.exists(), ended.out + ended.err
    return report_of(folder / "run") if verb == "compress" else json.loads(document.read_text())


def _plain(figures: dict) -> dict:
    """Value and limits of each figure, all digits."""
    keys = ("value", "low", "high", "simultaneous_low", "simultaneous_high", "num_samples")
    return {name: [figure[key] for key in keys if key in figure] if isinstance(figure, dict) else figure
            for name, figure in figures.items()}  # fmt: skip


def as_json(figures: dict) -> dict:
    """The figures as they come back from a file."""
    return json.loads(json.dumps(figures))


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    os.environ["SAFECOMPRESS_ENGINE"] = "masked"  # which is there with and without the extra
    with tempfile.TemporaryDirectory() as made:
        figures = {name: as_json(part(Path(made) / name)) for name, part in PARTS.items()}
    RECORDED.write_text(json.dumps({"environment": environment(), "figures": figures}, sort_keys=True) + "\n")
