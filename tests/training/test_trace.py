"""The loss trace keeps what each step saw, changes no bit of the training, and survives segments and resumes."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.data import digits
from safecompress.digests import digest_tensors
from safecompress.errors import TrainingError, UsageError
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern
from safecompress.training import LossTrace, Recipe, TrainingState, TrainingTask, Watch, train

with seeded(0, "data"):
    FEATURES = torch.randn(45, 10)
    LABELS = (FEATURES @ torch.randn(10, 3)).argmax(1)

RECIPES = {
    "sgd": Recipe(epochs=9, batch_size=12, learning_rate=0.05),
    "adam": Recipe(epochs=9, batch_size=12, learning_rate=0.01, optimizer="adam"),
}
PER_EPOCH, TOTAL = 4, 36


def course(name="sgd"):
    return TrainingTask(FEATURES, LABELS, RECIPES[name], 0)


def net(seed=0, dropout=0.3):
    with seeded(seed, "net"):
        return nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def start():
    return TrainingState.capture(0, net())


@functools.cache
def uninterrupted():
    trace = LossTrace(45, 9)
    train(net(), start(), course(), until=TOTAL, watch=Watch(trace=trace))
    return trace.to_tensor()


# --- what it changes: nothing


@pytest.mark.slow
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_training_with_a_trace_ends_in_the_same_bits(name, is_sparse):
    pattern = None
    if is_sparse:
        pattern = initial_pattern(find_maskable(net()), 0.4, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    digests = set()
    for trace in (None, LossTrace(45, 9)):
        state = train(
            net(),
            start(),
            course(name),
            until=TOTAL,
            pattern=pattern,
            keep_momentum=is_sparse,
            watch=Watch(trace=trace),
        )
        digests.add(digest_tensors(state.to_tensors()))
    assert len(digests) == 1


def test_no_forward_pass_is_added():
    calls = []
    for trace in (None, LossTrace(45, 9)):
        model = net()
        model.register_forward_hook(lambda *_: calls.append(1))
        train(model, start(), course(), until=10, watch=Watch(trace=trace))
        assert len(calls) == 10
        calls.clear()


def test_the_trace_holds_on_to_no_graph():
    """Logits that wait keep no activations alive; the losses need no gradient."""
    trace = LossTrace(45, 9)
    train(net(), start(), course(), until=3, watch=Watch(trace=trace))
    assert [logits.grad_fn for _, _, logits, _ in trace._pending] == [None] * 3
    assert not trace.to_tensor().requires_grad


def test_few_batches_of_logits_wait_at_a_time():
    """C numbers a row are kept for a handful of batches, one number for the rest."""
    trace, waiting = LossTrace(45, 50), []
    record = trace.record
    trace.record = lambda *what: (record(*what), waiting.append(len(trace._pending)))
    train(
        net(),
        start(),
        TrainingTask(FEATURES, LABELS, Recipe(epochs=50, batch_size=12), 0),
        until=200,
        watch=Watch(trace=trace),
    )
    assert max(waiting) < 64
    assert waiting.count(0) >= 200 // 64


# --- what it holds


@pytest.mark.slow
@pytest.mark.parametrize("until", [3, 4, 10, 33, 36])
def test_each_loss_is_the_one_that_the_rows_own_step_saw(until):
    """Oracle: train step by step, and ask before each step, in training mode and with the step's own chance."""
    trace = LossTrace(45, 9)
    train(net(dropout=0.0), start(), course(), until=until, watch=Watch(trace=trace))
    expected, state = torch.full((45, 9), torch.nan), start()
    for step in range(until):
        epoch, position = divmod(step, PER_EPOCH)
        rows = torch.from_numpy(course().epoch_batches(epoch)[position])
        model = net(dropout=0.0)
        state.restore_(model)
        with torch.no_grad():
            expected[rows, epoch] = cross_entropy(model.train()(FEATURES[rows]), LABELS[rows], reduction="none")
        state = train(net(dropout=0.0), state, course(), until=step + 1)
    assert torch.equal(trace.to_tensor().isnan(), expected.isnan())
    assert torch.allclose(trace.to_tensor(), expected, atol=1e-6, equal_nan=True)


def test_dropout_is_on():
    """The loss is that of the very step, so its mean over a batch is the loss that was stepped on."""
    whole = TrainingTask(FEATURES, LABELS, Recipe(epochs=1, batch_size=45), 0)
    trace, model, seen = LossTrace(45, 1), net(), []
    model.register_forward_hook(lambda _, __, logits: seen.append(logits.detach().clone()))
    train(model, start(), whole, until=1, watch=Watch(trace=trace))
    rows = torch.from_numpy(whole.epoch_batches(0)[0])
    assert trace.to_tensor()[rows, 0].mean().item() == pytest.approx(cross_entropy(seen[0], LABELS[rows]).item())


def test_every_row_is_there_once_an_epoch_and_as_float32():
    losses = uninterrupted()
    assert (losses.shape, losses.dtype) == ((45, 9), torch.float32)
    assert torch.isfinite(losses).all()
    assert (losses[:, 0] != losses[:, 8]).all()


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, TOTAL), max_size=4), is_kept=st.booleans())
def test_any_split_into_segments_gives_the_same_trace(cuts, is_kept):
    """With one trace for all segments, or resumed from its tensor each time."""
    state, trace = start(), LossTrace(45, 9)
    for until in [*sorted(cuts), TOTAL]:
        state = train(net(7), state, course(), until=until, watch=Watch(trace=trace))
        if not is_kept:
            trace = LossTrace.from_tensor(trace.to_tensor())
    assert torch.equal(trace.to_tensor(), uninterrupted())


