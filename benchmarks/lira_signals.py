"""What LiRA reads: the label's scaled logit, all log-probabilities, or both joined; plain and soft-label training.

python benchmarks/lira_signals.py --root DIR     # DIR holds location30.npz
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import save, table
from worlds import Attacked, World, auc_of, tpr_of, with_interval

import safecompress as sc
from safecompress.attacks.membership.likelihood import sum_of_standard_scores
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer
from safecompress.config.prepared import prepare_data
from safecompress.data import location30
from safecompress.training import OBJECTIVES

TRAININGS = (
    "cross_entropy",
    "label_smoothing",
    "confidence_penalty",
    "relax_loss",
    "high_entropy_labels",
    "distillation",
    "split_distillation",
)
SCORES = {
    "label": 'LiRA on the scaled logit (`signal = "label"`)',
    "classes": "LiRA on all log-probabilities alone, the mean over classes of their log likelihood ratios",
    "standard": 'label and classes, each in units of its spread over the rows, added up (`signal = "all"`)',
    "ratios": "the sum of the log likelihood ratios: label plus the sum over classes",
    "mean ratio": "label plus the mean over classes",
}


def scores_of(one: Attacked, num_classes: int) -> dict[str, np.ndarray]:
    """Each score (P,)."""
    label, classes = one.by_label(), one.by_class()
    return {
        "label": label,
        "classes": classes,
        "standard": sum_of_standard_scores(label, classes),
        "ratios": label + num_classes * classes,
        "mean ratio": label + classes,
    }


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each training, world and model."""
    data, rows = location30(arguments.root), []
    model = sc.ModelSpec("mlp", {"hidden": (arguments.width,)}, data.input_shape, data.num_classes)
    plain = sc.Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=128)
    for seed in range(arguments.worlds):
        prepared = prepare_data(data, {}, "none", seed)
        world = World.of(prepared, seed, arguments.shadows, arguments.targets)
        for name in TRAININGS:
            recipe = replace(plain, objective=OBJECTIVES.make(name))
            options = {"pattern": None, "dense_recipe": plain if "teacher" in recipe.objective.needs else None}
            trainer = FixedMaskShadowTrainer.of(model.build(), model, prepared.task, recipe, **options)
            signals, accuracy_M = world.train(trainer, arguments.work / f"{name}-{seed}-x")
            for number in range(arguments.shadows, arguments.shadows + arguments.targets):
                one = Attacked(signals, world.is_in_MP, number, arguments.shadows)
                found = scores_of(one, data.num_classes)
                rows.append(
                    {
                        "training": name,
                        "world": seed,
                        "model": number,
                        "accuracy": accuracy_M[number],
                        "auc": {key: auc_of(score, one.is_member) for key, score in found.items()},
                        "tpr": {key: tpr_of(score, one.is_member) for key, score in found.items()},
                    }
                )
    return rows


def page(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Means, and each joined score minus the larger of the two it is made of."""
    groups = [(name, [row for row in rows if row["training"] == name]) for name in TRAININGS]

    def means(metric: str) -> str:
        lines = [
            [name, f"{np.mean([r['accuracy'] for r in own]):.3f}"]
            + [with_interval([r[metric][key] for r in own]) for key in SCORES]
            for name, own in groups
        ]
        return table(["training", "accuracy", *SCORES], lines)

    def gains(metric: str) -> str:
        joined, lines = ("standard", "ratios", "mean ratio"), []
        for name, own in groups:
            figures = [row[metric] for row in own]
            gained = [[f[key] - max(f["label"], f["classes"]) for f in figures] for key in joined]
            judged = [max(f["label"], f["standard"]) - f["label"] for f in figures]
            lines.append([name, *(with_interval(values, signed=True) for values in (*gained, judged))])
        return table(["training", *joined, "larger of label and standard, minus label"], lines)

    legend = "\n".join(f"- *{name}*: {meaning}" for name, meaning in SCORES.items())
    return "\n\n".join([
        "# What LiRA reads, on Location-30",
        f"MLP of {arguments.width} hidden units. Draws of the data: {arguments.worlds}. In each {arguments.shadows} "
        f"shadows and {arguments.targets} targets of each training, drawn apart, as in an audit. Means and 95 % t "
        "intervals over targets; targets of one draw share pool and shadows, so the intervals are somewhat narrow.",
        legend,
        "## AUC", means("auc"),
        "## TPR at a false positive rate of 1 %", means("tpr"),
        "## AUC of a joined score minus the larger of label and classes, model by model", gains("auc"),
        "## TPR at 1 %, likewise", gains("tpr"),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of location30.npz")
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/lira-signals"), help="where models are kept")
    arguments = parser.parse_args()
    rows = measure(arguments)
    command = f"python benchmarks/lira_signals.py --root DIR --worlds {arguments.worlds}"
    command += f" --shadows {arguments.shadows} --targets {arguments.targets}"
    save("lira-signals", command, rows, page(rows, arguments))


if __name__ == "__main__":
    main()
