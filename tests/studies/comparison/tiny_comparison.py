"""A comparison that takes parts of a second, and methods that cost nothing or fail."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from safecompress.attacks.membership.threshold import Gap, Loss
from safecompress.data import Dataset
from safecompress.errors import TrainingError
from safecompress.models import ModelSpec
from safecompress.sparsity import SparsityPattern
from safecompress.studies.comparison import Cell, CellResult, Comparison, ComparisonInputs, MethodEntry
from safecompress.studies.comparison.result import ComparisonResult
from safecompress.studies.methods import Method, MethodResult
from safecompress.training import Recipe

SIZES = {
    "train": 90, "member_fit": 30, "member_select": 30, "member_verdict": 30, "validation": 20, "test": 40,
    "nonmember_fit": 30, "nonmember_select": 30, "nonmember_verdict": 30, "population": 30,
}  # fmt: skip
"""Train is half of what shadows are drawn from, so that four of them have every row twice."""


@dataclass(frozen=True)
class Fresh(Method):
    """The untrained network."""

    source: ClassVar[str] = "nobody"
    epsilon: float | None = None
    dense: bool = False
    notes: tuple[str, ...] = ()

    def make(self, setting):
        return MethodResult(setting.model, setting.fresh().state_dict(), epsilon=self.epsilon, notes=self.notes)

    def is_dense(self):
        return self.dense


@dataclass(frozen=True)
class Halved(Method):
    """The untrained network with every other weight of its first layer."""

    source: ClassVar[str] = "nobody"
    uses: ClassVar[frozenset] = frozenset({"reference rows"})

    def make(self, setting):
        model = setting.fresh()
        mask = torch.arange(model.body[0].weight.numel()).reshape(model.body[0].weight.shape) % 2 == 0
        pattern = SparsityPattern({"body.0.weight": mask})
        pattern.apply_(model)
        return MethodResult(setting.model, model.state_dict(), pattern)


@dataclass(frozen=True)
class Broken(Method):
    """Fails: with an error of the product's, with somebody's bug, or with weights that are not finite."""

    source: ClassVar[str] = "nobody"
    how: str = "error"

    def make(self, setting):
        if self.how == "error":
            raise TrainingError("It diverged. Lower the rate.")
        if self.how == "bug":
            raise ZeroDivisionError("somebody's bug")
        weights = setting.fresh().state_dict()
        return MethodResult(setting.model, {name: tensor * float("nan") for name, tensor in weights.items()})


def noise(num_rows=300, seed=0):
    random = np.random.default_rng(seed)
    return Dataset.from_arrays(random.normal(size=(num_rows, 6)).astype(np.float32), np.arange(num_rows) % 3)


def tiny_study(methods, *, data=None, sizes=SIZES, recipe=None, normalise="none", **comparison):
    options = {"densities": (0.5,), "seeds": (0, 1), "attacks": (Gap(), Loss()), **comparison}
    entries = [one if isinstance(one, MethodEntry | str) else MethodEntry(type(one).__name__, one) for one in methods]
    return ComparisonInputs(
        Comparison(entries, **options),
        data or noise(),
        ModelSpec("mlp", {"hidden": (8,)}, (6,), 3),
        recipe or Recipe(epochs=2, optimizer="adam", learning_rate=0.01, batch_size=32),
        sizes,
        normalise,
    )


def figure(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half, "confidence": 0.95, "num_samples": 40}


def made_up(label, density, seed, accuracy, auc, *, num_bytes=1000, **given):
    """A result with these figures; its TM-score is accuracy over AUC."""
    figures = {"accuracy": figure(accuracy), "loss.auc": figure(auc), "loss.tpr@fpr=0.01": figure(auc / 10)}
    options = {"attacks": ("loss",), "tm_score": accuracy / max(0.5, auc), "num_bytes": num_bytes, "num_kept": 10}
    return CellResult(Cell(label, density, seed), f"{label}()", **{"figures": figures, **options, **given})


def compared_of(study, results):
    split = {"name": "noise", "parts": {part: {"rows": count} for part, count in SIZES.items()}}
    return ComparisonResult(study, tuple(results), name="made up", environment={"python": "3"}, split=split)
