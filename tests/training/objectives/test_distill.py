"""Distillation by hand: both softened, T squared, and the labels' part."""

import numpy as np
import pytest
import torch

from safecompress.errors import UsageError
from safecompress.training import Batch, CrossEntropy, Recipe, TeacherTrainer, TrainingTask
from safecompress.training.objectives.distill import Distillation, SplitDistillation, mean_of_unseen

STUDENT = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
TEACHER = np.array([[1.0, 1.0, 0.0], [4.0, -2.0, 0.0]])
LABELS = torch.tensor([0, 1])


def loss_of(objective, student=STUDENT, teacher=TEACHER):
    logits = torch.from_numpy(student)
    return float(objective(logits, Batch(logits, LABELS, teacher_BC=torch.from_numpy(teacher))))


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature, weight", [(4.0, 0.9), (1.0, 0.3), (2.0, 1.0), (7.0, 0.0)])
def test_by_hand(temperature, weight):
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    divergence = (p * np.log(p / q)).sum() / 2
    plain = -(np.log(softmax(STUDENT))[[0, 1], [0, 1]]).sum() / 2
    expected = weight * temperature**2 * divergence + (1 - weight) * plain
    assert loss_of(Distillation(temperature, weight)) == pytest.approx(expected, abs=1e-6)


def test_it_is_zero_where_the_student_says_what_the_teacher_says():
    assert loss_of(Distillation(3.0, 1.0), student=TEACHER + 5) == pytest.approx(0, abs=1e-12)
    assert loss_of(Distillation(3.0, 1.0)) > 0.5


def test_the_gradients_size_hardly_depends_on_a_high_temperature():
    """Hinton et al., section 2.1: at a high temperature it is that of matching centred logits, (z - v) / C a row."""
    sizes = []
    for temperature in (20.0, 100.0):
        logits = torch.from_numpy(STUDENT).requires_grad_()
        Distillation(temperature, 1.0)(logits, Batch(logits, LABELS, teacher_BC=torch.from_numpy(TEACHER))).backward()
        sizes.append(logits.grad.numpy())
    centred = [z - z.mean(1, keepdims=True) for z in (STUDENT, TEACHER)]
    np.testing.assert_allclose(sizes[1], (centred[0] - centred[1]) / 3 / 2, atol=0.02)
    np.testing.assert_allclose(sizes[0], sizes[1], atol=0.1)


def test_from_the_teacher_alone_rows_need_no_label():
    """-1, as rows that nobody has labelled have it, is no class."""
    logits, teacher = torch.from_numpy(STUDENT), torch.from_numpy(TEACHER)
    unlabelled = Batch(logits, torch.tensor([-1, -1]), teacher_BC=teacher)
    assert Distillation(4.0, 1.0)(logits, unlabelled).item() == loss_of(Distillation(4.0, 1.0))


def test_no_gradient_reaches_the_teacher():
    logits, teacher = (torch.from_numpy(z).requires_grad_() for z in (STUDENT, TEACHER))
    Distillation()(logits, Batch(logits, LABELS, teacher_BC=teacher)).backward()
    assert teacher.grad is None and logits.grad.abs().max() > 0.01


def test_without_a_teacher_it_is_refused_before_training_and_in_it():
    with pytest.raises(UsageError, match="from a teacher"):
        TrainingTask(torch.ones(2, 3), LABELS, Recipe(objective=Distillation()), 0)
    logits = torch.from_numpy(STUDENT)
    with pytest.raises(UsageError, match=r"teacher=\.\.\."):
        Distillation()(logits, Batch(logits, LABELS))
    assert CrossEntropy.needs == frozenset() and Distillation.needs == {"teacher"}


# --- split


@pytest.mark.parametrize("num_rows, num_models, held_out", [(60, 5, 2), (61, 5, 2), (7, 4, 3), (40, 2, 1)])
def test_every_row_is_held_out_of_as_many_and_models_miss_rows_alike(num_rows, num_models, held_out):
    split = SplitDistillation(num_models=num_models, held_out=held_out)
    is_out_KN = split.holders_out(num_rows, seed=3)
    assert is_out_KN.shape == (num_models, num_rows)
    assert (is_out_KN.sum(0) == held_out).all()
    missed = is_out_KN.sum(1)
    assert int(missed.max() - missed.min()) <= num_models
    assert not torch.equal(is_out_KN, split.holders_out(num_rows, seed=4))


def test_the_mean_of_those_that_never_saw_a_row_by_hand():
    said = [torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log(), torch.tensor([[0.4, 0.6], [0.9, 0.1]]).log()]
    said.append(torch.tensor([[0.1, 0.9], [0.3, 0.7]]).log() + 5)  # logits: a constant more is nothing
    is_out_KN = torch.tensor([[True, False], [True, False], [False, True]])
    expected = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    assert torch.allclose(mean_of_unseen(said, is_out_KN).exp(), expected, atol=1e-6)


def rows_of(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, 5, generator=generator), torch.randint(3, (num_rows,), generator=generator)


class Asked:
    """A way of training that notes the rows it is given, and answers with the weights it started from."""

    def __init__(self):
        self.courses = []

    def __call__(self, model, course):
        self.courses.append(course)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_no_row_is_taught_by_a_model_that_saw_it():
    features, labels = rows_of(30)
    asked, split = Asked(), SplitDistillation(num_models=4, held_out=1)
    school = TeacherTrainer(
        torch.nn.Linear(5, 3), TrainingTask(features, labels, Recipe(epochs=2, batch_size=8), 7), train=asked
    )
    split.teacher_logits(school)
    is_out_KN = split.holders_out(30, seed=7)
    assert len(asked.courses) == 4
    for is_out_N, course in zip(is_out_KN, asked.courses, strict=True):
        assert torch.equal(course.features, features[~is_out_N])
        assert torch.equal(course.labels, labels[~is_out_N])
    assert len({course.seed for course in asked.courses}) == 4


@pytest.mark.slow
def test_of_noise_a_split_teacher_knows_nothing_and_a_dense_one_everything():
    """The claim: what it says of members is what it would say of anybody."""
    features, labels = rows_of(90)
    recipe = Recipe(epochs=150, batch_size=30, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 128), torch.nn.ReLU(), torch.nn.Linear(128, 3))
    school = TeacherTrainer(model, TrainingTask(features, labels, recipe, 0))
    right = {
        objective: float((objective.teacher_logits(school).argmax(1) == labels).double().mean())
        for objective in (Distillation(), SplitDistillation(num_models=3, held_out=1))
    }
    assert right[Distillation()] > 0.9
    assert right[SplitDistillation(num_models=3, held_out=1)] < 0.5


@pytest.mark.parametrize("options", [{"held_out": 0}, {"held_out": 5}, {"num_models": 1}])
def test_a_split_without_a_fair_teacher_is_refused(options):
    with pytest.raises(UsageError, match=r"held_out must lie in \[1, num_models - 1\]"):
        SplitDistillation(**options)
