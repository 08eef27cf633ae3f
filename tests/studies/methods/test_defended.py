"""Defences without compression: the dense model, trained towards something else."""

import pytest
import torch
from tiny_inputs import Watched, same_weights, setting_of

from safecompress.errors import UsageError
from safecompress.studies.methods import METHODS
from safecompress.studies.methods.defended import Defended, DenseHamp, DenseRelaxLoss
from safecompress.training import CrossEntropy
from safecompress.training.objectives.adversarial import AdversarialRegularisation
from safecompress.training.objectives.distill import Distillation
from safecompress.training.objectives.relax import RelaxLoss


def test_it_is_the_dense_training_but_for_the_objective(monkeypatch):
    watched, setting = Watched(monkeypatch), setting_of()
    made = DenseRelaxLoss().make(setting)
    ((state, course, until, pattern),) = watched.calls
    assert same_weights(dict(state.model), setting.fresh().state_dict()) and pattern is None and until == 18
    assert course.recipe.objective == RelaxLoss() and torch.equal(course.features, setting.split.part("train")[0])
    assert not same_weights(dict(made.weights), setting.dense())
    assert same_weights(dict(Defended(CrossEntropy()).make(setting).weights), setting.dense())


def test_objectives_go_by_name():
    assert Defended("relax_loss").objective == RelaxLoss()
    assert METHODS.make({"name": "dense_relax", "objective": {"name": "relax_loss", "target": 0.5}}) == DenseRelaxLoss(
        RelaxLoss(0.5)
    )
    assert DenseRelaxLoss() != DenseHamp()


@pytest.mark.parametrize("objective", [Distillation(), AdversarialRegularisation()], ids=lambda one: type(one).__name__)
def test_an_objective_that_needs_more_is_refused(objective):
    with pytest.raises(UsageError, match="names of their"):
        Defended(objective)
