"""Mixup: what the mixed rows, their labels and their loss are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safecompress.errors import UsageError
from safecompress.training import Batch, CrossEntropy
from safecompress.training.objectives.mixing import Mixup

P = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])


def mixed(seed, alpha=0.4, rows=7, shape=(7,)):
    """Rows that are each a unit vector, and labels that are their numbers: a mixed row says what went into it."""
    torch.manual_seed(seed)
    return Mixup(alpha).mix(Batch(torch.eye(rows).reshape(rows, *shape), torch.arange(rows)))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (7, 1, 1)])
def test_features_are_convex_combinations_of_a_row_and_its_partner(shape):
    batch = mixed(1, shape=shape)
    assert 0 < batch.share < 1
    expected = torch.zeros(7, 7)
    for row, partner in enumerate(batch.partner_B.tolist()):
        expected[row, row] += batch.share
        expected[row, partner] += 1 - batch.share
    torch.testing.assert_close(batch.features, expected.reshape(7, *shape))
    assert batch.labels_B.tolist() == list(range(7))
    assert sorted(batch.partner_B.tolist()) == list(range(7)) and batch.partner_B.tolist() != list(range(7))


def test_everything_else_stays():
    features, teacher = torch.randn(3, 2), torch.randn(3, 4)
    before = Batch(features, torch.tensor([0, 1, 3]), 5, 0.25, teacher)
    copy = features.clone()
    after = Mixup().mix(before)
    assert (after.epoch, after.progress) == (5, 0.25)
    assert after.teacher_BC is teacher and after.labels_B is before.labels_B
    assert torch.equal(features, copy) and before.partner_B is None


def test_the_loss_by_hand():
    """A quarter of the partner's label."""
    logits = torch.from_numpy(np.log(P)) - 1.0
    batch = Batch(logits, torch.tensor([0, 1]), partner_B=torch.tensor([1, 2]), share=0.75)
    expected = -(0.75 * (np.log(0.7) + np.log(0.5)) + 0.25 * (np.log(0.2) + np.log(0.3))) / 2
    assert Mixup()(logits, batch).item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_that_is_not_mixed_costs_its_cross_entropy():
    logits = torch.from_numpy(np.log(P))
    batch = Batch(logits, torch.tensor([0, 1]))
    assert Mixup()(logits, batch).item() == pytest.approx(CrossEntropy()(logits, batch).item(), abs=1e-12)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_generator_decides_what_is_mixed(seed):
    first, again = mixed(seed), mixed(seed)
    assert first.share == again.share and torch.equal(first.features, again.features)
    assert first.share != mixed(seed + 1).share


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_drawn_from_beta(alpha):
    torch.manual_seed(0)
    batch = Batch(torch.eye(2), torch.arange(2))
    shares = [Mixup(alpha).mix(batch).share for _ in range(600)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.slow
def test_partners_are_drawn_evenly():
    """Every row meets every row, itself among them, about as often: 400 / 4, chi-square with 9 degrees of freedom."""
    counts = np.zeros((4, 4))
    for seed in range(400):
        counts[np.arange(4), mixed(seed, rows=4, shape=(4,)).partner_B.numpy()] += 1
    assert stats.chi2.sf(((counts - 100) ** 2 / 100).sum(), 9) > 0.001


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_features_that_are_no_real_numbers_are_refused(dtype):
    with pytest.raises(UsageError, match="real numbers"):
        Mixup().mix(Batch(torch.ones(3, 2, dtype=dtype), torch.arange(3)))
