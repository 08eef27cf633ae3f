"""Posterior balancing: its loss by hand, its gradient, and that it makes sorted posteriors alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_setting import Watched, same_weights, setting_of
from torch.nn.functional import cross_entropy

from safecompress.baselines.balancing import Balanced, PosteriorBalancing
from safecompress.baselines.pruning import OneShot
from safecompress.errors import UsageError
from safecompress.training import Batch


def batch_of(labels):
    return Batch(torch.zeros(len(labels), 1), torch.tensor(labels))


def test_the_loss_by_hand():
    """p_a = (.2, .7, .1) sorted (.7, .2, .1); p_b = (.5, .1, .4) sorted (.5, .4, .1). The fifth row has no partner."""
    p = torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.1, 0.3, 0.6], [0.98, 0.01, 0.01]])
    labels = [1, 0, 0, 2, 0]
    kl = 0.5 * math.log(0.5 / 0.7) + 0.4 * math.log(0.4 / 0.2)  # KL(b || a); rows 2 and 4 are alike when sorted
    ce = -np.mean(np.log([0.7, 0.6, 0.5, 0.6, 0.98]))
    loss = PosteriorBalancing(weight=2.0)(p.double().log() + 3, batch_of(labels))
    assert float(loss) == pytest.approx(ce + 2 * kl / 2, abs=1e-6)
    assert kl == pytest.approx(0.1090226, abs=1e-6)


def test_without_a_pair_or_weight_it_is_the_cross_entropy():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    one = PosteriorBalancing()(logits[:1], batch_of([2]))
    assert one == cross_entropy(logits[:1], torch.tensor([2]))
    assert PosteriorBalancing(0.0)(logits, batch_of([0, 1, 2, 0])) == cross_entropy(logits, torch.tensor([0, 1, 2, 0]))


def test_the_gradient_is_that_of_the_loss_and_both_rows_get_one():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    batch = batch_of([0, 1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda z: PosteriorBalancing()(z, batch), logits)
    extra = PosteriorBalancing(1.0)(logits, batch) - PosteriorBalancing(0.0)(logits, batch)
    (gradient,) = torch.autograd.grad(extra, logits)
    assert (gradient[:4].abs().sum(1) > 1e-3).all() and gradient[4].abs().max() < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3), min_size=1, max_size=7))
def test_finite_for_any_logits(rows):
    logits = torch.tensor(rows).requires_grad_()
    loss = PosteriorBalancing()(logits, batch_of([0] * len(rows)))
    loss.backward()
    assert math.isfinite(loss.item()) and loss >= -1e-6 and torch.isfinite(logits.grad).all()


def spread(made, setting):
    """How far apart the members' largest log-probabilities are."""
    logits = setting.logits(dict(made.weights), setting.split.part("train")[0])
    return float(logits.log_softmax(1).max(1).values.std())


def test_it_makes_sorted_posteriors_alike():
    setting = setting_of()
    assert spread(Balanced(weight=20.0).make(setting), setting) < 0.5 * spread(OneShot().make(setting), setting)


def test_it_tunes_what_one_shot_pruning_cuts(monkeypatch):
    setting = setting_of()
    watched = Watched(monkeypatch)
    made = Balanced(weight=3.0).make(setting)
    assert [course.recipe.objective for course in watched.courses][-1] == PosteriorBalancing(3.0)
    assert same_weights(made.pattern.masks, OneShot().make(setting).pattern.masks)
    assert not same_weights(dict(made.weights), dict(OneShot().make(setting).weights))


def test_a_negative_weight_is_refused():
    with pytest.raises(UsageError, match=r"weight.*got -1"):
        Balanced(weight=-1)
