"""Split distillation: each member row is taught by sub-models that never saw it."""

# N member rows, K sub-models, L of them held out of a row, C classes.

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.baselines.method import Made, Method
from safecompress.baselines.pruning import require_counts
from safecompress.baselines.setting import Setting
from safecompress.errors import UsageError
from safecompress.seeding import derive, derive_seed
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern, rescale_
from safecompress.training import Course
from safecompress.training.distill import Distillation


@dataclass(frozen=True)
class SplitDistilled(Method):
    """Sub-models that each miss some rows, and a student who learns of every member row what those say that missed it.

    Every row is held out of ``held_out`` of ``num_models`` sub-models (`holders_out`); the student's soft label is the
    mean of their probabilities. The student is dense; with ``sparse`` it trains in a static ERK pattern at the density.
    Each sub-model trains as many epochs as the dense model does, on its (1 - held_out / num_models) of the rows: with
    the defaults all of them take about three trainings.
    """

    num_models: int = 5
    held_out: int = 2
    sparse: bool = False

    source: ClassVar[str] = (
        "Tang et al. 2022, USENIX Security (SELENA); soft labels and student as in its published code. Differs: fewer "
        "sub-models than the 25 of that code, of which it holds each row out of 10; held out in equal numbers, not by "
        "lot for each row; no epoch is chosen. Unconfirmed: the paper's own settings."
    )

    def __post_init__(self) -> None:
        require_counts(self, ["num_models", "held_out"])
        if self.held_out >= self.num_models:
            raise UsageError(
                f"SplitDistilled: held_out must be below num_models, got {self.held_out} of {self.num_models}: a row "
                "that no sub-model sees teaches nothing."
            )

    def make(self, setting: Setting) -> Made:
        """The student, dense unless ``sparse``."""
        is_out_KN = self.holders_out(setting.split.size("train"), setting.seed)
        said = [self._said(setting, number, is_out_N) for number, is_out_N in enumerate(is_out_KN)]
        teacher_NC = mean_of_unseen(said, is_out_KN)
        recipe = replace(setting.recipe, objective=Distillation(temperature=1.0, weight=1.0))
        student = setting.fresh("student")
        pattern = _static(setting, student) if self.sparse else None
        weights = setting.workshop.train(student, setting.course(recipe, teacher=teacher_NC), pattern=pattern)
        return Made(setting.model, weights, pattern)

    def is_dense(self) -> bool:
        """Unless a sparse student was asked for."""
        return not self.sparse

    def holders_out(self, num_rows: int, seed: int) -> NDArray[np.bool_]:
        """(K, N) which sub-models never see which rows: every L of K equally often, give or take one, dealt by lot."""
        choices = list(itertools.combinations(range(self.num_models), self.held_out))
        is_out_KN = np.zeros((self.num_models, num_rows), dtype=np.bool_)
        for place, row in enumerate(derive(seed, "held out").permutation(num_rows)):
            is_out_KN[list(choices[place % len(choices)]), row] = True
        return is_out_KN

    def _said(self, setting: Setting, number: int, is_out_N: NDArray[np.bool_]) -> Tensor:
        """What sub-model ``number`` says of all member rows, (N, C) logits."""
        features, labels = setting.split.part("train")
        seen = torch.from_numpy(np.flatnonzero(~is_out_N))
        course = Course(features[seen], labels[seen], setting.recipe, derive_seed(setting.seed, "sub-model", number))
        weights = setting.workshop.train(setting.fresh("sub-model", str(number)), course)
        return setting.logits(weights, features)


def mean_of_unseen(said_KNC: Sequence[Tensor], is_out_KN: NDArray[np.bool_]) -> Tensor:
    """log of the mean probabilities (N, C) of those sub-models that never saw a row: its soft labels, as logits."""
    log_p_KNC = torch.stack([logits_NC.log_softmax(1) for logits_NC in said_KNC])
    is_out_KN1 = torch.from_numpy(is_out_KN)[..., None]
    counts_N1 = is_out_KN1.sum(0)
    return log_p_KNC.masked_fill(~is_out_KN1, -math.inf).logsumexp(0) - counts_N1.log()


def _static(setting: Setting, student: nn.Module) -> SparsityPattern:
    """An ERK pattern at the setting's density by lot, for whose active weights ``student`` is rescaled."""
    pattern = initial_pattern(
        find_maskable(student), setting.density, allocation=AllocateErk(), start=Start.SCRATCH, seed=setting.seed
    )
    rescale_(student, pattern)
    return pattern
