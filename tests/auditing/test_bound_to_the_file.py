"""An audit is of this file: another recipe, an objective left out, or other members do not talk it into PASS.

Each of these passed once: the artifact was bound to no recipe, a model without a pattern had its objective ignored, and
members that nothing proves were a note.
"""

from dataclasses import replace

import pytest

import safecompress as sc
from safecompress.errors import ArtifactError
from safecompress.training import Recipe, TrainingState, TrainingTask, train
from safecompress.training.objectives.relax import RelaxLoss

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=40, optimizer="adam", batch_size=16, learning_rate=3e-3, weight_decay=0.0, decay="constant")
RELAXED = replace(RECIPE, objective=RelaxLoss(1.0))
SIZES = {"train": 240, "member_fit": 80, "member_select": 0, "member_verdict": 120, "validation": 20, "test": 100,
         "nonmember_fit": 80, "nonmember_select": 0, "nonmember_verdict": 120, "population": 120}  # fmt: skip
DATA = sc.data.digits()
MODEL = sc.ModelSpec("mlp", {"hidden": [64]}, input_shape=(64,), num_classes=10)
SPEC = sc.SafetySpec(["loss", sc.attacks.Lira(12)], [sc.at_most("lira.auc", 0.99)], access="scores")


def split_at(seed):
    return sc.make_split(DATA, sc.SplitSizes(**SIZES), seed=seed)


@pytest.fixture(autouse=True)
def without_controls(monkeypatch):
    """Nothing here is about controls, which are most of an audit's time."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)


def trained(folder, recipe):
    """A dense model as a file that records its training and has its members beside it."""
    path, split = folder / "artifact.safetensors", split_at(0)
    network = MODEL.fresh(0)
    task = TrainingTask(*split.part("train"), recipe, 0)
    state = train(network, TrainingState.capture(0, network), task, until=task.total_steps)
    sc.Artifact(state.model, {}, MODEL, sc.TaskInfo(10, (), (64,)), sc.record_training(recipe)).save(path)
    sc.write_members(path, split)
    return path


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("relaxed"), RELAXED)


def checks_of(path, split, recipe):
    report = sc.audit(path, split, spec=SPEC, recipe=recipe, seed=0)
    return report, {check["check"]: check for check in report.health if check["subject"] in ("data", "file", "shadows")}


def test_the_training_and_the_members_of_the_file_are_believed(relaxed):
    report, checks = checks_of(relaxed, split_at(0), RELAXED)
    assert [checks[name]["outcome"] for name in ("members", "training", "likeness", "shadow_gap")] == ["PASS"] * 4
    assert report.shadows == "dense"


def test_a_recipe_without_the_objective_is_refused(relaxed):
    with pytest.raises(ArtifactError, match=r"these keys differ: recipe\.objective\."):
        sc.audit(relaxed, split_at(0), spec=SPEC, recipe=RECIPE)


def rewritten(relaxed, tmp_path):
    """The same weights without their record, and without the file of members: nothing proves anything."""
    model, path = sc.Artifact.load(relaxed), tmp_path / "artifact.safetensors"
    replace(model, metadata={}).save(path)
    return path


def test_where_the_record_was_taken_out_the_likeness_of_shadows_shows_another_objective(relaxed, tmp_path):
    report, checks = checks_of(rewritten(relaxed, tmp_path), split_at(0), RECIPE)
    assert [checks[name]["outcome"] for name in ("members", "training", "likeness")] == ["INCONCLUSIVE"] * 3
    assert checks["likeness"]["value"] < -1
    assert report.verdict == "INCONCLUSIVE"


def test_other_members_are_refused_where_they_are_recorded_and_shown_by_likeness_where_not(tmp_path):
    path = trained(tmp_path, RECIPE)
    with pytest.raises(ArtifactError, match="were not trained on"):
        sc.audit(path, split_at(7), spec=SPEC, recipe=RECIPE)
    path.with_suffix(".members").unlink()
    report, checks = checks_of(path, split_at(7), RECIPE)
    assert [checks[name]["outcome"] for name in ("members", "training", "likeness")] == [
        "INCONCLUSIVE", "PASS", "INCONCLUSIVE"
    ]  # fmt: skip
    assert report.verdict == "INCONCLUSIVE"
