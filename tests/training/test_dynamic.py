"""Sparse training without a search: the same bits as the search with one branch, from wherever it goes on."""

import pytest
import torch

from safecompress.attacks import ATTACKS
from safecompress.compression.arms.train import train_unattended
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, search_and_train
from safecompress.compression.search import Plan, RandomChoice, SerialExecutor
from safecompress.errors import UsageError
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.sparsity import Blocks
from safecompress.spec import SafetySpec, at_most
from safecompress.testing.fakes import noise_split
from safecompress.training import Recipe, TrainingState
from safecompress.training.dynamic import DynamicSparsity, begin_sparse, train_sparse

SPEC = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = Recipe(epochs=12, batch_size=20, optimizer="adam", learning_rate=0.01, weight_decay=0.0)


def job_by(*branches, rounds=3, **changes):
    split = noise_split(20, other=20, num_features=6, num_classes=3)
    plan = Plan(0.3, rounds, branches, RandomChoice(), attacks=(ATTACKS.make("loss"),), rank=False, **changes)
    spec = SafetySpec([ATTACKS.make("loss")], [at_most("loss.auc", 0.9)])
    return Job(
        "one",
        SPEC.fresh(0),
        SPEC,
        split,
        split,
        TaskInfo(3, split.dataset.class_names, (6,)),
        spec,
        RECIPE,
        RECIPE,
        plan,
        0,
    )


@pytest.mark.parametrize(
    "branch", ["magnitude+gradient", "set+random", "threshold+momentum", "taylor+random-unfired", "leak+gradient"]
)
def test_it_ends_in_the_bits_of_a_search_with_one_branch(branch):
    job = job_by(branch)
    phases, dense = RunPhases.unwatched(job), TrainingState.capture(0, job.model)
    searched = search_and_train(phases, phases.start(dense), dense, SerialExecutor())
    alone = train_unattended(job)
    assert alone.state.digest() == searched.state.digest()
    assert alone.pattern.digest() == searched.winner.pattern.digest()
    assert all(torch.equal(alone.ever_active[name], mask) for name, mask in searched.winner.fired.items())
    assert alone.num_rewires == 3


def test_killed_after_any_rewire_it_goes_on_to_the_same_bits():
    job, kept = job_by("magnitude+momentum"), []
    whole = train_unattended(job, keep=kept.append)
    assert [state.num_rewires for state in kept] == [1, 2, 3]
    for state in kept:
        assert train_unattended(job, begin=state).state.digest() == whole.state.digest()


def test_the_density_stays_and_the_pattern_moves():
    job = job_by("magnitude+random")
    model, task, sparsity = job.scratch(), job.sparse_task(None), job.plan.sparsity()
    begin = begin_sparse(model, task, sparsity)
    ended = train_sparse(model, task, sparsity, begin)
    assert ended.pattern.num_active == begin.pattern.num_active == round(0.3 * (8 * 6 + 3 * 8))
    assert ended.pattern.digest() != begin.pattern.digest()
    assert all((ended.state.model[name][~mask] == 0).all() for name, mask in ended.pattern.masks.items())


@pytest.mark.parametrize(
    "branches, rounds, is_one",
    [
        (("keep",), 3, False),
        (("set+random",), 3, True),
        (("set+random", "keep"), 3, False),
        (("set+random", "keep"), 0, True),
        (("set+random+relax_loss",), 3, False),
    ],
)
def test_a_plan_is_unattended_when_nothing_is_chosen(branches, rounds, is_one):
    assert Plan(branches=branches, rounds=rounds).is_unattended is is_one


def test_a_density_outside_its_range_is_refused():
    with pytest.raises(UsageError, match="density must lie"):
        DynamicSparsity(density=0)


def test_blocks_move_together():
    job = job_by("magnitude+random", shape=Blocks(2))
    ended = train_unattended(job)
    assert 0 < ended.pattern.density < 0.5
