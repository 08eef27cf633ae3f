"""Distillation: learning from a teacher's probabilities beside, or instead of, the labels."""

# B rows of a batch, C classes; N rows of a task, K sub-models, L of them held out of a row.

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from safecompress.errors import UsageError
from safecompress.ranges import require_within
from safecompress.seeding import derive
from safecompress.training.objectives.base import Batch, Need, Objective, Teachers


@dataclass(frozen=True)
class Distillation(Objective):
    """weight * T^2 * KL(teacher_T || student_T) + (1 - weight) * CE, both softened by the ``temperature`` T.

    The KL is the mean over rows; T^2 keeps its gradient's size when T changes (Hinton et al. 2015, section 2). With
    ``weight`` 1 the labels are not read, so rows without any will do; what the teacher leaked comes along.
    """

    temperature: float = 4.0
    weight: float = 0.9
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        require_within(
            self,
            "temperature",
            least=0.1,
            most=100,
            advice="1 takes the teacher's probabilities as they are; more makes them softer.",
        )
        require_within(
            self, "weight", least=0, most=1, advice="1 learns from the teacher alone, 0 from the labels alone."
        )

    def teacher_logits(self, teachers: Teachers) -> Tensor:
        """The dense model's logits for its own members."""
        return teachers.dense_logits()

    @property
    def teacher_key(self) -> str:
        """The dense model's."""
        return "dense"

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar, at least 0. Raises UsageError for a batch without a teacher's logits."""
        if batch.teacher_BC is None:
            raise UsageError("Distillation: the batch has no teacher's logits. Give its task teacher=... .")
        student_BC = log_softmax(logits_BC / self.temperature, dim=1)
        teacher_BC = log_softmax(batch.teacher_BC.detach().to(logits_BC) / self.temperature, dim=1)
        divergence = kl_div(student_BC, teacher_BC, reduction="batchmean", log_target=True)
        taught = self.weight * self.temperature**2 * divergence
        if self.weight == 1:
            return taught
        return taught + (1 - self.weight) * cross_entropy(logits_BC, batch.labels_B)


@dataclass(frozen=True)
class SplitDistillation(Distillation):
    """Distillation in which every row is taught by sub-models that never saw it (SELENA, Tang et al. 2022).

    Each row is held out of ``held_out`` of ``num_models`` sub-models; its soft label is the mean of their
    probabilities, which say of a member what they would say of anybody. The sub-models train as the dense model does,
    on 1 - held_out / num_models of the rows: with the defaults all of them cost three trainings.

    Differs from the paper: fewer sub-models than the 25, with 10 held out of each row, of the published code; held out
    in equal numbers, not at random for each row; all start from the same fresh weights; no epoch is chosen.
    """

    temperature: float = 1.0
    weight: float = 1.0
    num_models: int = 5
    held_out: int = 2

    def __post_init__(self) -> None:
        Distillation.__post_init__(self)
        if not 1 <= self.held_out < self.num_models:
            raise UsageError(
                f"{type(self).__name__}: held_out must lie in [1, num_models - 1], got held_out={self.held_out!r} of "
                f"num_models={self.num_models!r}: a row that every sub-model has seen, or none, has no fair teacher."
            )

    def teacher_logits(self, teachers: Teachers) -> Tensor:
        """The mean over the sub-models that never saw a row."""
        is_out_KN = self.holders_out(teachers.num_rows, teachers.seed)
        logits_KNC = [teachers.logits_without(is_out_N, f"sub-model {k}") for k, is_out_N in enumerate(is_out_KN)]
        return mean_of_unseen(logits_KNC, is_out_KN)

    @property
    def teacher_key(self) -> str:
        """Sub-models', by number and share held out."""
        return f"split {self.held_out} of {self.num_models}"

    def holders_out(self, num_rows: int, seed: int) -> Tensor:
        """(K, N) bool: which sub-models miss which rows, at random; every L of K equally often, give or take one.

        Where there are more choices of L out of K than rows, as of 10 out of 25, each row has one at random.
        """
        generator = derive(seed, "held out")
        order = generator.permutation(num_rows)
        choices = choices_of(self.num_models, self.held_out, num_rows, generator)
        is_out_KN = np.zeros((self.num_models, num_rows), dtype=np.bool_)
        for place, row in enumerate(order):
            is_out_KN[choices[place % len(choices)], row] = True
        return torch.from_numpy(is_out_KN)


def choices_of(num: int, chosen: int, count: int, generator: np.random.Generator) -> list[list[int]]:
    """All choices of ``chosen`` out of ``num``, in order; where they are more than ``count``, so many random ones."""
    if math.comb(num, chosen) <= count:
        return [list(choice) for choice in itertools.combinations(range(num), chosen)]
    return [generator.choice(num, chosen, replace=False).tolist() for _ in range(count)]


def mean_of_unseen(logits_KNC: Sequence[Tensor], is_out_KN: Tensor) -> Tensor:
    """log of the mean probabilities (N, C) of those sub-models that never saw a row: its soft labels, as logits."""
    log_p_KNC = torch.stack([logits_NC.log_softmax(1) for logits_NC in logits_KNC])
    is_out_KN1 = is_out_KN[..., None]
    return log_p_KNC.masked_fill(~is_out_KN1, -math.inf).logsumexp(0) - is_out_KN1.sum(0).log()
