"""Whether the target knows the rows that it is said to have been trained on: their labels, on their scale.

N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from torch import Tensor

from safecompress.attacks import Signals, Target
from safecompress.certify.health.check import HealthCheck
from safecompress.data import DataSplit
from safecompress.spec import Verdict
from safecompress.training import predict_logits

Floats = NDArray[np.float64]
Int64Array = NDArray[np.int64]

ROWS = 1000
"""Most train rows that are asked about."""

CERTAIN = 4.0
"""Standard errors beyond which other class numbers, or another scale, explain the answers better."""

MUCH = 0.1
"""How much more often the target must be right on another scale."""

ENOUGH = 0.9
"""Accuracy on members from which nobody asks whether their scale is right."""

_REACH = -float(ndtri(0.01))

NAME, SUBJECT = "knows_members", "target"


def knows_members(logits_NC: Floats, labels_N: Int64Array) -> HealthCheck:
    """Whether answers to members say more of their labels than chance; ``value`` is the accuracy.

    Chance is the accuracy of the same answers given to rows at random, so that rare classes count. ERROR where the
    classes are numbered in another order: where one-to-one renaming makes right half of the rows of the classes that it
    renames, beyond chance. INCONCLUSIVE where neither the answers nor the scores of the labels are better than
    chance (one-sided, at 0.01).
    """
    answers_N = logits_NC.argmax(axis=1)
    right_N = answers_N == labels_N
    value = float(right_N.mean())
    seen = f"it is right on {value:.1%} of {len(labels_N)} rows that it was trained on"
    if renamed := _other_order(answers_N, labels_N, logits_NC.shape[1]):
        return HealthCheck(
            NAME,
            SUBJECT,
            Verdict.ERROR,
            value,
            f"{seen}, and numbers its classes in another order: rows of class {renamed}. No figure here speaks of the "
            "model. Give labels as the model numbers its classes (class_names in the order of its outputs).",
        )
    if _beats_chance(answers_N, labels_N) or _prefers_labels(logits_NC, labels_N):
        return HealthCheck(NAME, SUBJECT, Verdict.PASS, value, f"{seen}: better than chance.")
    return HealthCheck(
        NAME,
        SUBJECT,
        Verdict.INCONCLUSIVE,
        value,
        f"{seen}, which is no better than chance: these are not its rows, its classes or its scale, or it has learned "
        "nothing that could leak. Give the rows as it was trained on them: scaled alike, with its class numbers.",
    )


def _other_order(answers_N: Int64Array, labels_N: Int64Array, num_classes: int) -> str | None:
    """The classes that stand in each other's places, in words; None where they do not."""
    confusion_CC = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion_CC, (labels_N, answers_N), 1)
    _, best_C = linear_sum_assignment(confusion_CC, maximize=True)
    classes = np.arange(num_classes)
    moved = classes[(best_C != classes) & (confusion_CC[classes, best_C] > confusion_CC[classes, classes])]
    if not len(moved):
        return None
    won, lost = int(confusion_CC[moved, best_C[moved]].sum()), int(confusion_CC[moved, moved].sum())
    rows = int(confusion_CC[moved].sum())
    if won - lost < max(rows / 2, CERTAIN * (won + lost) ** 0.5):  # untrained networks reach a third
        return None
    named = [f"{given} are answered as {best_C[given]}" for given in moved[:3]]
    return ", of class ".join(named) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")


def _beats_chance(answers_N: Int64Array, labels_N: Int64Array) -> bool:
    count = max(int(answers_N.max()), int(labels_N.max())) + 1
    given, true = (np.bincount(which, minlength=count) / len(labels_N) for which in (answers_N, labels_N))
    chance = float(given @ true)
    reach = _REACH * (chance * (1 - chance) / len(labels_N)) ** 0.5
    return bool((answers_N == labels_N).mean() > chance + reach)


def _prefers_labels(logits_NC: Floats, labels_N: Int64Array) -> bool:
    """Whether rows give their own label a higher score than another row's label, as models that say one class do."""
    log_probs_NC = Signals(logits_NC, labels_N).log_probs_NC.clip(min=-100)
    shares_C = np.bincount(labels_N, minlength=logits_NC.shape[1]) / len(labels_N)
    own_NC = log_probs_NC - log_probs_NC.mean(axis=0)  # that a class is likely for all rows says nothing of one
    lead_N = own_NC[np.arange(len(labels_N)), labels_N] - own_NC @ shares_C
    spread = float(lead_N.std(ddof=1)) if len(lead_N) > 1 else 0.0
    return spread > 0 and float(lead_N.mean()) > _REACH * spread / len(lead_N) ** 0.5


@dataclass(frozen=True, eq=False)
class _Scale:
    """Another way to prepare rows that somebody may have forgotten."""

    words: str
    apply: Callable[[Tensor], Tensor]


def compare_scales(
    ask: Callable[[Tensor], Tensor], samples: Tensor, labels_N: Int64Array, accuracy: float
) -> str | None:
    """The scale on which the target knows far more of the rows, in words; None where the given one is the best.

    ``ask`` gives logits (N, C) of rows.
    """
    mean, spread = samples.mean(dim=0), samples.std(dim=0, correction=0)
    scales = (
        _Scale("divided by 255", lambda samples: samples / 255),
        _Scale("multiplied by 255", lambda samples: samples * 255),
        _Scale("standardised, column by column", lambda samples: (samples - mean) / torch.where(spread > 0, spread, 1)),
    )
    found = [float((ask(scale.apply(samples)).argmax(dim=1).numpy() == labels_N).mean()) for scale in scales]
    best = int(np.argmax(found))
    if found[best] <= accuracy + max(MUCH, CERTAIN * (0.25 / len(labels_N)) ** 0.5):
        return None
    return f"right on {found[best]:.1%} of them when they are {scales[best].words}"


def ask_members(target: Target, split: DataSplit) -> HealthCheck:
    """The check `knows_members` of the target on its train rows, and whether it knows them better on another scale."""
    rows, labels = split.part("train", ROWS)
    labels_N = labels.numpy().astype(np.int64)

    def ask(samples: Tensor) -> Tensor:
        return predict_logits(target.model, samples)

    check = knows_members(ask(rows).double().numpy(), labels_N)
    value = check.value or 0.0
    if check.outcome is Verdict.ERROR or value >= ENOUGH or not rows.is_floating_point():
        return check
    better = compare_scales(ask, rows, labels_N, value)
    if better is None:
        return check
    detail = (
        f"it is right on {value:.1%} of its members as they are given, and {better}: these rows are on another scale "
        "than those that it was trained on. Give them as the model reads them."
    )
    return HealthCheck(NAME, SUBJECT, Verdict.ERROR, value, detail)