def test_steps_that_are_run_again_write_the_same_losses():
    """A crash after the trace was saved: training goes on from an earlier state."""
    trace, half = LossTrace(45, 9), train(net(), start(), course(), until=13)
    train(net(), start(), course(), until=27, watch=Watch(trace=trace))
    train(net(3), half, course(), until=TOTAL, watch=Watch(trace=trace))
    assert torch.equal(trace.to_tensor(), uninterrupted())


def test_what_it_gives_out_is_a_copy():
    trace = LossTrace.from_tensor(uninterrupted())
    taken = trace.to_tensor()
    taken.zero_()
    assert torch.equal(trace.to_tensor(), uninterrupted())
    given_away = uninterrupted().clone()
    trace = LossTrace.from_tensor(given_away)
    given_away.zero_()
    assert torch.equal(trace.to_tensor(), uninterrupted())


def test_it_prints_no_loss():
    assert repr(LossTrace.from_tensor(uninterrupted())) == "LossTrace(45 rows, 9 epochs)"


# --- the interquartile range


def of(*losses_NE):
    return LossTrace.from_tensor(torch.tensor(losses_NE, dtype=torch.float32))


def test_iqr_by_hand():
    """Quartiles of 0 1 2 3 4 are 1 and 3; of 9 1 1 1 1 twice 1; of 8 0 0 4 4 they are 0 and 4."""
    trace = of([3, 1, 0, 4, 2], [9, 1, 1, 1, 1], [8, 0, 0, 4, 4])
    assert trace.iqr().tolist() == [2.0, 0.0, 4.0]
    assert trace.iqr().dtype == np.float64


NAN = float("nan")


def test_only_whole_epochs_count():
    """Row 1 has not come by in the last epoch; in the first one nobody was watched."""
    trace = of([NAN, 3, 1, 0, 4, 2, 100], [NAN, 9, 1, 1, 1, 1, NAN])
    assert trace.iqr().tolist() == [2.0, 0.0]


def test_a_gap_is_refused():
    with pytest.raises(TrainingError, match=r"between 0 and 5.*from_tensor"):
        of([3, 1, 0, NAN, 4, 2]).iqr()


def test_batches_that_still_wait_count():
    trace = of([3, 1, 0, 4, NAN])
    trace.record(4, torch.tensor([0]), torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    loss = np.log1p(np.exp(2.0))
    assert trace.iqr()[0] == pytest.approx(3 - 1)
    assert trace.to_tensor()[0, 4].item() == pytest.approx(loss)


@pytest.mark.parametrize("num_epochs", [0, 1, 3])
def test_too_few_epochs_are_refused(num_epochs):
    trace = LossTrace(45, 9)
    train(net(), start(), course(), until=num_epochs * PER_EPOCH + 1, watch=Watch(trace=trace))
    with pytest.raises(TrainingError, match=rf"{num_epochs} whole epochs; an interquartile range needs 4"):
        trace.iqr()


@pytest.mark.slow
def test_it_names_the_rows_that_can_only_be_memorised():
    """One row in ten has a wrong label, which the net comes to know all the same, but late."""
    plain, random = digits(), derive(3, "rows")
    rows = torch.from_numpy(random.permutation(1797)[:300])
    labels, is_wrong = plain.labels[rows].clone(), np.arange(300) < 30
    labels[:30] = (labels[:30] + torch.from_numpy(random.integers(1, 10, 30))) % 10
    recipe = Recipe(epochs=80, batch_size=50, optimizer="adam", learning_rate=5e-3, weight_decay=0)
    noisy, trace = TrainingTask(plain.features[rows], labels, recipe, 0), LossTrace(300, 80)
    with seeded(0, "net"):
        model = Mlp((64,), 10, hidden=(128,))
    train(model, TrainingState.capture(0, model), noisy, until=noisy.total_steps, watch=Watch(trace=trace))
    top = np.argsort(-trace.iqr())[:30]
    assert is_wrong[top].mean() >= 0.7


# --- what it refuses


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_empty_trace_is_refused(size):
    with pytest.raises(UsageError, match=rf"{size[0]} rows over {size[1]} epochs holds nothing"):
        LossTrace(*size)


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros(3, 4, dtype=torch.float64), torch.zeros(2, 3, 4)])
def test_a_tensor_that_is_no_trace_is_refused(tensor):
    with pytest.raises(UsageError, match=r"float32 .*\(rows, epochs\), got"):
        LossTrace.from_tensor(tensor)


@pytest.mark.parametrize("size", [(44, 9), (46, 9), (45, 8)])
def test_a_trace_of_another_course_is_refused_before_the_first_step(size):
    with pytest.raises(UsageError, match=r"45 rows over 9 epochs\. .*LossTrace\(45, 9\)"):
        train(net(), start(), course(), until=1, watch=Watch(trace=LossTrace(*size)))


def test_a_trace_needs_room_for_steps_past_the_courses_end():
    with pytest.raises(UsageError, match="over 10 epochs"):
        train(net(), start(), course(), until=TOTAL + 1, watch=Watch(trace=LossTrace(45, 9)))
    trace = LossTrace(45, 10)
    train(net(), start(), course(), until=TOTAL + 1, watch=Watch(trace=trace))
    assert torch.equal(trace.to_tensor()[:, :9], uninterrupted())
