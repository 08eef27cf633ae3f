"""Soft labels by hand: how much the truth keeps, and the losses against it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safecompress.training import Batch, CrossEntropy
from safecompress.training.objectives.soft_labels import HighEntropyLabels, LabelSmoothing, top_probability

P = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
LABELS = [0, 2]


def loss_of(objective, p=P, labels=LABELS):
    logits = torch.from_numpy(np.log(p)) + 4.0
    return float(objective(logits, Batch(logits, torch.tensor(labels))))


def entropy(q, num_classes):
    rest = (1 - q) / (num_classes - 1)
    return -q * math.log(q) - (num_classes - 1) * rest * math.log(rest)


def test_label_smoothing_by_hand():
    """0.9 of the truth and 0.1 / 3 of every class."""
    logs = np.log(P)
    expected = -(0.9 * (logs[0, 0] + logs[1, 2]) + 0.1 / 3 * logs.sum()) / 2
    assert loss_of(LabelSmoothing()) == pytest.approx(expected, abs=1e-6)
    assert loss_of(LabelSmoothing(0.0)) == pytest.approx(loss_of(CrossEntropy()), abs=1e-12)


def test_what_the_truth_keeps():
    """Half of a bit is the entropy of a coin that falls 0.889972 one way; the other labels are chosen by their q."""
    assert top_probability(0.5, 2) == pytest.approx(0.889972, abs=1e-6)
    for num_classes, top in ((2, 0.9), (4, 0.7), (30, 0.1)):
        assert top_probability(entropy(top, num_classes) / math.log(num_classes), num_classes) == pytest.approx(top)


@given(st.floats(0.01, 0.99), st.integers(2, 1000))
def test_labels_have_the_entropy_asked_for_and_the_truth_leads(share, num_classes):
    top = top_probability(share, num_classes)
    assert 1 / num_classes < top < 1
    assert entropy(top, num_classes) == pytest.approx(share * math.log(num_classes), rel=1e-9)


def test_high_entropy_labels_by_hand():
    """KL of the labels to P, less 0.01 of the mean entropy."""
    top = top_probability(0.8, 3)
    soft = np.full((2, 3), (1 - top) / 2)
    soft[[0, 1], LABELS] = top
    divergence = (soft * np.log(soft / P)).sum() / 2
    mean_entropy = -(P * np.log(P)).sum() / 2
    assert loss_of(HighEntropyLabels()) == pytest.approx(divergence - 0.01 * mean_entropy, abs=1e-6)
    assert loss_of(HighEntropyLabels(0.8, 0.0)) == pytest.approx(divergence, abs=1e-6)


def test_the_loss_is_zero_where_the_model_says_the_label_and_nowhere_less():
    top = top_probability(0.6, 3)
    soft = np.array([[top, (1 - top) / 2, (1 - top) / 2]])
    assert loss_of(HighEntropyLabels(0.6, 0.0), soft, [0]) == pytest.approx(0, abs=1e-12)
    for change in ([0.01, -0.01, 0], [-0.01, 0.005, 0.005], [0, 0.01, -0.01]):
        assert loss_of(HighEntropyLabels(0.6, 0.0), soft + change, [0]) > 1e-5
