"""The adversarial game: what the penalty is, where it stops, what a resumed game needs, and what it buys."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.autograd import gradcheck

from safecompress.digests import digest_tensors
from safecompress.errors import UsageError
from safecompress.seeding import seeded
from safecompress.training import Batch, CrossEntropy, Recipe, TrainingState, TrainingTask, train
from safecompress.training.objectives.adversarial import (
    AdversarialRegularisation,
    BlackBoxAdversary,
    WhiteBoxAdversary,
    black_box_signals,
    coin_distance,
    log_probability,
    white_box_signals,
)


class Margin(nn.Module):
    """Membership logit: the label's logit less the other's, less ``shift``; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, logits_BC, labels_B, hidden_BH):
        self.seen.append(hidden_BH)
        rows = torch.arange(len(labels_B))
        return logits_BC[rows, labels_B] - logits_BC[rows, 1 - labels_B] - self.shift


@dataclass(frozen=True)
class MarginAdversary:
    """Builds a Margin and keeps it where a test can look at it."""

    name: str = "margin"
    reads_hidden: bool = False

    def build(self, num_classes, hidden_width):
        return Margin()


def net(seed=0, width_in=10, num_classes=3):
    """Dropout and batch norm: the two that an adversary's own forward passes could disturb."""
    with seeded(seed, "net"):
        return nn.Sequential(
            nn.Linear(width_in, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, num_classes)
        )


with seeded(0, "data"):
    FEATURES, REFERENCE = torch.randn(45, 10), torch.randn(30, 10)
    LABELS, REFERENCE_LABELS = torch.randint(0, 3, (45,)), torch.randint(0, 3, (30,))


def course(objective, seed=0, epochs=8):
    """32 steps of 12 rows; with start 1/2 the game begins at step 16."""
    recipe = Recipe(epochs=epochs, batch_size=12, learning_rate=0.05, objective=objective)
    return TrainingTask(FEATURES, LABELS, recipe, seed, reference=(REFERENCE, REFERENCE_LABELS))


def game(model, objective, **options):
    return objective.opponent(model, course(objective, **options))


# --- the penalty


@pytest.mark.parametrize(
    ("q", "expected"),
    [(0.5, 0.0), (0.1, 0.0), (0.8, math.log(1.25)), (0.9, -math.log(4 * 0.09) / 2), (1 - 1e-6, 6.2146085)],
)
def test_the_bounded_form_by_hand(q, expected):
    """-log(4 q (1 - q)) / 2: q = .8 gives -log(.64) / 2 = log 1.25."""
    member = torch.tensor([math.log(q / (1 - q))], dtype=torch.float64)
    assert coin_distance(member).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("q", [0.01, 0.5, 0.8])
def test_the_paper_form_is_the_logarithm_of_q(q):
    assert log_probability(torch.tensor([math.log(q / (1 - q))])).item() == pytest.approx(math.log(q), rel=1e-5)


@given(st.lists(st.floats(-80, 80), min_size=1, max_size=20))
def test_the_bounded_slope_is_q_less_one_half_above_the_coin_and_exactly_0_below(values):
    member_B = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (slope_B,) = torch.autograd.grad(coin_distance(member_B).sum(), member_B)
    q_B = torch.sigmoid(member_B.detach())
    assert torch.allclose(slope_B, (q_B - 0.5).clamp(min=0), atol=1e-12)
    assert not slope_B[member_B <= 0].any() and slope_B.max() <= 0.5


def test_the_paper_slope_goes_on_below_the_coin():
    member = torch.tensor([-5.0], requires_grad=True)
    (slope,) = torch.autograd.grad(log_probability(member).sum(), member)
    assert slope.item() == pytest.approx(1 / (1 + math.exp(-5.0)))


def hand_made(form, weight=2.0, names=("margin",), reads_hidden=False):
    objective = AdversarialRegularisation(
        form=form, weight=weight, start=0.0, given=tuple(MarginAdversary(name, reads_hidden) for name in names)
    )
    return game(nn.Linear(10, 2), objective)


