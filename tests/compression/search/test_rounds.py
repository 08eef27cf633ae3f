"""What a round's proposals are made from: the gap is read on the fitting pools, and only where a branch asks for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_search import PLAN, RECIPE, SPEC, SPLIT, mlp

from safecompress.compression import rounds
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases
from safecompress.compression.search import SerialExecutor, parse_branches
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.training import TrainingState


def first_round(folder, branches):
    """The result of the first round of a real job on noise."""
    task = TaskInfo(3, SPLIT.dataset.class_names, (6,))
    plan = replace(PLAN, branches=parse_branches(branches), attacks=None)
    model_spec = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
    job = Job("tiny", mlp(), model_spec, SPLIT, SPLIT, task, SPEC, RECIPE, RECIPE, plan, seed=0)
    phases = RunPhases.unwatched(job)
    dense = TrainingState.capture(0, job.model)
    return next(iter(phases.search(SerialExecutor(), dense).rounds(phases.start(dense))))


@pytest.fixture
def asked(monkeypatch):
    """What the gap was computed from."""
    calls, compute = [], rounds.gap_gradient

    def recorded(model, *arguments):
        calls.append((model.training, {k: v.clone() for k, v in model.state_dict().items()}, *arguments))
        return compute(model, *arguments)

    monkeypatch.setattr(rounds, "gap_gradient", recorded)
    return calls


def test_the_gap_is_read_once_a_round_on_the_fitting_pools_alone(tmp_path, asked):
    result = first_round(tmp_path, ["leak+gradient", "leak+random", "keep"])
    assert len(asked) == 1
    _, weights, member_rows, nonmember_rows, tracked = asked[0]
    for rows, part in ((member_rows, "member_fit"), (nonmember_rows, "nonmember_fit")):
        assert all(torch.equal(one, other) for one, other in zip(rows, SPLIT.part(part), strict=True))
    masks = result.winner.pattern.masks
    assert set(tracked) == set(masks)
    assert all(np.isfinite(tensor.numpy()).all() for tensor in weights.values())
    assert sum(evaluation.num_moved for evaluation in result.evaluations) > 0


def test_no_branch_that_reads_the_gap_no_gap(tmp_path, asked):
    first_round(tmp_path, ["random-small+gradient", "taylor+random", "keep"])
    assert not asked
