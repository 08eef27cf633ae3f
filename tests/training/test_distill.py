"""Distillation by hand: both softened, T squared, and the labels' part."""

import numpy as np
import pytest
import torch

from safecompress.errors import UsageError
from safecompress.training import Batch, Course, CrossEntropy, Recipe
from safecompress.training.distill import Distillation

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
    with pytest.raises(UsageError, match="learns from a teacher"):
        Course(torch.ones(2, 3), LABELS, Recipe(objective=Distillation()), 0)
    logits = torch.from_numpy(STUDENT)
    with pytest.raises(UsageError, match=r"teacher=\.\.\."):
        Distillation()(logits, Batch(logits, LABELS))
    assert CrossEntropy.needs == frozenset() and Distillation.needs == {"teacher"}
