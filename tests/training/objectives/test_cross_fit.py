"""Cross-fitting by hand: who misses which row, what the target is, and that no row is taught by who learnt it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safecompress.errors import DataError, UsageError
from safecompress.models import ModelSpec
from safecompress.sparsity import DropSet, GrowRandom
from safecompress.training import Batch, Recipe, TeacherTrainer, TrainingTask, teachers
from safecompress.training.dynamic import DynamicSparsity
from safecompress.training.objectives.cross_fit import CrossFit, hold_out
from safecompress.training.objectives.distill import SplitDistillation
from safecompress.training.teachers import Fold, FoldTraining

STUDENT = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
TAUGHT = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_target_is_the_sub_models_and_the_label_by_share(share):
    log_q = STUDENT.log_softmax(1)
    target = share * TAUGHT + (1 - share) * torch.eye(3)[LABELS]
    expected = -(target * log_q).sum(1).mean()
    batch = Batch(STUDENT, LABELS, teacher_BC=TAUGHT.log())
    assert CrossFit(share)(STUDENT, batch).item() == pytest.approx(expected.item(), abs=1e-6)


def test_no_gradient_reaches_the_teacher():
    logits, taught = STUDENT.clone().requires_grad_(), TAUGHT.log().requires_grad_()
    CrossFit(0.5)(logits, Batch(logits, LABELS, teacher_BC=taught)).backward()
    assert taught.grad is None and logits.grad.abs().max() > 0.01


def test_every_class_is_missed_by_every_sub_model_equally_often():
    """Ten choices of 2 of 5; 30 rows of a class: each choice three times, so each sub-model misses 12 of them."""
    labels = torch.arange(60) % 2
    is_out = hold_out(labels, None, 5, 2, seed=3)
    assert is_out.sum(0).tolist() == [2] * 60
    assert [is_out[:, labels == c].sum(1).tolist() for c in (0, 1)] == [[12] * 5] * 2


@given(st.lists(st.integers(0, 3), min_size=8, max_size=40), st.integers(2, 6), st.integers(0, 5), st.data())
def test_rows_of_one_unit_are_missed_together(labels, folds, seed, data):
    units = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels))))
    held_out = data.draw(st.integers(1, folds - 1))
    is_out = hold_out(torch.tensor(labels), units, folds, held_out, seed).numpy()
    assert (is_out.sum(0) == held_out).all()
    for unit in np.unique(units):
        assert (is_out[:, units == unit] == is_out[:, units == unit][:, :1]).all()


@pytest.mark.parametrize("folds, held_out", [(25, 10), (40, 2)])
def test_with_more_choices_than_rows_every_sub_model_still_learns(folds, held_out):
    """Of 25 over 10 there are three million choices; taken in order, the first model would miss every row."""
    labels = torch.arange(90) % 3
    for is_out in (
        hold_out(labels, None, folds, held_out, 0),
        SplitDistillation(num_models=folds, held_out=held_out).holders_out(90, 0),
    ):
        assert is_out.sum(0).tolist() == [held_out] * 90
        share = is_out.float().mean(1)
        assert (share < held_out / folds + 0.25).all()


def test_other_seeds_hold_out_other_rows_and_one_seed_the_same():
    labels = torch.zeros(50, dtype=torch.int64)
    first, again, other = (hold_out(labels, None, 5, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def trainer_of(features, labels, units=None, store=None):
    recipe = Recipe(epochs=4, batch_size=10, optimizer="adam", learning_rate=0.01)
    model = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3).fresh(0)
    folds = FoldTraining(recipe, DynamicSparsity(0.5, rounds=2), store)
    return TeacherTrainer(model, TrainingTask(features, labels, recipe, 0), folds=folds, units=units)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 6, generator=generator), torch.arange(30) % 3


def test_no_row_is_taught_by_a_sub_model_that_learnt_it(monkeypatch, rows):
    """Each row's logits come from exactly those folds whose own rows lack it; folds are sparse and rewire by SET."""
    asked = []

    class Watched(Fold):
        def logits(self):
            answer = super().logits()
            asked.append((self, answer))
            return answer

    monkeypatch.setattr(teachers, "Fold", Watched)
    features, labels = rows
    taught = CrossFit(epochs=3).teacher_logits(trainer_of(features, labels)).softmax(1)
    assert len(asked) == 5 and len({fold.task.seed for fold, _ in asked}) == 5
    assert {(type(f.sparsity.drop), type(f.sparsity.grow), f.task.recipe.epochs) for f, _ in asked} == {
        (DropSet, GrowRandom, 3)
    }
    for row in range(30):
        unseen = [
            answer[row].softmax(0) for fold, answer in asked if not (fold.task.features == features[row]).all(1).any()
        ]
        assert len(unseen) == 2
        assert torch.allclose(taught[row], torch.stack(unseen).mean(0), atol=1e-6)


class Kept(dict):
    """A store in memory that counts what it was given."""

    saves = 0

    def load(self, name):
        return self.get(name)

    def save(self, name, tensors):
        self.saves += 1
        self[name] = tensors


def test_folds_are_kept_one_by_one_and_found_again(rows):
    store = Kept()
    first = CrossFit().teacher_logits(trainer_of(*rows, store=store))
    lost = next(iter(store))
    del store[lost]
    assert torch.equal(CrossFit().teacher_logits(trainer_of(*rows, store=store)), first)
    assert store.saves == 6 and lost in store
    CrossFit(rewiring="magnitude+gradient").teacher_logits(trainer_of(*rows, store=store))
    assert store.saves == 11, "another rewiring is another training"
    assert CrossFit(0.5).teacher_key == CrossFit(1.0).teacher_key != CrossFit(folds=4).teacher_key


def test_classes_that_are_too_small_are_refused_by_units():
    labels = torch.tensor([0] * 8 + [1] * 4)
    with pytest.raises(DataError, match="Class 1 has 4 rows"):
        CrossFit().check_rows(labels, None)
    CrossFit(folds=4).check_rows(labels, None)
    with pytest.raises(DataError, match="Class 0 has 2 rows"):
        CrossFit(folds=4).check_rows(labels, np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.5}, "share must be a finite number in"),
        ({"held_out": 5}, "held_out must lie in"),
        ({"held_out": 0}, "held_out must lie in"),
        ({"rewiring": "set"}, "joined by"),
        ({"rewiring": "sett+random"}, "Unknown drop rule 'sett'"),
        ({"epochs": 0}, "epochs must be"),
        ({"density": 0.0}, "density must lie"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        CrossFit(**options)


def test_without_sub_models_it_is_refused(rows):
    features, labels = rows
    with pytest.raises(UsageError, match="from a teacher"):
        TrainingTask(features, labels, Recipe(objective=CrossFit()), 0)
    with pytest.raises(UsageError, match=r"folds=\.\.\."):
        CrossFit().teacher_logits(
            TeacherTrainer(ModelSpec("mlp", {}, (6,), 3).fresh(0), TrainingTask(*rows, Recipe(), 0))
        )
