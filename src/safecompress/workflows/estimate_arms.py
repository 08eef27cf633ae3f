"""What a search by arms costs in optimizer steps: sub-models, arms, and repeats of the finalists."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safecompress.attacks import capabilities_of
from safecompress.compression.arms.train import arm_job
from safecompress.compression.job import Job
from safecompress.training.objectives.cross_fit import CrossFit


@dataclass(frozen=True)
class ArmSteps:
    """Optimizer steps by what they train. ``one`` are those of the longest arm, its sub-models included."""

    num_sub_models: int
    folds: int
    num_arms: int
    arms: int
    num_repeats: int
    repeats: int
    one: int


def count_arm_steps(job: Job) -> ArmSteps:
    """The steps of each phase of ``job``, whose plan compares arms."""
    arms, each = job.plan.arms, job.plan.each_arm
    assert arms is not None  # whoever calls this has looked
    jobs = [arm_job(job, arm) for arm in each]
    densities = {arm.density for arm in each if arm.share}
    folds = fold_steps(jobs[0]) if densities else 0
    trained = [own.total_steps for own in jobs]
    finalists = len(jobs) if arms.goal == "front" else min(job.plan.finalists, len(jobs))
    longest = sorted(trained, reverse=True)[:finalists]
    is_attacked = arms.repeats and any(capabilities_of(attack).tier == 2 for attack in job.spec.attacks)
    repeats = arms.repeats if is_attacked else 0
    return ArmSteps(
        arms.folds * len(densities),
        folds * len(densities),
        len(jobs),
        sum(trained),
        repeats * finalists,
        repeats * (folds + sum(longest)),
        folds + max(trained),
    )


def fold_steps(job: Job) -> int:
    """The steps of all sub-models that teach ``job``'s model; 0 where none do."""
    objective = next((one for one in job.objectives if isinstance(one, CrossFit)), None)
    if objective is None:
        return 0
    seen = job.split.size("train") * (1 - objective.held_out / objective.folds)
    epochs = objective.epochs or job.recipe.epochs
    return objective.folds * epochs * math.ceil(seen / job.recipe.batch_size)