@pytest.mark.parametrize("names", [("margin",), ("margin", "again")])
def test_the_penalty_of_a_batch_by_hand(names):
    """Margins log 4 (q = .8) and -log 4 (q = .2): bounded (log 1.25 + 0) / 2, paper (log .8 + log .2) / 2, for each."""
    logits = torch.tensor([[math.log(4.0), 0.0], [math.log(4.0), 0.0]])
    batch = Batch(torch.zeros(2, 10), torch.tensor([0, 1]))
    bounded = hand_made("bounded", names=names).penalty(logits, batch)
    paper = hand_made("paper", names=names).penalty(logits, batch)
    assert bounded.item() == pytest.approx(len(names) * 2 * math.log(1.25) / 2, rel=1e-5)
    assert paper.item() == pytest.approx(len(names) * 2 * math.log(0.16) / 2, rel=1e-5)


def test_a_row_that_is_not_called_a_member_is_never_pushed_further():
    """Bounded: the slope for the logits is exactly 0 there. Paper: it is not."""
    batch = Batch(torch.zeros(3, 10), torch.tensor([0, 0, 0]))
    slopes = {}
    for form in ("bounded", "paper"):
        logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-3.0, 0.0]], requires_grad=True)
        (slopes[form],) = torch.autograd.grad(hand_made(form).penalty(logits, batch), logits)
    assert slopes["bounded"][0].all() and not slopes["bounded"][1:].any()
    assert slopes["paper"].all()


def test_the_gradient_for_the_logits_is_that_of_finite_differences():
    """Also through what the built-in adversaries read, and far from where sorting or ReLU has a kink."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 4, 2, 2])
    with seeded(0, "adversary"):
        black, white = BlackBoxAdversary().build(5, 0).double(), WhiteBoxAdversary().build(5, 6).double()
    for form in (coin_distance, log_probability):
        assert gradcheck(lambda z, form=form: form(black(z, labels, None) + 1).mean(), logits)
        assert gradcheck(lambda z, h, form=form: form(white(z, labels, h) + 1).mean(), (logits, hidden))


def test_what_the_adversaries_read_by_hand():
    """p = (.2, .7, .1), label 1: scaled logit log(.7 / .3), loss -log .7; p - onehot = (.2, -.3, .1), |h| = 5."""
    logits = torch.tensor([[0.2, 0.7, 0.1]]).log() + 3
    black = black_box_signals(logits, torch.tensor([1]))
    white = white_box_signals(logits, torch.tensor([1]), torch.tensor([[3.0, -4.0]]))
    expected = [math.log(0.7), math.log(0.2), math.log(0.1), math.log(7 / 3), -math.log(0.7)]
    assert black[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert white[0].tolist() == pytest.approx([5 * math.sqrt(0.14), 3, -4], rel=1e-5)


def test_signals_of_rows_that_the_model_is_certain_of_are_finite_and_keep_their_slope():
    logits = torch.tensor([[90.0, 0.0, -5.0], [-90.0, 90.0, 0.0]], requires_grad=True)
    hidden = torch.zeros(2, 4, requires_grad=True)
    labels = torch.tensor([0, 0])
    black, white = black_box_signals(logits, labels), white_box_signals(logits, labels, hidden)
    slopes = torch.autograd.grad(black.sum() + white.sum(), (logits, hidden), retain_graph=True)
    assert all(torch.isfinite(tensor).all() for tensor in (black, white, *slopes))
    (slope_BC,) = torch.autograd.grad(black[:, -2].sum(), logits)
    assert slope_BC[:, 0].tolist() == [1.0, 1.0]  # log p_y has a slope of 0 in the first row


# --- the game


def objective_of(**options):
    return AdversarialRegularisation(**{"start": 0.5, "learning_rate": 0.01, **options})


def test_before_the_start_it_is_plain_training_and_the_adversary_stands_still():
    plain = train(net(), TrainingState.capture(0, net()), course(CrossEntropy()), until=16)
    state = train(net(), TrainingState.capture(0, net()), course(objective_of()), until=16)
    fresh = game(net(), objective_of()).capture()
    assert state.digest() == plain.digest()
    assert digest_tensors(state.opponent) == digest_tensors(fresh) and not any("adam" in name for name in fresh)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.5, 16), (2 / 3, 22), (0.51, 17)])
def test_the_game_begins_at_the_first_step_whose_progress_has_reached_the_start(start, first):
    """32 steps: 2/3 of them are 21.3, so step 22 is the first; the penalty and the adversary's steps begin together."""
    opponent = game(net(), objective_of(start=start, form="paper"))
    moved, paid = [], []
    for step in range(32):
        before = digest_tensors(opponent.capture())
        opponent.advance(step)
        moved.append(digest_tensors(opponent.capture()) != before)
        batch = Batch(FEATURES[:12], LABELS[:12], progress=step / 32)
        paid.append(opponent.penalty(torch.randn(12, 3), batch).item() != 0)
    assert [step for step, has in enumerate(moved) if has] == list(range(first, 32, 2))
    assert paid == [step >= first for step in range(32)]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "attacker_steps", "expected"), [(2, 2, 16), (1, 1, 16), (5, 3, 12), (20, 4, 4)])
