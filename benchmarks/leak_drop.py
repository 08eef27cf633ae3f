"""Leak-scored drop, its control and RigL: accuracy, leak on rows outside the fitting pools, and on the rows it reads.

python benchmarks/leak_drop.py location30 --root DIR     # DIR holds location30.npz
python benchmarks/leak_drop.py digits
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import save, table
from worlds import Attacked, World, auc_of, tpr_of, with_interval

import safecompress as sc
from safecompress.attacks.shadows import ShadowDraw
from safecompress.auditing.shadow_training import shadow_split
from safecompress.config.prepared import prepare_data
from safecompress.data import digits, location30
from safecompress.seeding import derive_seed
from safecompress.studies.methods import METHODS, MethodInputs, MethodShadowTrainer

NAMES = ("rigl", "random_small_drop", "leak_drop")
PAIRS = (("leak_drop", "random_small_drop"), ("leak_drop", "rigl"), ("random_small_drop", "rigl"))
FIGURES = {
    "accuracy": "on test rows",
    "LiRA AUC": "on rows outside the fitting pools, by the other models as shadows, on rows in equally many of them",
    "LiRA AUC, all rows": "the same with the rows of the fitting pools among them, which flatters what reads them",
    "LiRA TPR@1%": "as LiRA AUC, at a false positive rate of 1 %",
    "loss AUC": "on rows outside the fitting pools",
    "loss AUC, fit": "on the fitting pools, which the score reads",
    "fit non-members, loss": "AUC of nonmember_fit against other non-members by loss; .5: not detectable",
    "fit non-members, LiRA": "the same by LiRA's score",
    "fit members, loss": "AUC of member_fit against other members by loss",
}


def figures(one: Attacked, fit: dict[str, np.ndarray], accuracy: float) -> dict[str, float]:
    """The figures of one model; ``fit`` are the row numbers of its fitting pools."""
    is_member, lira, loss = one.is_member, one.by_label(), one.loss()
    is_in = {part: np.isin(np.arange(len(is_member)), rows) for part, rows in fit.items()}
    is_fit = is_in["member_fit"] | is_in["nonmember_fit"]
    outside, members, others, fair = ~is_fit, is_member, ~is_member, one.is_fair
    return {
        "accuracy": accuracy,
        "LiRA AUC": auc_of(lira[outside & fair], is_member[outside & fair]),
        "LiRA AUC, all rows": auc_of(lira[fair], is_member[fair]),
        "LiRA TPR@1%": tpr_of(lira[outside & fair], is_member[outside & fair]),
        "loss AUC": auc_of(loss[outside], is_member[outside]),
        "loss AUC, fit": auc_of(loss[is_fit], is_member[is_fit]),
        "fit non-members, loss": auc_of(loss[others], is_in["nonmember_fit"][others]),
        "fit non-members, LiRA": auc_of(lira[others], is_in["nonmember_fit"][others]),
        "fit members, loss": auc_of(loss[members], is_in["member_fit"][members]),
    }


def measure(data: Any, hidden: tuple[int, ...], batch: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each method, world and model."""
    model = sc.ModelSpec("mlp", {"hidden": hidden}, data.input_shape, data.num_classes)
    recipe = sc.Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=batch)
    rows = []
    for seed in range(arguments.worlds):
        prepared = prepare_data(data, {}, "none", seed)
        world = World.of(prepared, seed, arguments.models)
        inputs = MethodInputs(prepared.split, prepared.task, model, recipe, arguments.density, seed)
        for name in NAMES:
            trainer = MethodShadowTrainer(METHODS.make(name), inputs, model)
            signals, accuracy_M = world.train(trainer, arguments.work / f"{arguments.data}-{seed}-{name}")
            for number in range(arguments.models):
                draw = ShadowDraw(number, np.flatnonzero(world.is_in_MP[number]))
                own_seed = derive_seed(world.pool.seed, "shadow", number)
                indices = shadow_split(prepared.split, prepared.task, world.pool, draw, own_seed).indices
                fit = {part: indices[part] for part in ("member_fit", "nonmember_fit")}
                one = Attacked(signals, world.is_in_MP, number)
                rows.append({"method": name, "world": seed, "model": number, **figures(one, fit, accuracy_M[number])})
    return rows


def page(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Means and paired differences."""
    by = {(r["method"], r["world"], r["model"]): r for r in rows}
    keys = sorted({(r["world"], r["model"]) for r in rows})
    means = [[f, *(with_interval([by[name, *key][f] for key in keys]) for name in NAMES)] for f in FIGURES]
    paired = [
        [f, *(with_interval([by[a, *key][f] - by[b, *key][f] for key in keys], signed=True) for a, b in PAIRS)]
        for f in FIGURES
    ]
    legend = "\n".join(f"- *{name}*: {meaning}" for name, meaning in FIGURES.items())
    return "\n\n".join([
        f"# Leak-scored drop on {arguments.data}, density {arguments.density:g}",
        f"{arguments.worlds} draws of the data, {arguments.models} models of each method in each, every one a target "
        f"with the other {arguments.models - 1} as shadows. Mean and 95 % t interval over {len(keys)} models; models "
        "of one draw share a pool, so the intervals are somewhat too narrow.",
        legend,
        table(["figure", *NAMES], means),
        "## Paired: the same rows and the same seed",
        table(["figure", *(f"{a} - {b}" for a, b in PAIRS)], paired),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["location30", "digits"])
    parser.add_argument("--root", type=Path, help="folder of location30.npz")
    parser.add_argument("--worlds", type=int, default=2)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/leak-drop"), help="where models are kept")
    arguments = parser.parse_args()
    is_digits = arguments.data == "digits"
    hidden, batch = ((256, 128), 32) if is_digits else ((512, 256, 128), 128)
    data = digits() if is_digits else location30(arguments.root)
    rows = measure(data, hidden, batch, arguments)
    command = f"python benchmarks/leak_drop.py {arguments.data}" + " --root DIR" * bool(arguments.root)
    command += f" --worlds {arguments.worlds} --models {arguments.models}"
    save(f"leak-drop-{arguments.data}", command, rows, page(rows, arguments))


if __name__ == "__main__":
    main()
