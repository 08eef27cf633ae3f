"""A search small enough for a test: 60 train rows of noise, a net of two layers, a few steps."""

import numpy as np
from torch import nn

from safecompress.attacks import Loss, Neural
from safecompress.compression.search import (
    Candidate,
    Plan,
    RunStore,
    Trial,
    TrialRows,
    keeps_momentum,
    parse_branches,
    propose,
)
from safecompress.export import TaskInfo
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern, view_layers
from safecompress.spec import SafetySpec, at_most
from safecompress.testing.fakes import noise_split
from safecompress.training import Course, Recipe, TrainingState, dense_gradient, train

SPLIT = noise_split(20, other=20, num_features=6, num_classes=3)
SPEC = SafetySpec(["loss", "modified_entropy"], [at_most("loss.auc", 0.9)])
RECIPE = Recipe(epochs=6, batch_size=20, learning_rate=0.05)
BRANCHES = parse_branches(["magnitude+random", "magnitude+gradient", "threshold+random", "set+random", "keep"])
PLAN = Plan(density=0.5, rounds=2, recovery=0.5, branches=BRANCHES)
ATTACKS = (Loss(), Neural(epochs=2))
TASK = TaskInfo(SPLIT.dataset.num_classes, SPLIT.dataset.class_names, SPLIT.dataset.input_shape)
COURSE = Course(*SPLIT.part("train"), RECIPE, 0)


def mlp():
    with seeded(0, "model"):
        return Mlp((6,), 3, hidden=(8,))


def with_batch_norm():
    with seeded(0, "model"):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def trial(folder, model=None, plan=PLAN, attacks=ATTACKS, costly=(), spec=SPEC):
    """``attacks`` test every candidate, whatever they cost; ``costly`` ones those that are deepened."""
    model = mlp() if model is None else model
    rows = TrialRows.of(SPLIT, (*attacks, *costly))
    return Trial(model, COURSE, TASK, rows, attacks, costly, spec, plan, RunStore(folder))


def trained(job, number=0):
    """The parent of round ``number``, trained up to its cut from the weights that the job's model has."""
    pattern = initial_pattern(
        find_maskable(job.model), job.plan.density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0
    )
    until, _ = job.plan.round_steps(number, COURSE.total_steps)
    start = TrainingState.capture(0, job.model)
    state = train(job.model, start, COURSE, until=until, pattern=pattern, keep_momentum=keeps_momentum(job.plan))
    return Candidate(f"r{number + 1}", "start", number, "trained", pattern, state, dict(pattern.masks))


def proposals(job, parent, fraction=0.4):
    gradient = dense_gradient(job.model, parent.state, COURSE, parent.pattern.masks)
    momentum = parent.state.momentum or None
    layers = view_layers(parent.state.model, parent.pattern.masks, gradient=gradient, momentum=momentum)
    return propose(layers, job.plan.branches, fraction, stream=lambda *names: derive(0, "rewire", parent.round, *names))


def attackers(job, parent):
    parent.state.restore_(job.model)
    target = job.target(job.model)
    return tuple(job.simulate(attack, target, parent.id) for attack in (*job.attacks, *job.costly))


def facts(evaluation):
    """All of an evaluation that must not depend on where and when it was made, to the bit."""
    scores = [None if r.scores is None else r.scores.tobytes() for r in evaluation.results]
    measurements = tuple(evaluation.measurements.items())
    return evaluation.candidate, evaluation.branch, evaluation.num_moved, measurements, evaluation.errors, scores


def tensors_equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[k].numpy(), second[k].numpy()) for k in first)
