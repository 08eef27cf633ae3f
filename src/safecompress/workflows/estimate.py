"""Estimates the cost of a run before it starts: steps, seconds and memory by phase, from a few of its steps."""

# N rows, T steps of sparse training.

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from safecompress.attacks import capabilities_of
from safecompress.attacks.controls import stand_in
from safecompress.auditing.proxy_check import NUM_SHADOWS
from safecompress.certify import Feasibility, check_feasibility
from safecompress.compression.arms.train import check_job
from safecompress.compression.job import Job
from safecompress.data import one_row_per_unit
from safecompress.sparsity import SparsityPattern, Start, find_maskable
from safecompress.spec import SafetySpec
from safecompress.training import TrainingState, TrainingTask, predict_logits, train
from safecompress.training.layout import laid_out
from safecompress.workflows.estimate_arms import count_arm_steps, fold_steps

ROWS = 256
"""Whose forward pass is timed."""

LONG, SHORT = 4.0, 0.3
"""Seconds after which one measured step must do, and under which five are too few."""

ATTACKER_SECONDS = 3e-5
"""Seconds of one thread for one row and epoch of an attacker network (measured; batches of 512)."""

STAND_IN_SECONDS = 4e-3
"""Seconds of one step of the small network that stands in for a costly one in a control (measured; 3x32x32 pixels)."""

