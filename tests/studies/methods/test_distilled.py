"""Distillation: whose soft labels a student learns, on which rows, and which rows it never sees."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_inputs import FORBIDDEN, MODEL, RECIPE, Watched, rows_of, same_weights, setting_of, split_of

from safecompress.errors import UsageError
from safecompress.models import ModelSpec
from safecompress.studies.methods import MethodInputs
from safecompress.studies.methods.distilled import Distilled, Dmp, PrunedDmp, SmallDmp
from safecompress.training.objectives.distill import Distillation

ON_REFERENCE = [Dmp(), PrunedDmp(), SmallDmp()]


def spoiled(monkeypatch, *parts):
    """A setting whose dense model is trained already, and ``parts`` hold NaN from now on."""
    teacher = setting_of().dense()
    monkeypatch.setattr(MethodInputs, "dense", lambda self: teacher)
    return setting_of(split_of(*FORBIDDEN, *parts))


@pytest.mark.slow
@pytest.mark.parametrize("method", ON_REFERENCE, ids=repr)
def test_the_student_never_sees_a_member(method, monkeypatch):
    """Members hold NaN once the teacher is trained, and the student comes out the same."""
    made = method.make(spoiled(monkeypatch, "train"))
    assert same_weights(dict(made.weights), dict(method.make(setting_of()).weights))


@pytest.mark.slow
@pytest.mark.parametrize("method", ON_REFERENCE, ids=repr)
def test_labels_of_reference_rows_are_not_read(method):
    split = split_of(*FORBIDDEN)
    split.dataset.labels[rows_of(split, "population")] = 0
    assert same_weights(dict(method.make(setting_of(split)).weights), dict(method.make(setting_of()).weights))


def test_the_plain_student_learns_on_members_alone(monkeypatch):
    made = Distilled().make(spoiled(monkeypatch, "population", "validation"))
    assert all(torch.isfinite(tensor).all() for tensor in made.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", [*ON_REFERENCE, Distilled()], ids=repr)
def test_the_teacher_is_the_dense_model(method, monkeypatch):
    watched, setting = Watched(monkeypatch), setting_of()
    method.make(setting)
    lessons = [course for course in watched.courses if course.teacher is not None]
    for lesson in lessons:
        assert torch.equal(lesson.teacher, setting.logits(setting.dense(), lesson.features))
        rows = setting.split.part("train" if isinstance(method, Distilled) else "population")[0]
        assert torch.equal(lesson.features, rows)
    assert len(lessons) == (2 if isinstance(method, PrunedDmp) else 1)


def test_lessons_on_reference_rows_take_as_many_steps_as_a_training(monkeypatch):
    """20 rows are one step an epoch: 18 epochs for the 18 steps of the members."""
    watched = Watched(monkeypatch)
    PrunedDmp(temperature=2.0).make(setting_of())
    assert [until for _, _, until, _ in watched.calls] == [18, 18, 18]
    assert {course.recipe.objective for course in watched.courses[1:]} == {Distillation(2.0, weight=1.0)}


def test_students_start_afresh(monkeypatch):
    watched, setting = Watched(monkeypatch), setting_of()
    Dmp().make(setting)
    state = watched.calls[1][0]
    assert not same_weights(dict(state.model), setting.dense())
    assert not same_weights(dict(state.model), setting.fresh().state_dict())


@pytest.mark.slow
def test_a_student_says_what_its_teacher_says():
    """Of a long lesson at temperature 1 comes the teacher's answer on the reference rows."""
    setting = setting_of(recipe=replace(RECIPE, epochs=100, learning_rate=0.05))
    x = setting.reference[0]
    taught, teacher = setting.logits(dict(Dmp().make(setting).weights), x), setting.logits(setting.dense(), x)
    assert (taught.argmax(1) == teacher.argmax(1)).float().mean() > 0.94
    assert (taught.softmax(1) - teacher.softmax(1)).abs().mean() < 0.02


def test_a_network_that_cannot_be_narrowed_is_refused_before_any_training(monkeypatch):
    watched = Watched(monkeypatch)
    for method in (Distilled(), SmallDmp()):
        with pytest.raises(UsageError, match="widths that are"):
            method.make(setting_of(model=ModelSpec("mlp", {"hidden": ()}, (6,), 3)))
    assert watched.calls == [] and MODEL.options["hidden"] == (8,)


@pytest.mark.parametrize("method", [Distilled, Dmp, PrunedDmp, SmallDmp])
def test_bad_options_are_refused(method):
    with pytest.raises(UsageError, match=r"temperature.*finite"):
        method(temperature=math.nan)