def test_how_often_the_adversary_learns(every, attacker_steps, expected):
    objective = objective_of(every=every, attacker_steps=attacker_steps)
    state = train(net(), TrainingState.capture(0, net()), course(objective), until=32)
    counts = {int(value) for name, value in state.opponent.items() if name.endswith("/step")}
    assert counts == {expected}


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ["black_box", "both"])
@pytest.mark.parametrize("cut", [10, 16, 23])
def test_a_resumed_game_ends_in_the_same_bits(cut, adversary):
    """Cut before the start, at it, and between two of the adversary's turns; state as a file would hold it."""
    ours = course(objective_of(adversary=adversary))
    whole = train(net(), TrainingState.capture(0, net()), ours, until=32)
    torch.manual_seed(5)
    half = train(net(), TrainingState.capture(0, net()), ours, until=cut)
    half = TrainingState.from_tensors(half.step, half.to_tensors())
    again = train(net(7), half, ours, until=32)
    assert digest_tensors(again.to_tensors()) == digest_tensors(whole.to_tensors())
    assert whole.digest() != train(net(), TrainingState.capture(0, net()), course(CrossEntropy()), until=32).digest()


def test_the_seed_decides():
    digests = {
        digest_tensors(train(net(), TrainingState.capture(0, net()), course(objective_of(), seed), until=20).opponent)
        for seed in (0, 0, 1)
    }
    assert len(digests) == 2