CONTROL_EPOCHS = 60
"""A guess at how long the control takes to memorise its members."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run: what is done, how many optimizer steps that is, and the seconds it should take here."""

    name: str
    what: str
    steps: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a run is made of. ``memory`` is in bytes, of one process; ``step_seconds`` is one step of sparse training.

    Seconds are of this machine with nothing beside; the attacks' share of them is a rule of thumb.
    """

    rows: Mapping[str, int]
    input_shape: tuple[int, ...]
    num_classes: int
    num_parameters: int
    num_maskable: int
    num_active: int
    step_seconds: float
    memory: Mapping[str, int]
    phases: tuple[Phase, ...]
    prospects: tuple[Feasibility, ...]

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(phase.seconds for phase in self.phases)

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "rows": dict(self.rows),
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "num_parameters": self.num_parameters,
            "num_maskable": self.num_maskable,
            "num_active": self.num_active,
            "step_seconds": self.step_seconds,
            "memory_bytes": dict(self.memory),
            "phases": [{"phase": p.name, "what": p.what, "steps": p.steps, "seconds": p.seconds} for p in self.phases],
            "seconds": self.seconds,
            "prospects": [prospect.to_json() for prospect in self.prospects],
        }


def estimate(job: Job, *, workers: int = 1) -> Estimate:
    """What ``job`` would cost with ``workers`` processes. It is checked first, and a few of its steps are run.

    Raises what the run itself would raise before training, SpecError for a requirement that no outcome could pass.
    """
    check_job(job)
    evidence = one_row_per_unit(job.raw)
    prospects = check_feasibility(job.spec, evidence, job.spec.levels(1), density=job.plan.density)
    model = job.scratch()
    weights = find_maskable(model, include=job.plan.include, exclude=job.plan.exclude)
    grouping = job.plan.shape.fit(model, job.task.input_shape, weights)
    pattern = grouping.initial(
        weights, job.plan.density, allocation=job.plan.allocation, start=job.plan.begins, seed=job.seed
    )
    dense_step = _step_seconds(model, job.dense_task, None)
    teacher = torch.zeros(job.split.size("train"), job.split.dataset.num_classes) if job.needs("teacher") else None
    sparse_step = _step_seconds(job.scratch(), job.sparse_task(teacher), pattern)
    row = _row_seconds(job.scratch(), job.split.part("validation", ROWS)[0])
    sizes = {name: job.split.size(name) for name in job.split.indices}
    return Estimate(
        sizes,
        job.task.input_shape,
        job.task.num_classes,
        sum(parameter.numel() for parameter in model.parameters()),
        sum(weight.numel() for weight in weights.values()),
        pattern.num_active,
        sparse_step,
        _memory(job, workers),
        (*(_training(job, dense_step, sparse_step) if job.plan.arms is None else _dense(job, dense_step)),
         *(_search(job, sparse_step, row, workers) if job.plan.arms is None else _arms(job, sparse_step, workers)),
         *_verdict(job, dense_step, sparse_step, row, workers)),
        prospects,
    )  # fmt: skip


def _dense(job: Job, dense_step: float) -> list[Phase]:
    """The dense model."""
    steps = 0 if job.dense is not None else job.dense_steps
    return [Phase("dense", "the dense model", steps, steps * dense_step)]


def _arms(job: Job, step: float, workers: int) -> list[Phase]:
    """Sub-models, the arms that they teach, and the repeats of finalists."""
    cost = count_arm_steps(job)

    def phase(name: str, count: int, steps: int, what: str) -> Phase:
        return Phase(name, f"{count} {what}", steps, steps * step / _share(count, workers))

    return [
        phase("folds", cost.num_sub_models, cost.folds, "sub-models that each miss some rows"),
        phase("arms", cost.num_arms, cost.arms, "arms that they teach"),
        phase("repeats", cost.num_repeats, cost.repeats, "repeats of finalists, with their sub-models"),
    ]


def _training(job: Job, dense_step: float, sparse_step: float) -> list[Phase]:
    """The dense model, and sparse training without what candidates do of it."""
    total = job.total_steps
    tuned = sum(end - rewired for rewired, end in _rounds(job))
    return [
        *_dense(job, dense_step),
        Phase("sparse", "the sparse model, between and after the rounds", total - tuned, (total - tuned) * sparse_step),
    ]


def _search(job: Job, step: float, row: float, workers: int) -> list[Phase]:
    """What candidates cost: tuning, tests, attackers, and the ranking after the last round."""
    plan, num = job.plan, len(job.plan.branches)
    cheap, costly = plan.tests(job.spec.attacks)
    tuned = num * sum(end - rewired for rewired, end in _rounds(job))
    share = _share(num, workers)
    num_queried = sum(job.split.size(part) for part in ("validation", "member_select", "nonmember_select"))
    num_fitted = sum(job.split.size(part) for part in ("member_fit", "nonmember_fit"))
    attackers = (
        plan.rounds * _attacker_seconds((*cheap, *costly), num_fitted) * (1 if plan.refit == "parent" else num / share)
    )
    tests = plan.rounds * (num / share * num_queried + num_fitted) * row
    phases = [
        Phase("candidates", f"{num} candidates in each of {plan.rounds} rounds, tuned", tuned, tuned / share * step),
        Phase("tests", "candidates on validation and selection rows, and their attackers", 0, tests + attackers),
    ]
    ranked = [attack for attack in job.spec.attacks if capabilities_of(attack).tier == 2]
    if plan.rank and plan.rounds and ranked:
        count = min(NUM_SHADOWS, max(_num_shadows(job.spec), 1))
        steps = round(count * job.total_steps * plan.stop)
        what = f"{count} shadow models that say how well the cheap tests rank"
        phases.append(Phase("rank", what, steps, steps * step / _share(count, workers)))
    return phases


def _verdict(job: Job, dense_step: float, step: float, row: float, workers: int) -> list[Phase]:
    """Shadows of the artifact and of the dense model, the control and its shadows, attackers."""
    count = _num_shadows(job.spec)
    phases = []
    if count:
        steps = job.total_steps + fold_steps(job) if job.plan.arms is None else count_arm_steps(job).one
        one, what = steps * step, "into the final pattern"
        if job.spec.shadows == "full pipeline":
            before = job.total_steps * dense_step if job.plan.start is Start.DENSE else 0.0
            tried = [] if job.plan.arms is not None else _search(job, step, row, 1)[:2]
            one = before + sum(phase.seconds for phase in tried) + one
            what = "through the whole pipeline"
        elif job.plan.start is Start.DENSE:
            one += job.dense_steps * dense_step
        share = _share(count, workers)
        if job.spec.shadow_budget is not None:
            what += f", and up to {job.spec.shadow_budget} where these do not decide"
        phases.append(Phase("shadows", f"{count} shadow models {what}", count * steps, count * one / share))
        steps = count * job.dense_steps
        phases.append(Phase("dense shadows", f"{count} of the dense model", steps, steps * dense_step / share))
    rows = sum(job.split.size(part) for part in ("member_fit", "member_verdict"))
    steps = (1 + count) * CONTROL_EPOCHS * math.ceil(rows / 32)
    model = job.scratch()
    is_own = stand_in(model, job.split.part("train", 1)[0]) is model
    per_step = _row_seconds_of_training(dense_step, job) * 32 if is_own else STAND_IN_SECONDS
    phases.append(Phase("controls", "a model that must be caught, and its shadows (a guess)", steps, steps * per_step))
    pools = sum(job.split.size(part) for part in ("member_fit", "nonmember_fit", "member_verdict", "nonmember_verdict"))
    query_seconds = (3 + 2 * count) * (pools + job.split.size("test")) * row
    attackers = 3 * _attacker_seconds(job.spec.attacks, pools)
    phases.append(Phase("verdict", "fresh attackers on the verdict rows", 0, query_seconds + attackers))
    return phases


def _rounds(job: Job) -> list[tuple[int, int]]:
    return [job.plan.round_steps(number, job.total_steps) for number in range(job.plan.rounds)]


def _share(num_items: int, workers: int) -> float:
    """How many of ``num_items`` run at a time on average."""
    return num_items / math.ceil(num_items / workers) if num_items else 1.0


def _num_shadows(spec: SafetySpec) -> int:
    return max((capabilities_of(attack).num_shadows for attack in spec.attacks), default=0)


def _attacker_seconds(attackers: Any, num_rows: int) -> float:
    """Of training the attacks that are networks, on ``num_rows`` rows."""
    return sum(capabilities_of(attack).epochs for attack in attackers) * num_rows * ATTACKER_SECONDS


def _row_seconds_of_training(step: float, job: Job) -> float:
    return step / min(job.dense_recipe.batch_size, job.split.size("train"))


def _step_seconds(model: nn.Module, task: TrainingTask, pattern: SparsityPattern | None) -> float:
    """Of one training step: the difference of a longer and a shorter training, after a first one that warms up."""

    def lasts(steps: int) -> float:
        begun = _now()
        train(model, state, task, until=steps, pattern=pattern)
        return _now() - begun

    if pattern is not None:
        pattern.apply_(model)
    state = TrainingState.capture(0, model)
    first, few = lasts(1), min(5, task.total_steps)
    if first > LONG or few == 1:
        return first
    base, some = lasts(1), lasts(few)
    if some > SHORT or task.total_steps < 60:
        return max(some - base, some / few / 2) / (few - 1)
    return max(lasts(60) - some, 0.0) / (60 - few)


def _row_seconds(model: nn.Module, features: Tensor) -> float:
    """Of one row's forward pass, over those of ``features``."""
    predict_logits(model, features[:8])
    begun = _now()
    predict_logits(model, features)
    return (_now() - begun) / max(1, len(features))


