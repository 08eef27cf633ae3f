"""Weights that a run did not train: believed where a file proves what they have seen, compared with fresh ones else."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import safecompress as sc
from safecompress.auditing.given_weights import check_given_weights, compare_knowledge, is_trained, source_of
from safecompress.compression.job import Job
from safecompress.errors import ArtifactError
from safecompress.spec import Verdict
from safecompress.training import TrainingState

DRAW = np.random.default_rng(0)
Y = DRAW.integers(0, 4, 1200)
X = (DRAW.normal(size=(4, 20))[Y] + 1.5 * DRAW.normal(size=(1200, 20))).astype("float32")
DATA = sc.Dataset.from_arrays(X, Y)
SPLIT = sc.make_split(DATA, seed=0)
LABELS = sc.SafetySpec(attacks=["gap"], requirements=[sc.at_most("gap.auc", 0.8)], access="labels")


def net():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))


def trained(rows):
    """A network that has memorised ``rows``."""
    torch.manual_seed(0)
    model, (x, y) = net(), (DATA.features[rows], DATA.labels[rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


TRAIN, ALL = SPLIT.indices["train"], np.arange(1200)
SEEN_TRAIN, SEEN_ALL = trained(TRAIN.tolist()), trained(ALL.tolist())


def job_of(**fields):
    torch.manual_seed(1)
    job = Job("x", net(), None, SPLIT, SPLIT, sc.TaskInfo(4, (), (20,)), LABELS, sc.Recipe(), sc.Recipe(), sc.Plan(), 0)
    return replace(job, **fields)


def from_dense(model):
    return job_of(dense=model.state_dict(), plan=sc.Plan(start="dense"))


def fresh():
    return TrainingState.capture(0, SEEN_TRAIN)  # a model that was trained on train rows alone


def test_a_run_that_trains_all_its_weights_has_no_such_check():
    assert check_given_weights(job_of(), fresh) == ()
    assert source_of(job_of(dense=net().state_dict())) is None  # only a column beside the verdict


@pytest.mark.parametrize("seed", range(5))
def test_a_module_counts_as_trained_when_it_has_learned(seed):
    torch.manual_seed(seed)
    assert not is_trained(job_of(model=net()))
    assert is_trained(job_of(model=SEEN_ALL)) and is_trained(job_of(model=SEEN_TRAIN))


def test_weights_that_have_seen_all_rows_show():
    """At access to labels, where no shadow model could tell."""
    (check,) = check_given_weights(from_dense(SEEN_ALL), fresh)
    assert (check.name, check.outcome) == ("given_weights", Verdict.INCONCLUSIVE)
    assert "they know rows that no training may have seen" in check.detail and check.value > 0.05
    (check,) = check_given_weights(job_of(model=SEEN_ALL), fresh)
    assert "module, which was trained before" in check.detail and check.outcome is Verdict.INCONCLUSIVE


def test_weights_that_have_seen_train_alone_are_unproved():
    (check,) = check_given_weights(from_dense(SEEN_TRAIN), fresh)
    assert check.outcome is Verdict.INCONCLUSIVE and check.value == 0
    assert "nothing proves" in check.detail and "safecompress members" in check.detail


@pytest.mark.parametrize(
    ("rows", "is_proof"), [(TRAIN, True), (TRAIN[:50], True), (ALL, False)], ids=["train", "some", "all"]
)
def test_a_file_of_members_proves_it_or_the_contrary(rows, is_proof, tmp_path):
    path = tmp_path / "dense.safetensors"
    save_file(SEEN_TRAIN.state_dict(), path)
    seen = sc.Dataset.from_arrays(X[rows], Y[rows], class_names="0123", missing_classes=True)
    sc.write_members(path, seen)
    job = replace(from_dense(SEEN_TRAIN), weights_path=path)
    if is_proof:
        (check,) = check_given_weights(job, fresh)
        assert check.outcome is Verdict.PASS and "dense.members proves" in check.detail
    else:
        with pytest.raises(ArtifactError, match=r"that nobody may have seen: .* of validation"):
            check_given_weights(job, fresh)


@pytest.mark.parametrize(
    ("given", "other", "shows"),
    [((1.0, 1.0), (1.0, 0.7), True), ((1.0, 0.7), (1.0, 0.7), False), ((0.9, 0.75), (1.0, 0.7), False),
     ((1.0, 0.8), (0.8, 0.7), False)],
    ids=["seen", "alike", "within noise", "a larger gap"],
)  # fmt: skip
def test_a_lead_outside_train_with_a_smaller_gap_shows(given, other, shows):
    """Accuracies on (train, outside), of 100 rows each."""

    def rights(share):
        return np.arange(100) < round(100 * share)

    check = compare_knowledge("they", *([rights(given[side]), rights(other[side])] for side in (0, 1)))
    assert ("may have seen, or" in check.detail) is shows
    assert check.value == pytest.approx(given[1] - other[1])


def test_namespace_of_the_spec_is_asked_for_changes():
    """Where a requirement compares with the dense model, its weights matter too."""
    spec = sc.SafetySpec(attacks=["gap"], requirements=[sc.within(0.1, metric="accuracy")], access="labels")
    assert "given in memory" in source_of(job_of(dense=SEEN_TRAIN.state_dict(), spec=spec))
    assert source_of(SimpleNamespace(dense=None, model_spec=object())) is None
