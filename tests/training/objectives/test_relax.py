"""RelaxLoss by hand: above its target, and under it in even and in odd epochs."""

import numpy as np
import pytest
import torch

from safecompress.training import Batch, CrossEntropy
from safecompress.training.objectives.relax import RelaxLoss

P = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
LABELS = torch.tensor([0, 2])
CE = -(np.log(0.7) + np.log(0.3)) / 2  # 0.78
FLAT = np.array([[0.7, 0.15, 0.15], [0.35, 0.35, 0.3]])


def value_and_gradient(objective, epoch, p=P):
    logits = (torch.from_numpy(np.log(p)) + 2.0).requires_grad_()
    loss = objective(logits, Batch(logits, LABELS, epoch))
    loss.backward()
    return loss.item(), logits.grad.numpy()


@pytest.mark.parametrize("epoch", [0, 1, 6, 7])
def test_above_the_target_it_is_cross_entropy(epoch):
    value, gradient = value_and_gradient(RelaxLoss(0.5), epoch)
    _, plain = value_and_gradient(CrossEntropy(), epoch)
    assert value == pytest.approx(CE - 0.5 if epoch % 2 == 0 else CE, abs=1e-6)
    np.testing.assert_allclose(gradient, plain, atol=1e-12)


@pytest.mark.parametrize("epoch", [0, 2, 8])
def test_under_the_target_even_epochs_climb(epoch):
    value, gradient = value_and_gradient(RelaxLoss(1.0), epoch)
    _, plain = value_and_gradient(CrossEntropy(), epoch)
    assert value == pytest.approx(1.0 - CE, abs=1e-6)
    np.testing.assert_allclose(gradient, -plain, atol=1e-12)


@pytest.mark.parametrize("epoch", [1, 3, 9])
def test_under_the_target_odd_epochs_flatten(epoch):
    """Cross entropy against FLAT, which is held still: the gradient of a row is (p - flat) / B."""
    value, gradient = value_and_gradient(RelaxLoss(1.0), epoch)
    assert value == pytest.approx(-(FLAT * np.log(P)).sum() / 2, abs=1e-6)
    np.testing.assert_allclose(gradient, (P - FLAT) / 2, atol=1e-12)
    np.testing.assert_allclose(gradient[[0, 1], LABELS], 0, atol=1e-12)


def test_flattening_ends_with_equal_rivals_and_hardly_moves_the_truth():
    logits = torch.from_numpy(np.log(P[:1]))
    for _ in range(300):
        logits.requires_grad_()
        loss = RelaxLoss(9.0)(logits, Batch(logits, LABELS[:1], 1))
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 0.5 * gradient).detach()
    p = logits.softmax(1)[0].tolist()
    assert p[1] == pytest.approx(p[2], abs=1e-6)
    assert p[0] == pytest.approx(0.7, abs=0.02)
