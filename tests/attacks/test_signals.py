"""Signals by hand, against slow oracles in many digits, and at the ends where floating point saturates."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from safecompress.attacks import Signals
from safecompress.attacks.signals import modified_entropy
from safecompress.errors import AttackError


def signals(logits, labels):
    return Signals(np.array(logits, dtype=np.float64), np.array(labels, dtype=np.int64))


def mentr(probs, label):
    with np.errstate(divide="ignore"):
        return modified_entropy(np.log(np.array([probs], dtype=np.float64)), np.array([label]))[0]


@pytest.mark.parametrize(
    ("probs", "label", "expected"),
    [([0.7, 0.2, 0.1], 0, 0.16216725), ([1 / 3] * 3, 1, 1.00271826), ([1.0, 0.0, 0.0], 0, 0.0)],
)
def test_modified_entropy_of_the_method(probs, label, expected):
    assert mentr(probs, label) == pytest.approx(expected, abs=5e-9)


def test_modified_entropy_of_a_certain_wrong_answer_is_large_and_finite():
    assert 1e4 < mentr([1.0, 0.0, 0.0], 1) < np.inf


def test_three_classes_by_hand():
    """Probabilities .7, .2, .1 and label 0."""
    given_row = signals(np.log([[0.7, 0.2, 0.1]]) + 5, [0])
    assert given_row.scaled_logit_N[0] == pytest.approx(np.log(0.7 / 0.3))
    assert given_row.loss_N[0] == pytest.approx(-np.log(0.7))
    assert given_row.top_margin_N[0] == pytest.approx(np.log(0.7 / 0.3))
    assert given_row.entropy_N[0] == pytest.approx(-(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)))
    assert given_row.modified_entropy_N[0] == pytest.approx(0.16216725, abs=5e-9)
    assert given_row.log_probs_NC[0] == pytest.approx(np.log([0.7, 0.2, 0.1]))
    assert given_row.is_correct_N.tolist() == [True]


def test_the_label_decides_where_it_should():
    rows = signals(np.log([[0.7, 0.2, 0.1]] * 3), [0, 1, 2])
    assert rows.scaled_logit_N == pytest.approx([np.log(0.7 / 0.3), np.log(0.2 / 0.8), np.log(0.1 / 0.9)])
    assert np.ptp(rows.top_margin_N) == np.ptp(rows.entropy_N) == 0
    assert (np.diff(rows.modified_entropy_N) > 0).all()
    assert rows.is_correct_N.tolist() == [True, False, False]


LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-20, 20, width=32))
LABELS = arrays(np.int64, 5, elements=st.integers(0, 3))


@given(LOGITS, LABELS)
def test_signals_agree_with_slow_formulas(logits, labels):
    found, probs, rows = signals(logits, labels), softmax(logits, axis=1), np.arange(5)
    right = probs[rows, labels]
    others = np.where(np.arange(4) == labels[:, None], 0.0, probs)
    assert found.log_probs_NC == pytest.approx(log_softmax(logits, axis=1), rel=1e-9, abs=1e-12)
    assert found.loss_N == pytest.approx(-log_softmax(logits, axis=1)[rows, labels], rel=1e-9, abs=1e-12)
    assert found.scaled_logit_N == pytest.approx(np.log(right) - np.log(others.sum(axis=1)), rel=1e-9, abs=1e-9)
    assert found.entropy_N == pytest.approx(entropy(probs, axis=1), rel=1e-9, abs=1e-12)
    top = probs.argmax(axis=1)
    not_top = np.where(np.arange(4) == top[:, None], 0.0, probs).sum(axis=1)
    assert found.top_margin_N == pytest.approx(np.log(probs.max(axis=1)) - np.log(not_top), rel=1e-9, abs=1e-9)


@given(LOGITS, LABELS)
def test_modified_entropy_agrees_with_fifty_digits(logits, labels):
    for row, label, found in zip(logits, labels, signals(logits, labels).modified_entropy_N, strict=True):
        assert found == pytest.approx(float(slow_modified_entropy(row, int(label))), rel=1e-9)


def slow_modified_entropy(logits, label):
    getcontext().prec = 60
    powers = [Decimal(float(z)).exp() for z in logits]
    probs = [power / sum(powers) for power in powers]
    terms = [p * (1 - p).ln() for j, p in enumerate(probs) if j != label]
    return -(1 - probs[label]) * probs[label].ln() - sum(terms)


def test_logits_of_ten_thousand():
    rows = signals([[1e4, 0, -1e4], [1e4, 0, -1e4], [-1e4, 1e4, 1e4]], [0, 2, 0])
    assert rows.scaled_logit_N == pytest.approx([1e4, -2e4, -2e4 - np.log(2)])
    assert rows.loss_N == pytest.approx([0, 2e4, 2e4 + np.log(2)])
    assert rows.entropy_N == pytest.approx([0, 0, np.log(2)])
    assert rows.top_margin_N == pytest.approx([1e4, 1e4, 0], abs=1e-9)
    assert rows.modified_entropy_N[0] == 0
    assert rows.modified_entropy_N[1] > 2e4


def test_confident_rows_do_not_tie():
    """Past a margin of 37 the probability rounds to 1; the more certain row is still the more certain one."""
    margins = np.arange(20.0, 300.0, 5.0)
    rows = signals(np.stack([margins, np.zeros_like(margins), -np.ones_like(margins)], axis=1), [0] * len(margins))
    for rising in (rows.scaled_logit_N, rows.top_margin_N, -rows.loss_N, -rows.entropy_N, -rows.modified_entropy_N):
        assert (np.diff(rising) > 0).all()


def test_two_classes_and_the_largest_float32():
    largest = float(np.finfo(np.float32).max)
    rows = signals([[largest, -largest], [largest, -largest]], [0, 1])
    for values in (rows.scaled_logit_N, rows.loss_N, rows.entropy_N, rows.modified_entropy_N, rows.top_margin_N):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_an_error(broken):
    with pytest.raises(AttackError, match="not finite numbers for 1 of 2 rows"):
        signals([[0.0, 1.0], [broken, broken]], [0, 1])


def test_signals_print_neither_logits_nor_labels():
    assert repr(signals([[0.123, 4.567]], [1])) == "Signals()"