def test_the_adversary_s_turns_leave_batch_norm_modes_and_the_global_generator_alone():
    model = net().train()
    model[1].eval()  # a frozen batch norm stays frozen
    opponent = game(model, objective_of(adversary="both", start=0.0))
    model(FEATURES)
    before = digest_tensors(model.state_dict())
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    opponent.advance(0)
    assert digest_tensors(model.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [module.training for module in model] == [True, False, True, True, True]


def test_running_statistics_see_the_model_s_own_steps_only():
    """A game that weighs nothing trains the same model, batch norm's statistics and count of batches included."""
    plain = train(net(), TrainingState.capture(0, net()), course(CrossEntropy()), until=32)
    idle = objective_of(weight=0.0, adversary="both")
    played = train(net(), TrainingState.capture(0, net()), course(idle), until=32)
    assert played.digest() == plain.digest() and int(played.model["1.num_batches_tracked"]) == 32


def test_the_adversary_s_weights_get_no_gradient_from_the_model_s_step():
    opponent = hand_made("paper")
    logits = torch.zeros(2, 2, requires_grad=True)
    opponent.penalty(logits, Batch(torch.zeros(2, 10), torch.tensor([0, 1]))).backward()
    assert opponent._nets[0].shift.grad is None and logits.grad.all()


def test_members_and_reference_are_balanced_and_told_apart_the_right_way_round():
    """Members have margin 3, reference rows -3: members come to score higher, and a shift between them stays 0."""
    x = torch.zeros(45, 10)
    x[:, 0] = 1.0
    model = nn.Linear(10, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 0] = 3.0
    objective = objective_of(start=0.0, attacker_steps=60)
    recipe = Recipe(epochs=8, batch_size=12, objective=objective)
    labels = torch.zeros(45).long()
    opponent = objective.opponent(model, TrainingTask(x, labels, recipe, 0, reference=(-x[:5], labels[:5])))
    opponent.advance(0)
    black_box = opponent._nets[0]
    member, other = (black_box(model(rows), labels[:1], None).item() for rows in (x[:1], -x[:1]))
    assert member > 2 and other < -2
    margin = objective_of(start=0.0, attacker_steps=60, given=(MarginAdversary(),))
    opponent = margin.opponent(model, TrainingTask(x, labels, recipe, 0, reference=(-x[:5], labels[:5])))
    opponent.advance(0)
    assert opponent._nets[0].shift.abs() < 0.05  # 12 against 5 rows, unbalanced, would push it to -0.4


@pytest.mark.parametrize(("num_reference", "expected"), [(30, 24), (5, 10)])
def test_a_turn_reads_a_batch_of_members_and_as_many_reference_rows_in_one_pass(num_reference, expected):
    model = net().eval()
    sizes = []
    model.register_forward_hook(lambda module, inputs, output: sizes.append((len(output), module.training)))
    objective = objective_of(start=0.0, attacker_steps=3)
    recipe = Recipe(epochs=8, batch_size=12, objective=objective)
    reference = (REFERENCE[:num_reference], REFERENCE_LABELS[:num_reference])
    opponent = objective.opponent(model.train(), TrainingTask(FEATURES, LABELS, recipe, 0, reference=reference))
    sizes.clear()
    opponent.advance(0)
    assert sizes == [(expected, False)] * 3 and model.training


# --- what the adversary sees of the model


@pytest.mark.parametrize("adversary", ["white_box", "both"])
def test_the_white_box_reads_what_the_last_linear_layer_reads(adversary):
    reading = objective_of(start=0.0, given=(MarginAdversary(reads_hidden=True), MarginAdversary()))
    model = net(num_classes=2).eval()
    opponent = game(model, reading)
    hidden = model[:-1](FEATURES[:4])
    opponent.penalty(model(FEATURES[:4]), Batch(FEATURES[:4], LABELS[:4] % 2))
    assert torch.equal(opponent._nets[0].seen[-1], hidden) and opponent._nets[1].seen == [None]
    named = game(net(), objective_of(adversary=adversary)).capture()
    widths = {name: value.shape[1] for name, value in named.items() if name.endswith("body.0.weight")}
    assert sorted(widths.values()) == {"white_box": [3 + 3 + 16], "both": [3 + 2, 3 + 3 + 16]}[adversary]


def test_the_white_box_penalty_reaches_the_model_through_hidden_too():
    """With the logits cut off, what is left of the gradient comes by way of h."""
    model = net().eval()
    opponent = game(model, objective_of(start=0.0, adversary="white_box", form="paper"))
    opponent.penalty(model(FEATURES[:8]).detach(), Batch(FEATURES[:8], LABELS[:8])).backward()
    assert model[0].weight.grad.any() and model[4].weight.grad is None


class Warm(nn.Module):
    """A temperature behind the last linear layer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(10, 3)

    def forward(self, x):
        return self.inner(x) / 2


def test_a_white_box_without_a_last_linear_layer_is_refused_and_a_black_box_is_not():
    with pytest.raises(UsageError, match=r"this Warm .* adversary='black_box'"):
        game(Warm(), objective_of(adversary="white_box"))
    model = Warm()
    state = train(model, TrainingState.capture(0, model), course(objective_of()), until=18)
    assert state.step == 18


def test_the_hook_is_gone_after_training():
    model = net()
    train(model, TrainingState.capture(0, model), course(objective_of(adversary="both")), until=18)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


# --- options


def test_a_course_without_reference_rows_is_refused():
    recipe = Recipe(objective=AdversarialRegularisation())
    for reference in (None, (REFERENCE[:0], REFERENCE_LABELS[:0])):
        with pytest.raises(UsageError, match="needs reference rows"):
            TrainingTask(FEATURES, LABELS, recipe, 0, reference=reference)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary": "grey_box"}, "adversary 'grey_box' is unknown.*black_box, both, white_box"),
        ({"form": "papers"}, "form 'papers'.*'paper'"),
        ({"weight": -0.1}, r"weight=-0.1"),
        ({"weight": math.inf}, "finite weight"),
        ({"start": 1.0}, r"start in \[0, 1\).*start=1.0"),
        ({"every": 0}, "every=0"),
        ({"attacker_steps": 1.5}, "attacker_steps=1.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
    ],
)
def test_options_that_cannot_train_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        AdversarialRegularisation(**options)


def test_the_state_of_other_adversaries_is_refused():
    black, both = (game(net(), objective_of(adversary=name)) for name in ("black_box", "both"))
    with pytest.raises(UsageError, match=r"\(black_box, white_box\)"):
        both.restore(black.capture())
    both.restore({})


def test_given_adversaries_take_the_place_of_named_ones_and_enter_the_digest():
    given = AdversarialRegularisation(given=(MarginAdversary(),))
    assert given.adversaries == (MarginAdversary(),)
    assert AdversarialRegularisation(adversary="both").adversaries == (BlackBoxAdversary(), WhiteBoxAdversary())
    assert Recipe(objective=given).digest() != Recipe(objective=AdversarialRegularisation()).digest()


# --- what it buys, on labels that can only be learnt by heart


def memorised(objective, seed):
    """AUC of the loss attack at every tenth step of the second half: 120 members, noise and random labels."""
    with seeded(seed, "noise"):
        x, y = torch.randn(3, 120, 30), torch.randint(0, 4, (3, 120))
        model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 4))
    recipe = Recipe(epochs=60, batch_size=40, learning_rate=0.05, decay="constant", objective=objective)
    ours = TrainingTask(x[0], y[0], recipe, seed, reference=(x[1], y[1]))
    state = TrainingState.capture(0, model)
    found = []
    for until in range(100, 181, 10):
        state = train(model, state, ours, until=until)
        state.restore_(model)
        losses = [nn.functional.cross_entropy(model(x[i]), y[i], reduction="none").detach() for i in (0, 2)]
        found.append(roc_auc_score([1] * 120 + [0] * 120, -np.concatenate(losses)))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ["black_box", "white_box"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_game_hides_members_from_the_loss_attack(seed, adversary):
    plain = memorised(CrossEntropy(), seed)[-1]
    played = memorised(AdversarialRegularisation(adversary, weight=5.0, start=0.5), seed)[-1]
    assert plain > 0.9 and played < plain - 0.1


@pytest.mark.slow
def test_the_paper_form_at_a_large_weight_turns_the_leak_round_and_the_bounded_form_does_not():
    """Members come to look less like members than others do, which an attacker reads as well."""
    large = {"weight": 5.0, "start": 0.5, "every": 10}
    paper, bounded = (
        [memorised(AdversarialRegularisation(form=form, **large), seed).min() for seed in (1, 2)]
        for form in ("paper", "bounded")
    )
    assert np.mean(paper) < 0.42 and min(bounded) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_against_an_adversary_that_stands_still_the_bounded_form_ends_where_the_slopes_meet(weight):
    """Two classes, q = p_y: cross entropy pulls with 1 - q, the penalty with weight (q - 1/2), and the paper's with
    weight (1 - q), so that over weight 1 nothing holds members. They end at q = (1 + weight/2) / (1 + weight), or fall
    below the 1/2 of a row that was never seen.
    """
    ends = {}
    for form in ("bounded", "paper"):
        objective = AdversarialRegularisation(
            weight=5.0 if form == "paper" else weight,
            start=0.5,
            learning_rate=1e-12,
            form=form,
            given=(MarginAdversary(),),
        )
        with seeded(0, "model"):
            model = nn.Linear(8, 2, bias=False)  # every row has weights of its own
        recipe = Recipe(epochs=300, batch_size=8, decay="constant", objective=objective, weight_decay=0.0)
        x, y = torch.eye(8), torch.arange(8) % 2
        ours = TrainingTask(x, y, recipe, 0, reference=(x, y))
        train(model, TrainingState.capture(0, model), ours, until=300)
        ends[form] = model(x).softmax(1)[torch.arange(8), y]
    assert ends["bounded"].tolist() == pytest.approx([(1 + weight / 2) / (1 + weight)] * 8, abs=0.01)
    assert (ends["paper"] < 0.5).all()
