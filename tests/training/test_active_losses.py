"""Losses and gradients by formula: what PyTorch's differentiation gives, for the class itself and no subclass."""

import pytest
import torch

from safecompress.errors import UsageError
from safecompress.seeding import seeded
from safecompress.training.active import losses
from safecompress.training.active.losses import loss_and_gradient
from safecompress.training.objectives.base import Batch, CrossEntropy
from safecompress.training.objectives.cross_fit import CrossFit
from safecompress.training.objectives.distill import Distillation

OBJECTIVES = [CrossEntropy(), CrossFit(share=1.0), CrossFit(share=0.6), CrossFit(share=0.0), Distillation()]


def batch_of(size=7, classes=4):
    with seeded(0, "batch"):
        logits = 5 * torch.randn(size, classes)
        batch = Batch(torch.randn(size, 2), torch.randint(classes, (size,)), teacher_BC=3 * torch.randn(size, classes))
    return logits, batch


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_it_is_what_differentiation_gives(objective, size):
    logits, batch = batch_of(size)
    teacher, before = batch.teacher_BC.clone(), logits.clone()
    variable = logits.double().requires_grad_()
    loss = objective(variable, batch)
    loss.backward()
    found, gradient = loss_and_gradient(objective, logits, batch)
    torch.testing.assert_close(found.double(), loss.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), variable.grad, rtol=1e-5, atol=1e-7)
    assert not found.requires_grad and not gradient.requires_grad
    assert torch.equal(logits, before) and torch.equal(batch.teacher_BC, teacher)


def test_by_hand():
    batch = Batch(torch.zeros(2, 1), torch.tensor([0, 1]))
    loss, gradient = loss_and_gradient(CrossEntropy(), torch.tensor([[0.0, 0.0], [0.0, 2.0]]).log1p(), batch)
    # softmax (1/2, 1/2) and (1/4, 3/4); losses log 2 and log 4/3
    torch.testing.assert_close(loss, torch.tensor([2.0, 4 / 3]).log().mean())
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, 0.25], [0.125, -0.125]]))


def test_a_subclass_with_another_loss_is_differentiated():
    class Halved(CrossEntropy):
        def __call__(self, logits_BC, batch):
            return super().__call__(logits_BC, batch) / 2

    logits, batch = batch_of()
    loss, gradient = loss_and_gradient(Halved(), logits, batch)
    whole, of_whole = loss_and_gradient(CrossEntropy(), logits, batch)
    torch.testing.assert_close(loss, whole / 2)
    torch.testing.assert_close(gradient, of_whole / 2)


def test_known_formulas_are_taken(monkeypatch):
    def refuse(*given):
        raise AssertionError("differentiated")

    monkeypatch.setattr(losses, "_differentiated", refuse)
    logits, batch = batch_of()
    for objective in OBJECTIVES[:4]:
        loss_and_gradient(objective, logits, batch)
    with pytest.raises(AssertionError, match="differentiated"):
        loss_and_gradient(Distillation(), logits, batch)


def test_cross_fit_without_a_teacher_is_refused():
    logits, batch = batch_of()
    with pytest.raises(UsageError, match="sub-models' logits"):
        loss_and_gradient(CrossFit(), logits, Batch(batch.features, batch.labels_B))
