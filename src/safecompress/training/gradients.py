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
from safecompress.training.objectives.base import Adversary, Batch
from safecompress.training.ranks import current_ranks
from safecompress.training.task import Loader, TrainingTask
from safecompress.training.trace import LossTrace


class GradientComputer:
    """Computes gradients of ``task``'s batches for the parameters of ``model``, in their ``grad``.

    A batch is cut into as many parts as ranks times micro-batches; each part's loss counts by its share of the rows, so
    that the sum is the whole batch's loss. What sees more than one row at once sees those of a part: batch norm. Ranks
    keep the average of its running statistics. Raises UsageError for batches that are too small for so many parts, and
    for objectives whose loss is not a mean over rows.
    """

    def __init__(
        self,
        model: nn.Module,
        task: TrainingTask,
        amp: Amp,
        *,
        adversary: Adversary | None = None,
        trace: LossTrace | None = None,
    ) -> None:
        self._task, self._amp = task, amp
        self._adversary, self._trace = adversary, trace
        self._parameters = list(model.parameters())
        self._device = self._parameters[0].device
        self._loader = Loader(task, self._device)
        self._ranks = current_ranks()
        self._num_parts = self._ranks.count * task.recipe.micro_batches
        self._forward: nn.Module = torch.compile(model) if task.recipe.compiled else model  # type: ignore[assignment]
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        self._statistics = [b for norm in norms for b in norm.buffers(recurse=False) if b.is_floating_point()]
        self._check()

    def __call__(self, step: int) -> Tensor:
        """The loss, a scalar, of the batch at ``step``; the parameters' ``grad`` becomes its gradient."""
        task = self._task
        reseed(task.seed, "step", step, device=self._device)
        batch, rows = task.recipe.objective.mix(self._loader.at(step)), self._loader.rows(step)
        if self._ranks.rank:
            reseed(task.seed, "step", step, "rank", self._ranks.rank, device=self._device)
        for parameter in self._parameters:
            parameter.grad = None
        losses = [self._backward(part, rows_B, share) for part, rows_B, share in self._parts(batch, rows)]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if self._ranks.count > 1:
            self._join(loss)
        return loss

    def _backward(self, batch: Batch, row_indices: Tensor, share: float) -> Tensor:
        logits_BC = self._amp.forward(self._forward, batch.features)
        loss = self._task.recipe.objective(logits_BC, batch)
        if self._adversary is not None:
            loss = loss + self._adversary.penalty(logits_BC, batch)
        if self._trace is not None:
            self._trace.record(batch.epoch, row_indices, logits_BC, batch.labels_B)
        if share != 1:
            loss = loss * share
        self._amp.backward(loss)
        return loss.detach()

    def _parts(self, batch: Batch, row_indices: Tensor) -> Iterator[tuple[Batch, Tensor, float]]:
        """This rank's parts of the batch, their rows and their shares of the batch; parts differ by at most one row."""
        if self._num_parts == 1:
            yield batch, row_indices, 1.0
            return
        per_rank, size = self._task.recipe.micro_batches, len(batch.labels_B)
        first = self._ranks.rank * per_rank
        for number in range(first, first + per_rank):
            cut = slice(number * size // self._num_parts, (number + 1) * size // self._num_parts)
            yield _cut(batch, cut), row_indices[cut], (cut.stop - cut.start) / size

    @torch.no_grad()
    def _join(self, loss: Tensor) -> None:
        """Sum losses and gradients over ranks, and average statistics, in one message."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if self._statistics:
            torch._foreach_div_(self._statistics, self._ranks.count)
        self._ranks.join_([loss, *gradients, *self._statistics])

    def _check(self) -> None:
        task, count = self._task, self._num_parts
        smallest = len(task.labels) // task.recipe.steps_per_epoch(len(task.labels))
        if count > smallest:
            raise UsageError(
                f"Batches of {smallest} rows cannot be cut into {count} parts ({self._ranks.count} ranks times "
                f"{task.recipe.micro_batches} micro-batches). Use a larger batch_size, or fewer parts."
            )
        if count > 1 and not getattr(task.recipe.objective, "is_mean", True):
            raise UsageError(
                f"The loss of {task.recipe.objective!r} is no mean over rows, so it cannot be computed from parts of "
                "a batch. Train it in one piece (micro_batches = 1, one process), or take another objective."
            )
        if self._trace is not None and self._ranks.count > 1:
            raise UsageError(
                "A LossTrace needs the losses of all rows, and each rank computes its share. Leave it out."
            )


def _cut(batch: Batch, part: slice) -> Batch:
    """The batch's ``part``."""
    return replace(
        batch,
        features=batch.features[part],
        labels_B=batch.labels_B[part],
        teacher_BC=None if batch.teacher_BC is None else batch.teacher_BC[part],
        partner_B=None if batch.partner_B is None else batch.partner_B[part],
    )
