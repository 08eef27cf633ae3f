"""The entropy terms by hand, their signs, their bounds, and what they do without errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safecompress.training import Batch, CrossEntropy
from safecompress.training.objectives.regularisers import (
    ConfidencePenalty,
    ErrorEntropy,
    ErrorUniform,
    ThresholdedEntropy,
    entropy_of,
)

P = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
LABELS = [0, 2, 2]  # the second row is wrong: it says 1
CE = -(math.log(0.7) + math.log(0.3) + math.log(0.8)) / 3
H = [0.8018185525433373, 1.0296530140645737, 0.639031859650177]  # -sum p log p, row by row


def loss_of(objective, p=P, labels=LABELS):
    logits = torch.from_numpy(np.log(p)) + torch.tensor([5.0, -3.0, 0.5]).double()[: len(p), None]
    return float(objective(logits, Batch(logits, torch.tensor(labels))))


def test_the_entropies_used_here():
    np.testing.assert_allclose(H, -(P * np.log(P)).sum(1), atol=1e-12)
    np.testing.assert_allclose(entropy_of(torch.from_numpy(np.log(P))), H, atol=1e-12)
    assert loss_of(CrossEntropy()) == pytest.approx(CE, abs=1e-12)


@pytest.mark.parametrize(
    "objective, expected",
    [
        (ConfidencePenalty(), CE - 0.1 * sum(H) / 3),
        (ConfidencePenalty(weight=2.0), CE - 2 * sum(H) / 3),
        (ThresholdedEntropy(), CE),  # all rows have more than 0.5 nats
        (ThresholdedEntropy(threshold=0.7), CE + 0.1 * (0.7 - H[2]) / 3),
        (ThresholdedEntropy(weight=3.0, threshold=1.0), CE + 3 * (2 - H[0] - H[2]) / 3),
        (ErrorEntropy(), CE - 0.08 * H[1]),
        (ErrorUniform(), CE + 0.1 * (math.log(3) - H[1])),
    ],
)
def test_by_hand(objective, expected):
    assert loss_of(objective) == pytest.approx(expected, abs=1e-6)


def test_error_terms_are_the_mean_over_wrong_rows_only():
    """Labels 0, 2, 0: the second and the third row are wrong."""
    plain = -(math.log(0.7) + math.log(0.3) + math.log(0.1)) / 3
    assert loss_of(ErrorEntropy(), labels=[0, 2, 0]) == pytest.approx(plain - 0.08 * (H[1] + H[2]) / 2, abs=1e-6)
    uniform = plain + 0.1 * (math.log(3) - (H[1] + H[2]) / 2)
    assert loss_of(ErrorUniform(), labels=[0, 2, 0]) == pytest.approx(uniform, abs=1e-6)


@pytest.mark.parametrize("objective", [ErrorEntropy(weight=5.0), ErrorUniform(weight=5.0)])
def test_without_errors_loss_and_gradient_are_cross_entropys(objective):
    gradients = []
    for one in (objective, CrossEntropy()):
        logits = torch.from_numpy(np.log(P)).requires_grad_()
        loss = one(logits, Batch(logits, torch.tensor([0, 1, 2])))
        loss.backward()
        gradients.append((float(loss.detach()), logits.grad.numpy()))
    np.testing.assert_allclose(gradients[0][1], gradients[1][1], atol=1e-15)
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-15)


@pytest.mark.parametrize(
    "objective", [ConfidencePenalty(5.0), ThresholdedEntropy(5.0, 1.09), ErrorEntropy(5.0), ErrorUniform(5.0)]
)
def test_a_step_down_the_loss_makes_a_wrong_row_less_sure(objective):
    """The sign: with the other one it would get surer. Cross entropy's own part is left out."""
    logits = torch.tensor([[3.0, 0.0, -1.0]]).requires_grad_()
    batch = Batch(logits, torch.tensor([1]))
    (objective(logits, batch) - CrossEntropy()(logits, batch)).backward()
    before, after = (entropy_of(z.log_softmax(1)).item() for z in (logits.detach(), logits.detach() - logits.grad))
    assert after > before + 0.05


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), st.integers(0, 2))
def test_terms_are_bounded_by_their_weight_times_log_c(row, label):
    """However sure of the wrong class: one row cannot outweigh the rest."""
    logits = torch.tensor([row], dtype=torch.float64)
    batch = Batch(logits, torch.tensor([label]))
    plain = CrossEntropy()(logits, batch).item()
    for objective in (
        ConfidencePenalty(1.0),
        ThresholdedEntropy(1.0, math.log(3)),
        ErrorEntropy(1.0),
        ErrorUniform(1.0),
    ):
        assert abs(objective(logits, batch).item() - plain) <= math.log(3) + 1e-9 + 1e-12 * plain


def test_the_uniform_term_is_zero_at_uniform_and_log_c_at_certainty():
    nearly_uniform = np.array([[1 / 3 + 1e-9, 1 / 3, 1 / 3 - 1e-9]])
    certain = np.array([[1 - 2e-12, 1e-12, 1e-12]])
    for p, term in ((nearly_uniform, 0.0), (certain, math.log(3))):
        added = loss_of(ErrorUniform(1.0), p, [1]) - loss_of(CrossEntropy(), p, [1])
        assert added == pytest.approx(term, abs=1e-6)


def test_both_error_terms_pull_alike():
    """They differ by a constant: log C for each batch with errors."""
    gradients = []
    for objective in (ErrorEntropy(0.3), ErrorUniform(0.3)):
        logits = torch.from_numpy(np.log(P)).requires_grad_()
        objective(logits, Batch(logits, torch.tensor(LABELS))).backward()
        gradients.append(logits.grad.numpy())
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-15)
