"""Cross-fitting: small sparse sub-models that each miss some rows teach the model that ships."""

# B rows of a batch, C classes; N rows of a task, K sub-models (folds), L of them held out of a row.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from safecompress.errors import DataError, UsageError
from safecompress.ranges import require_within
from safecompress.seeding import derive
from safecompress.sparsity import parse_rules
from safecompress.training.objectives.base import Batch, Need, Objective, Teachers
from safecompress.training.objectives.distill import choices_of, mean_of_unseen


@dataclass(frozen=True)
class CrossFit(Objective):
    """Cross entropy against ``share`` * q + (1 - ``share``) * label; q is what sub-models say that never saw the row.

    K = ``folds`` sparse sub-models are trained by the recipe at the density of the model that they teach, each row held
    out of ``held_out`` of them; q is the mean of those sub-models' probabilities. They say of a member what they would
    say of anybody, so with ``share`` 1 the student learns nothing of a row that only this row could tell it; a smaller
    share gives some accuracy back for some leak. Rows of one unit (a group) are held out together, and those of a class
    in equal numbers. ``rewiring`` is the drop and the grow rule of the sub-models, and ``epochs`` the length of their
    training (None: the recipe's); ``density`` is that of each sub-model (None: that of the model that they teach).

    Source: split distillation of SELENA (Tang et al. 2022), which this extends. Differs from the paper: teachers are
    sparse, fewer (25 with 10 held out there) and fold by fold stratified; labels keep 1 - ``share`` of the target.
    """

    share: float = 1.0
    folds: int = 5
    held_out: int = 2
    rewiring: str = "set+random"
    epochs: int | None = None
    density: float | None = None
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "folds"})

    def __post_init__(self) -> None:
        require_within(
            self, "share", least=0, most=1, advice="1 learns from the sub-models alone, 0 from the labels alone."
        )
        if not 1 <= self.held_out < self.folds:
            raise UsageError(
                f"{type(self).__name__}: held_out must lie in [1, folds - 1], got held_out={self.held_out!r} of "
                f"folds={self.folds!r}: a row that every sub-model has seen, or none, has no fair teacher."
            )
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"{type(self).__name__}: epochs must be at least 1, got {self.epochs!r}.")
        if self.density is not None and not 0 < self.density <= 1:
            raise UsageError(f"{type(self).__name__}: density must lie in (0, 1], got {self.density!r}.")
        parse_rules(self.rewiring)

    def teacher_logits(self, teachers: Teachers) -> Tensor:
        """The log of the mean probabilities (N, C) of the sub-models that never saw a row."""
        is_out_KN = hold_out(teachers.labels, teachers.units, self.folds, self.held_out, teachers.seed)
        logits_KNC = teachers.sub_model_logits(is_out_KN, self)
        return mean_of_unseen(logits_KNC, is_out_KN)

    @property
    def teacher_key(self) -> str:
        """Sub-models', by everything but the share: objectives of several shares have the same teachers."""
        own = [] if self.density is None else [f"density {self.density:g}"]
        own += [] if self.epochs is None else [f"{self.epochs} epochs"]
        return ", ".join([f"folds {self.held_out} of {self.folds} by {self.rewiring}", *own])

    def check_rows(self, labels: Tensor, units: NDArray[np.int64] | None) -> None:
        """Raise DataError when a class has fewer units than there are sub-models: some would hardly know it."""
        classes, counts = _units_by_class(labels, units)
        if counts.size and counts.min() < self.folds:
            few = classes[counts.argmin()]
            raise DataError(
                f"Class {few} has {counts.min()} rows to learn from (those of one group count once), and {self.folds} "
                f"sub-models that each miss some of them need at least {self.folds}. Give train more rows, take fewer "
                "folds, or leave small classes out."
            )

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0. Raises UsageError for a batch without a teacher's logits."""
        taught = cross_entropy(logits_BC, taught_by(batch, logits_BC))
        if self.share == 1:
            return taught
        return self.share * taught + (1 - self.share) * cross_entropy(logits_BC, batch.labels_B)


def taught_by(batch: Batch, logits_BC: Tensor) -> Tensor:
    """What the sub-models say of the rows, as probabilities (B, C) of the kind of ``logits_BC``.

    Raises UsageError for a batch without a teacher's logits.
    """
    if batch.teacher_BC is None:
        raise UsageError("CrossFit: the batch has no sub-models' logits. Give its task teacher=... .")
    return batch.teacher_BC.detach().to(logits_BC).softmax(1)


def hold_out(labels_N: Tensor, units_N: NDArray[np.int64] | None, folds: int, held_out: int, seed: int) -> Tensor:
    """(K, N) bool: which of K = ``folds`` sub-models miss which rows; each row is missed by ``held_out`` of them.

    Units are dealt class by class to all choices of L out of K, so that every sub-model misses equally much of each
    class, give or take. Rows of one unit are missed together.
    """
    labels = labels_N.numpy()
    units = np.arange(len(labels)) if units_N is None else units_N
    _, first, of_row = np.unique(units, return_index=True, return_inverse=True)
    generator = derive(seed, "folds")
    order = generator.permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]  # class by class, at random within each
    choices = choices_of(folds, held_out, len(first), generator)
    generator.shuffle(choices)
    is_out_KU = np.zeros((folds, len(first)), dtype=np.bool_)
    for place, unit in enumerate(order):
        is_out_KU[choices[place % len(choices)], unit] = True
    return torch.from_numpy(is_out_KU[:, of_row])


def _units_by_class(labels_N: Tensor, units_N: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes that occur, and the number of units with a row of each."""
    labels = labels_N.numpy().astype(np.int64)
    units = np.arange(len(labels)) if units_N is None else units_N
    pairs = np.unique(np.stack([labels, units]), axis=1)
    classes, counts = np.unique(pairs[0], return_counts=True)
    return classes, counts.astype(np.int64)
