"""Trains one model of a job that chooses nothing: an arm, a repeat of one, or a shadow model of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from safecompress.compression.job import Job
from safecompress.compression.search import Plan, RandomChoice
from safecompress.compression.search.arm import Arm, Arms
from safecompress.errors import UsageError
from safecompress.sparsity import find_maskable
from safecompress.training import Recipe, TrainingState, Watch, gap_gradient
from safecompress.training.dynamic import SparseState, begin_sparse, train_sparse
from safecompress.training.objectives.cross_fit import CrossFit
from safecompress.training.teachers import TensorStore


def arm_job(job: Job, arm: Arm) -> Job:
    """The job that trains ``arm`` alone; ``job`` compares arms."""
    if job.plan.arms is None:
        raise UsageError("The plan of this job compares no arms.")
    return replace(job, plan=arm_plan(job.plan, arm), recipe=arm_recipe(job.recipe, job.plan.arms, arm))


def arm_plan(plan: Plan, arm: Arm) -> Plan:
    """The plan by which ``arm`` alone is trained: unattended, at its density, by its branch."""
    return replace(plan, arms=None, density=arm.density, branches=(arm.branch,), selector=RandomChoice())


def arm_recipe(recipe: Recipe, arms: Arms, arm: Arm) -> Recipe:
    """The recipe of ``arm``: its own number of epochs, and targets by its share.

    Sub-models train for as many epochs as ``recipe`` has, whatever the arm's length.
    """
    own = replace(recipe, epochs=arm.epochs(recipe.epochs))
    if not arm.share:
        return own
    return replace(own, objective=CrossFit(arm.share, arms.folds, arms.held_out, arms.rewiring, recipe.epochs))


def check_job(job: Job) -> None:
    """Raise, before any training, what would stop ``job`` later, or one of its arms: `Job.check` of each."""
    job.check()
    for arm in job.plan.each_arm:
        try:
            arm_job(job, arm).check_training()
        except UsageError as error:
            raise type(error)(f"The arm {arm.name!r} cannot be trained. {error}") from error


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
    signals = partial(_gap_gradient, job) if "gap_gradient" in sparsity.reads else None
    return train_sparse(model, task, sparsity, begin, signals=signals, keep=keep, watch=watch)


def _gap_gradient(job: Job, model: nn.Module, state: TrainingState) -> dict[str, dict[str, Tensor]]:
    """The gradient of the gap between the fitting pools at the weights that would ship: what the rule "leak" reads."""
    state.restore_(model)
    members, nonmembers = job.split.part("member_fit"), job.split.part("nonmember_fit")
    tracked = find_maskable(model, include=job.plan.include, exclude=job.plan.exclude)
    return {"gap_gradient": gap_gradient(model, members, nonmembers, tracked)}
