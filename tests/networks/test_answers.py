"""A row's answer must depend on the row alone; what does not is named before anything is trained."""

import pytest
import torch
from foreign import (
    CLASSES,
    FEATURES,
    AddInPlace,
    Attention,
    Centred,
    Counting,
    DropoutOn,
    InPlace,
    Mlp,
    NoGradient,
    Ranked,
    normed,
)
from torch import nn

from safecompress.networks import ClassScores, fault_of_answers, fault_of_training, read_for_audit

ROWS = torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % CLASSES


def left_in_training():
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.Dropout(0.5), nn.Linear(16, CLASSES))
    model[1].train = lambda mode=True: model[1]
    return model


def wrongly_normed():
    """A norm of the user's own, over the batch."""
    model = Mlp()
    model.body.register_forward_hook(lambda module, inputs, output: output / output.norm(dim=0, keepdim=True))
    return model


@pytest.mark.parametrize("model", [Mlp(), Attention(), normed(), normed().train(), ClassScores(InPlace())], ids=str)
def test_an_ordinary_network_has_no_fault(model):
    assert fault_of_answers(model, ROWS) is None
    assert fault_of_training(model, ROWS[:2], LABELS[:2]) is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (InPlace(), "x = x - 3"),
        (AddInPlace(), "inplace=True"),
        (DropoutOn(), "draws at random in evaluation mode. Let dropout"),
        (left_in_training(), r"\('1' stays in training mode\)"),
        (Counting(), "depend on the calls before"),
        (Centred(), "depends on the other rows"),
        (wrongly_normed(), "depends on the other rows"),
        (Ranked(), "in another order"),
        (normed(track_running_stats=False), "one row alone .*batch norm '1' takes its statistics"),
    ],
    ids=["in place", "inplace layer", "dropout", "layer left on", "memory", "mean", "own norm", "order", "batch norm"],
)
def test_what_else_answers_depend_on_is_named(model, words):
    rows = ROWS.clone()
    assert __import__("re").search(words, fault_of_answers(model, rows) or "")
    assert torch.equal(rows, ROWS)


def test_modes_and_random_numbers_are_as_before():
    model, before = normed(), torch.get_rng_state()
    model.train()
    model[3].eval()
    fault_of_answers(model, ROWS)
    fault_of_training(model, ROWS, LABELS)
    assert [module.training for module in model] == [True, True, True, False]
    assert torch.equal(torch.get_rng_state(), before) and not model[1].running_mean.any()


def test_numbers_of_eight_bits_may_move_a_little():
    """Their scale depends on the batch; the share that is allowed is 5 %."""

    class Rounded(Mlp):
        def forward(self, x):
            scores = super().forward(x)
            step = scores.abs().max() / 127
            return (scores / step).round() * step

    assert fault_of_answers(Rounded(), ROWS) is not None
    assert fault_of_answers(Rounded(), ROWS, is_coarse=True) is None
    assert fault_of_answers(Centred(), ROWS, is_coarse=True) is not None


@pytest.mark.parametrize(
    ("model", "count", "words"),
    [
        (normed(), 1, "batch_size of 2 or more"),
        (NoGradient(), 2, "No gradient reaches"),
        (nn.Linear(FEATURES, CLASSES).requires_grad_(False), 2, "No gradient reaches"),
        (torch.jit.script(Mlp()), 2, "scripted from"),
    ],
    ids=["batches of one", "no_grad", "frozen", "scripted"],
)
def test_a_step_that_cannot_be_taken(model, count, words):
    assert words in (fault_of_training(model, ROWS[:count], LABELS[:count]) or "")


def test_an_audit_gives_copies_to_what_works_in_place():
    """Its figures are those of the same network that works out of place."""
    model = InPlace()
    reading = read_for_audit(model, ROWS, CLASSES)
    twice = [reading.network(ROWS), reading.network(ROWS)]
    assert torch.equal(twice[0], twice[1]) and torch.equal(twice[0], Mlp.forward(model, ROWS - 3.0))
    assert "given copies" in reading.notes[0]
