"""Trains one model of a job that chooses nothing: an arm, a repeat of one, or a shadow model of either."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from safecompress.compression.job import Job
from safecompress.training import Watch
from safecompress.training.dynamic import SparseState, begin_sparse, train_sparse
from safecompress.training.teachers import TensorStore


def train_unattended(
    job: Job,
    teacher: Tensor | None = None,
    *,
    store: TensorStore | None = None,
    begin: SparseState | None = None,
    keep: Callable[[SparseState], None] = lambda state: None,
    watch: Watch | None = None,
) -> SparseState:
    """The model of ``job`` (whose plan is unattended) trained to the end; ``job.model`` has its first weights.

    ``teacher`` are the logits of its teacher for the train rows; where they are not given they are made, by sub-models
    that ``store`` keeps. ``begin``, ``keep`` and ``watch`` are those of `train_sparse`.
    """
    if teacher is None:
        teacher = job.teacher({}, store=store)
    model, task, sparsity = job.scratch(), job.sparse_task(teacher), job.plan.sparsity()
    begin = begin or begin_sparse(model, task, sparsity)
    return train_sparse(model, task, sparsity, begin, keep=keep, watch=watch)
