"""Adversarial regularisation in both stages, and a lesson that is a game as well."""

import math

import pytest
import torch
from tiny_inputs import Watched, same_weights, setting_of

from safecompress.errors import UsageError
from safecompress.studies.methods.adversarial import DistilledAdversarially, DistilledAdvReg, PrunedAdversarially
from safecompress.training import Batch, TrainingState, train
from safecompress.training.objectives.adversarial import AdversarialRegularisation
from safecompress.training.objectives.distill import Distillation


def test_both_stages_play_against_reference_rows(monkeypatch):
    watched, setting = Watched(monkeypatch), setting_of()
    PrunedAdversarially(weight=2.0, start=0.5).make(setting)
    assert len(watched.calls) == 2 and watched.patterns[0] is None and watched.patterns[1].num_active == 36
    for course in watched.courses:
        assert course.recipe.objective == AdversarialRegularisation("black_box", weight=2.0, start=0.5, form="bounded")
        assert torch.equal(course.reference[0], setting.split.part("population")[0])
        assert torch.equal(course.features, setting.split.part("train")[0])


@pytest.mark.slow
def test_teacher_and_student_play(monkeypatch):
    watched, setting = Watched(monkeypatch), setting_of()
    DistilledAdversarially(temperature=2.0).make(setting)
    teaching, lesson = watched.courses
    assert type(teaching.recipe.objective) is AdversarialRegularisation
    assert lesson.recipe.objective == DistilledAdvReg(start=0.0, taught=Distillation(2.0))
    model = setting.fresh()
    teacher = train(model, TrainingState.capture(0, model), teaching, until=18).model
    assert torch.equal(lesson.teacher, setting.logits(dict(teacher), lesson.features))


@pytest.mark.slow
@pytest.mark.parametrize("method", [PrunedAdversarially, DistilledAdversarially])
def test_the_penalty_counts(method):
    setting = setting_of()
    weights = [dict(method(weight=weight, start=0.0).make(setting).weights) for weight in (0.0, 5.0)]
    assert not same_weights(*weights)


def test_a_taught_game_learns_the_lesson_and_not_the_labels():
    logits, teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    batch = Batch(torch.zeros(2, 1), torch.tensor([0, 1]), teacher_BC=teacher)
    lesson = Distillation(2.0, weight=0.7)
    assert DistilledAdvReg(taught=lesson)(logits, batch) == lesson(logits, batch)
    assert DistilledAdvReg.needs == {"teacher", "reference"} and DistilledAdvReg.has_opponent
    assert repr(DistilledAdvReg(taught=lesson)) != repr(DistilledAdvReg())


@pytest.mark.parametrize("method", [PrunedAdversarially, DistilledAdversarially])
@pytest.mark.parametrize("option", [{"weight": math.inf}, {"start": 1.0}])
def test_bad_options_are_refused(method, option):
    with pytest.raises(UsageError, match="Adversarial regularisation needs"):
        method(**option)
