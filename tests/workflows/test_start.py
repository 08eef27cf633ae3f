"""Trained weights are a promise: who gives them, or a network that has them, gets them pruned and not drawn anew."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases
from safecompress.compression.search import Plan
from safecompress.compression.search.arm import Arms
from safecompress.compression.search.branch import ARM_BRANCHES, DEFAULT_BRANCHES
from safecompress.config import parse_config
from safecompress.data import SplitSizes, digits, make_split
from safecompress.errors import SpecError
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from safecompress.sparsity import GENTLE, CosineSchedule, Start
from safecompress.spec import SafetySpec, at_least
from safecompress.training import Recipe, train
from safecompress.workflows.start import settle_start

SIZES = SplitSizes(
    train=450, member_fit=150, member_select=150, member_verdict=150, validation=100, test=400,
    nonmember_fit=150, nonmember_select=150, nonmember_verdict=150, population=0,
)  # fmt: skip
TASK = TaskInfo(10, (), (1, 8, 8))


@pytest.fixture(scope="module")
def split():
    return make_split(digits(image=True), SIZES, seed=0)


def cnn(num_outputs=10):
    with seeded(0, "cnn"):
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(192, 48), nn.ReLU(), nn.Linear(48, num_outputs),
        )  # fmt: skip


def learn(model, features, labels, epochs=8):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(epochs):
        for rows in torch.arange(len(labels)).split(32):
            optimizer.zero_grad()
            cross_entropy(model(features[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained(split):
    return learn(cnn(), *split.part("train"))


@pytest.fixture(scope="module")
def elsewhere(split):
    """Trained to tell odd from even among other rows; its head is fresh."""
    features, labels = split.part("nonmember_fit")
    model, fresh = learn(cnn(2), features, labels % 2), cnn()
    fresh.load_state_dict(
        {name: t for name, t in model.state_dict().items() if not name.startswith("7.")}, strict=False
    )
    return fresh


def job_of(split, model, plan=None, dense=None, spec=None):
    tests = SafetySpec(attacks=["gap"], requirements=[at_least("accuracy", 0.5)])
    recipe = Recipe(epochs=2, batch_size=32)
    plan = plan or Plan(density=0.2, arms=Arms())
    return Job("tiny", model, spec, split, split, TASK, tests, recipe, recipe, plan, seed=0, dense=dense)


def accuracy(model, split):
    features, labels = split.part("test")
    return (model.eval()(features).argmax(1) == labels).float().mean().item()


def test_fresh_weights_are_trained_by_folds_as_ever(split):
    job = job_of(split, cnn())
    settled = settle_start(job, names_method=False)
    assert settled.plan == replace(job.plan, start=Start.SCRATCH)
    assert settled.dense is None and not settled.notes and settled.model is job.model


@pytest.mark.parametrize("is_given", [True, False])
def test_trained_weights_are_pruned(split, trained, is_given):
    job = job_of(split, cnn() if is_given else trained, dense=trained.state_dict() if is_given else None)
    settled = settle_start(job, names_method=False)
    plan = settled.plan
    assert (plan.start, plan.arms, plan.branches) == (Start.DENSE, None, DEFAULT_BRANCHES)
    assert plan.schedule == GENTLE
    assert settled.dense.keys() == trained.state_dict().keys()
    assert all(torch.equal(settled.dense[name], tensor) for name, tensor in trained.state_dict().items())
    assert 'start = "dense", method = "rewiring"' in settled.notes[-1] and 'say start = "scratch"' in settled.notes[-1]
    assert ("% of train rows right" in settled.notes[0]) == (not is_given)


def test_after_two_epochs_a_trained_network_is_within_two_points_at_density_a_fifth(split, trained):
    settled = settle_start(job_of(split, trained, Plan(density=0.2, rounds=0)), names_method=False)
    phases = RunPhases.unwatched(settled)
    dense = phases.dense()
    start = phases.start(dense)
    assert start.pattern.density == pytest.approx(0.2, abs=1e-3)
    model = settled.scratch()
    train(model, start.state, settled.sparse_task(None), until=settled.total_steps, pattern=start.pattern).restore_(
        model
    )
    assert accuracy(trained, split) > 0.95
    assert accuracy(model, split) > accuracy(trained, split) - 0.02


def test_a_network_that_was_trained_on_something_else_begins_with_its_largest_weights(split, elsewhere):
    settled = settle_start(job_of(split, elsewhere), names_method=False)
    assert settled.plan.start is Start.PRETRAINED and settled.plan.arms is not None
    assert settled.plan.branches == ARM_BRANCHES and settled.dense is None
    assert settled.model is elsewhere and "trained on something else" in settled.notes[0]


def test_folds_by_name_begin_with_fresh_weights_and_compare_with_the_trained_ones(split, trained):
    settled = settle_start(job_of(split, trained), names_method=True)
    assert settled.plan.start is Start.SCRATCH and settled.plan.arms is not None
    assert settled.dense is not None and 'method = "folds" was asked for' in settled.notes[-1]
    assert not torch.equal(settled.model[5].weight, trained[5].weight)


def test_a_start_that_is_named_is_kept(split, trained, elsewhere):
    def settled(model, start, **options):
        return settle_start(
            job_of(split, model, Plan(density=0.2, rounds=0, start=start), **options), names_method=True
        )

    scratch = settled(trained, "scratch")
    assert scratch.plan.start is Start.SCRATCH and scratch.dense is None and not scratch.notes
    assert not torch.equal(scratch.model[5].weight, trained[5].weight)
    dense = settled(trained, "dense")
    assert dense.dense is not None and dense.plan.schedule == CosineSchedule()
    assert settled(elsewhere, "dense").model is elsewhere  # the dense model trains on from there
    assert settled(trained, "pretrained").model is trained


def test_a_network_is_redrawn_from_the_seed(split, trained):
    one, other = (settle_start(job_of(split, trained), names_method=False).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert accuracy(one, split) < 0.5


def test_a_network_from_its_name_is_fresh(split):
    spec = ModelSpec("cnn", {"channels": (8, 8)}, input_shape=(1, 8, 8), num_classes=10)
    settled = settle_start(job_of(split, spec.fresh(0), spec=spec), names_method=False)
    assert settled.plan.start is Start.SCRATCH and not settled.notes


SPEC = """
name = "t"
data = {{ source = "digits" }}
model = {{ name = "mlp"{weights} }}
safety = {{ attacks = ["gap"] }}
require = [{{ metric = "accuracy", at_least = 0.5 }}]
compress = {{ {compress} }}
search = {{ {search} }}
"""


@pytest.mark.parametrize(
    ("weights", "compress", "search", "method", "start"),
    [
        ("", "", "", "folds", None),
        (', weights = "w.safetensors"', "", "", "rewiring", None),
        (', weights = "w.safetensors"', "", 'method = "folds"', "folds", None),
        (', weights = "w.safetensors"', "", "shares = [1.0]", "folds", None),
        (', weights = "w.safetensors"', 'start = "scratch"', "", "folds", Start.SCRATCH),
        ("", 'start = "dense"', "", "rewiring", Start.DENSE),
        ("", 'start = "pretrained"', "", "folds", Start.PRETRAINED),
    ],
)
def test_the_method_of_a_spec_that_names_none(tmp_path, weights, compress, search, method, start):
    text = SPEC.format(weights=weights, compress=compress, search=search)
    config = parse_config(text, base=tmp_path, source="t.toml")
    assert (config.plan.arms is not None, config.plan.start) == (method == "folds", start)
    assert config.names_method == bool(search)


def test_folds_from_a_dense_start_are_refused(tmp_path):
    text = SPEC.format(weights="", compress='start = "dense"', search='method = "folds"')
    with pytest.raises(SpecError, match="Arms do not start from the dense model"):
        parse_config(text, base=tmp_path, source="t.toml")