def _now() -> float:
    """Seconds: of this process where it has one thread, so that its neighbours do not count; else of the clock."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def _memory(job: Job, workers: int) -> dict[str, int]:
    """Bytes: the rows as kept; for training a copy of the train rows, model, gradients, moments and one batch."""
    stored, scaled = job.raw.dataset.stored, job.split.dataset.stored
    data = stored.nbytes + (scaled.nbytes if scaled is not stored else 0)
    first, _ = job.split.part("train", _micro(job))
    train_rows = first[:1].nbytes * job.split.size("train")
    model = job.scratch()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = {"sgd": 1 if job.recipe.momentum else 0}.get(job.recipe.optimizer, 2)
    batch = _activations(model, first.to(job.device))
    training = train_rows + weights * (3 + moments) + batch  # masks in float beside weights, gradients and moments
    return {"rows": data, "train rows": train_rows, "model": weights, "activations": batch, "training": training,
            "process": data + training, "all processes": data + training * (workers + (workers > 1))}  # fmt: skip


def _micro(job: Job) -> int:
    return math.ceil(job.recipe.batch_size / job.recipe.micro_batches)


def _activations(model: nn.Module, features: Tensor) -> int:
    """Bytes that one forward pass keeps for the backward pass, weights apart."""
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(laid_out(features)).sum()
    return sum(kept.values())
