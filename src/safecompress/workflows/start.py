"""Where a run begins: from fresh weights, or from weights that are trained already, which are recognised and kept.

What says that weights are trained: the caller (``dense=``, ``weights`` of a spec), or the weights themselves, whose
matrices have a structure that no fresh draw has (`are_trained`). That proves training, on whatever task; whether it was
this one is told by the network's answers to train rows. Either alone would err: a network that was drawn with luck
classifies well, too, and one that was trained on another task does not.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import torch

from safecompress.compression.job import Job
from safecompress.compression.search.branch import ARM_BRANCHES, DEFAULT_BRANCHES
from safecompress.errors import UsageError
from safecompress.sparsity import GENTLE, CosineSchedule, Start, are_trained, find_maskable

ROWS = 1024
"""Most train rows that a network is asked about."""

LEARNT = 1 / 3
"""Share of what the most frequent class leaves to be known, from which on a network was trained on this task."""


def settle_start(job: Job, *, names_method: bool) -> Job:
    """``job`` with a plan that says what sparse training begins with, and a sentence of it in its notes.

    A start that the plan names is kept. Else pruning starts from trained weights: those of ``job.dense``, those of the
    model where it classifies train rows; or, where it was trained on something else, from the largest it has
    ("pretrained"). With ``names_method`` arms were asked for by name, and they begin with fresh weights: what a trained
    model knows of rows would pass by the sub-models. Where trained weights are kept unasked, the usual schedule is the
    gentle one. A model whose weights are trained is replaced by a fresh one where training is to begin with such.
    """
    is_trained = _has_trained_weights(job)
    is_own = job.model_spec is None
    share = _share_classified(job) if is_trained and is_own and job.dense is None else None
    may_keep = job.plan.start in (None, Start.DENSE)
    found = may_keep and share is not None and share[0] > share[1] + LEARNT * (1 - share[1])
    if found:
        job = replace(job, dense={name: tensor.detach().clone() for name, tensor in job.model.state_dict().items()})
    job = _planned(job, is_trained, names_method=names_method)
    if found and share is not None:
        came = f"The network came with trained weights: it classifies {share[0]:.0%} of train rows right."
        job = replace(job, notes=(came, *job.notes))
    has_seen_rows = job.dense is not None and job.plan.begins is not Start.PRETRAINED
    if is_trained and is_own and (has_seen_rows or job.plan.begins is Start.SCRATCH):
        return replace(job, model=job.fresh(job.seed))
    return job


def _planned(job: Job, is_trained: bool, *, names_method: bool) -> Job:
    """``job`` with its start, its method and the sentence that says so."""
    plan = job.plan
    by_name = plan.arms is not None and names_method
    if plan.start is None and job.dense is not None:
        plan = replace(plan, start=Start.SCRATCH) if by_name else replace(plan, arms=None, start=Start.DENSE)
        words = (
            'The trained weights are those of the dense model: arms begin with fresh ones, since method = "folds" was '
            "asked for."
            if by_name
            else 'Pruning starts from the trained weights (start = "dense", method = "rewiring"). For fresh weights '
            'say start = "scratch", or method = "folds".'
        )
    elif plan.start is None and is_trained:
        plan = replace(plan, start=Start.PRETRAINED)
        words = (
            "The network came with weights that were trained on something else: sparse training begins with the "
            'largest of them (start = "pretrained"). For fresh weights say start = "scratch".'
        )
    else:
        return replace(job, plan=plan if plan.start else replace(plan, start=Start.SCRATCH))
    if job.plan.arms is not None and plan.arms is None and job.plan.branches == ARM_BRANCHES:
        plan = replace(plan, branches=DEFAULT_BRANCHES)
    if plan.begins is not Start.SCRATCH and plan.schedule == CosineSchedule():
        plan = replace(plan, schedule=GENTLE)
    return replace(job, plan=plan, notes=(*job.notes, words))


def _has_trained_weights(job: Job) -> bool:
    with contextlib.suppress(UsageError):  # globs that match nothing: the job's check says so
        return are_trained(find_maskable(job.model, include=job.plan.include, exclude=job.plan.exclude))
    return False


def _share_classified(job: Job) -> tuple[float, float] | None:
    """The share of train rows that the model classifies right, and that of the most frequent class.

    None where it cannot be asked: the job's check says why.
    """
    features, labels = job.split.part("train", ROWS)
    try:
        with torch.inference_mode():
            right = job.scratch().eval()(features.to(job.device)).argmax(1).cpu() == labels
    except Exception:
        return None
    return float(right.float().mean()), float(labels.bincount().max()) / len(labels)
