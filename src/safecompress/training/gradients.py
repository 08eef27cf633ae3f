"""The gradient of one batch: whole or in parts, in the recipe's precision, joined over ranks."""

# B rows of a batch, C classes.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from safecompress.errors import UsageError
from safecompress.seeding import reseed
from safecompress.training.amp import Amp
from safecompress.training.objectives.base import Batch, Opponent
from safecompress.training.ranks import current_ranks
from safecompress.training.task import Course, Loader
from safecompress.training.trace import LossTrace


class Descent:
    """Computes gradients of ``course``'s batches for the parameters of ``model``, in their ``grad``.

    A batch is cut into as many parts as ranks times micro-batches; each part's loss counts by its share of the rows, so
    that the sum is the whole batch's loss. What sees more than one row at once sees those of a part: batch norm. Ranks
    keep the average of its running statistics. Raises UsageError for batches that are too small for so many parts, and
    for objectives whose loss is no mean over rows.
    """

    def __init__(
        self,
        model: nn.Module,
        course: Course,
        amp: Amp,
        *,
        opponent: Opponent | None = None,
        trace: LossTrace | None = None,
    ) -> None:
        self._course, self._amp = course, amp
        self._opponent, self._trace = opponent, trace
        self._parameters = list(model.parameters())
        self._device = self._parameters[0].device
        self._loader = Loader(course, self._device)
        self._ranks = current_ranks()
        self._num_parts = self._ranks.count * course.recipe.micro_batches
        self._forward: nn.Module = torch.compile(model) if course.recipe.compiled else model  # type: ignore[assignment]
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        self._statistics = [b for norm in norms for b in norm.buffers(recurse=False) if b.is_floating_point()]
        self._check()

    def __call__(self, step: int) -> Tensor:
        """The loss, a scalar, of the batch at ``step``; the parameters' ``grad`` becomes its gradient."""
        course = self._course
        reseed(course.seed, "step", step, device=self._device)
        batch, rows = course.recipe.objective.mix(self._loader.at(step)), self._loader.rows(step)
        if self._ranks.rank:
            reseed(course.seed, "step", step, "rank", self._ranks.rank, device=self._device)
        for parameter in self._parameters:
            parameter.grad = None
        losses = [self._descend(part, rows_B, share) for part, rows_B, share in self._parts(batch, rows)]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if self._ranks.count > 1:
            self._join(loss)
        return loss

    def _descend(self, batch: Batch, rows: Tensor, share: float) -> Tensor:
        logits_BC = self._amp.forward(self._forward, batch.features)
        loss = self._course.recipe.objective(logits_BC, batch)
        if self._opponent is not None:
            loss = loss + self._opponent.penalty(logits_BC, batch)
        if self._trace is not None:
            self._trace.record(batch.epoch, rows, logits_BC, batch.labels_B)
        if share != 1:
            loss = loss * share
        self._amp.backward(loss)
        return loss.detach()

    def _parts(self, batch: Batch, rows: Tensor) -> Iterator[tuple[Batch, Tensor, float]]:
        """This rank's parts of the batch, their rows and their shares of the batch; parts differ by at most one row."""
        if self._num_parts == 1:
            yield batch, rows, 1.0
            return
        per_rank, size = self._course.recipe.micro_batches, len(batch.labels_B)
        first = self._ranks.rank * per_rank
        for number in range(first, first + per_rank):
            cut = slice(number * size // self._num_parts, (number + 1) * size // self._num_parts)
            yield _cut(batch, cut), rows[cut], (cut.stop - cut.start) / size

    @torch.no_grad()
    def _join(self, loss: Tensor) -> None:
        """Sum losses and gradients over ranks, and average statistics, in one message."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if self._statistics:
            torch._foreach_div_(self._statistics, self._ranks.count)
        self._ranks.join_([loss, *gradients, *self._statistics])

    def _check(self) -> None:
        course, count = self._course, self._num_parts
        smallest = len(course.labels) // course.recipe.steps_per_epoch(len(course.labels))
        if count > smallest:
            raise UsageError(
                f"Batches of {smallest} rows cannot be cut into {count} parts ({self._ranks.count} ranks times "
                f"{course.recipe.micro_batches} micro-batches). Use a larger batch_size, or fewer parts."
            )
        if count > 1 and not getattr(course.recipe.objective, "is_mean", True):
            raise UsageError(
                f"The loss of {course.recipe.objective!r} is no mean over rows, so it cannot be computed from parts of "
                "a batch. Train it in one piece (micro_batches = 1, one process), or take another objective."
            )
        if self._trace is not None and self._ranks.count > 1:
            raise UsageError(
                "A LossTrace needs the losses of all rows, and each rank computes its share. Leave it out."
            )


def _cut(batch: Batch, rows: slice) -> Batch:
    """The batch's ``rows``."""
    return replace(
        batch,
        features=batch.features[rows],
        labels_B=batch.labels_B[rows],
        teacher_BC=None if batch.teacher_BC is None else batch.teacher_BC[rows],
        partner_B=None if batch.partner_B is None else batch.partner_B[rows],
    )
