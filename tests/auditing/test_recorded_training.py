"""An artifact says how it was trained, and an audit that says otherwise is refused with the keys that differ."""

from dataclasses import replace

import pytest
import torch

import safecompress as sc
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.recorded_training import check_training, record_training
from safecompress.auditing.shadow_training import TrainingProvenance
from safecompress.errors import ArtifactError
from safecompress.sparsity import Start
from safecompress.spec import Verdict
from safecompress.training import CrossEntropy, Recipe
from safecompress.training.objectives.relax import RelaxLoss

RECIPE = Recipe(epochs=12, optimizer="adam", batch_size=32, learning_rate=0.01, weight_decay=0.0)
TASK = sc.TaskInfo(2, ("no", "yes"), (3,))


def recorded(tmp_path, metadata, recipe, dense_recipe=None, start=Start.SCRATCH):
    """What the check says of an artifact with this metadata, audited by this training."""
    network = torch.nn.Linear(3, 2)
    path = tmp_path / "artifact.safetensors"
    sc.Artifact(network.state_dict(), {}, None, TASK, metadata).save(path)
    subject = AuditedModel.of_artifact(path, model=network)
    dense_recipe = dense_recipe or replace(recipe, objective=CrossEntropy())
    return check_training(subject, TrainingProvenance(network, None, TASK, recipe, dense_recipe, start))


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(), replace(RECIPE, objective=RelaxLoss(1.0))])
def test_the_training_that_was_recorded_is_believed(tmp_path, recipe):
    assert recorded(tmp_path, record_training(recipe), recipe).outcome is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 8}, "recipe.epochs"),
        ({"epochs": 60}, "recipe.epochs"),  # the default, which the record leaves out
        ({"objective": RelaxLoss(1.0)}, "recipe.objective"),
        ({"optimizer": "sgd", "learning_rate": 0.1}, "recipe.learning_rate, recipe.optimizer"),
    ],
)
def test_another_recipe_is_refused_with_the_keys_that_differ(tmp_path, change, named):
    with pytest.raises(ArtifactError, match=f"these keys differ: {named}\\."):
        recorded(tmp_path, record_training(RECIPE), replace(RECIPE, **change))


def test_the_dense_recipe_and_the_start_are_recorded_too(tmp_path):
    longer = replace(RECIPE, epochs=30)
    metadata = record_training(RECIPE, dense_recipe=longer, start=Start.DENSE)
    assert recorded(tmp_path, metadata, RECIPE, longer, Start.DENSE).outcome is Verdict.PASS
    with pytest.raises(ArtifactError, match=r"differ: dense_recipe\.epochs\."):
        recorded(tmp_path, metadata, RECIPE, replace(RECIPE, epochs=31), Start.DENSE)
    with pytest.raises(ArtifactError, match=r"differ: dense_recipe\.epochs, start\."):
        recorded(tmp_path, metadata, RECIPE)


def test_without_a_record_nothing_is_proved(tmp_path):
    check = recorded(tmp_path, {}, RECIPE)
    assert (check.name, check.subject, check.outcome) == ("training", "file", Verdict.INCONCLUSIVE)
    assert "record_training" in check.detail


def test_the_record_is_short_and_names_no_value():
    """It ships: a hundred bytes, and no learning rate to read off."""
    (record,) = record_training(RECIPE).values()
    assert len(record) < 150 and "0.01" not in record
    assert record_training(Recipe()) == {"training": ""}
