"""Logits in evaluation mode, batch norm after a cut, and accuracy with its interval."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from torch import nn

from safecompress.metrics.measurement import Direction, Levels
from safecompress.seeding import seeded
from safecompress.training import classified_right, measure_accuracy, predict_logits, reestimate_batch_norm_

with seeded(0, "rows"):
    ROWS = torch.randn(512, 6) * 3 + 1


def net(dropout=0.5):
    with seeded(0, "net"):
        return nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(8, 4),
            nn.BatchNorm1d(4),
            nn.Linear(4, 3),
        )


def modes(model):
    return [module.training for module in model.modules()]


def buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def test_logits_are_those_of_evaluation_mode_whatever_the_batches():
    model = net().train()
    expected = net().eval()(ROWS).detach()
    for batch_size in (1, 100, 512, 9999):
        logits = predict_logits(model, ROWS, batch_size=batch_size)
        assert logits.shape == (512, 3) and not logits.requires_grad
        assert torch.allclose(logits, expected, atol=1e-5)
    assert predict_logits(model, ROWS[:0]).shape == (0, 3)


def test_predicting_changes_nothing_and_every_module_keeps_its_mode():
    model = net().train()
    model[1].eval()  # a frozen batch norm
    before, was = modes(model), buffers(model)
    predict_logits(model, ROWS)
    assert modes(model) == before and all(torch.equal(b, was[n]) for n, b in model.named_buffers())
    model.eval()
    predict_logits(model, ROWS)
    assert not any(modes(model))


def test_modes_come_back_when_the_model_fails():
    model = net().train()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        predict_logits(model, ROWS[:, :4])
    assert all(modes(model))


def test_reestimated_statistics_are_those_of_the_rows():
    model = net().eval()
    for norm in (model[1], model[5]):
        norm.running_mean.fill_(99)
        norm.running_var.fill_(99)
        norm.num_batches_tracked.fill_(50)
    reestimate_batch_norm_(model, ROWS, batch_size=128)
    with torch.no_grad():
        hidden = model[0](ROWS)
        assert torch.allclose(model[1].running_mean, hidden.mean(0), atol=1e-4)  # four equal batches: exactly the mean
        assert torch.allclose(model[1].running_var, hidden.var(0), rtol=0.05)
        # deeper layers see batch statistics above them, so they agree only about
        deep = model[4](model[3](model[2](model[1](hidden))))
        assert torch.allclose(model[5].running_mean, deep.mean(0), atol=0.1)
        assert torch.allclose(model[5].running_var, deep.var(0), rtol=0.15)
    assert model[1].num_batches_tracked == 4


def test_one_batch_gives_its_own_statistics():
    model = net()
    reestimate_batch_norm_(model, ROWS, batch_size=512)
    with torch.no_grad():
        assert torch.allclose(model[1].running_var, model[0](ROWS).var(0), rtol=1e-4)


@pytest.mark.parametrize("is_training", [False, True])
def test_reestimating_draws_nothing_and_restores_modes_and_momenta(is_training):
    results = []
    for seed in (1, 2):
        model = net().train(is_training)
        model[1].momentum = 0.3
        weights = [p.detach().clone() for p in model.parameters()]
        before = modes(model)
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        reestimate_batch_norm_(model, ROWS)
        assert torch.equal(torch.get_rng_state(), state)
        assert modes(model) == before
        assert (model[1].momentum, model[5].momentum) == (0.3, 0.1)
        assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
        results.append(buffers(model))
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


def test_a_last_batch_of_one_row_is_left_out_and_a_net_without_batch_norm_is_not_run():
    model = net()
    reestimate_batch_norm_(model, ROWS[:129], batch_size=128)
    assert model[1].num_batches_tracked == 1

    class NeverRun(nn.Module):
        def forward(self, x):
            raise AssertionError("there is nothing to re-estimate")

    reestimate_batch_norm_(nn.Sequential(nn.Linear(6, 2), NeverRun()), ROWS)
    untracked = nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), NeverRun())
    reestimate_batch_norm_(untracked, ROWS)


def test_accuracy_by_hand():
    measured = measure_accuracy(np.array([True] * 8 + [False] * 2), Levels(alpha=0.05, num_figures=5))
    assert (measured.name, measured.value, measured.num_samples) == ("accuracy", 0.8, 10)
    assert measured.direction is Direction.HIGHER
    for interval, alpha in ((measured.interval, 0.05), (measured.simultaneous, 0.01)):
        assert interval.low == pytest.approx(scipy_stats.beta.ppf(alpha / 2, 8, 3))
        assert interval.high == pytest.approx(scipy_stats.beta.ppf(1 - alpha / 2, 9, 2))
        assert interval.confidence == pytest.approx(1 - alpha)
    assert measured.interval.low == pytest.approx(0.4439, abs=1e-4)  # the textbook's 8 of 10


def test_rows_classified_right_by_hand():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data.copy_(torch.eye(2))
    features = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0]])
    assert classified_right(model, features, torch.tensor([0, 0, 0])).tolist() == [True, False, True]
