"""The neural attacker finds what there is, finds nothing where there is nothing, and chooses its epoch honestly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Loss, Neural, Target, simulate_attacker
from safecompress.attacks.membership.attacknet import Columns, split_holdout, train_net
from safecompress.attacks.membership.neural import NeuralNet
from safecompress.data import AuditData, Dataset, SplitSizes, digits, make_split
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.training import Course, Recipe, TrainingState, train

RECIPE = Recipe(epochs=60, batch_size=50, optimizer="adam", learning_rate=5e-3, weight_decay=0)


class Identity(nn.Module):
    """Logits are the row itself, so that a test writes the signals."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features):
        return features * self.scale


TARGET = Target(Identity())


def written(num_rows=40, leak=3.0, seed=0, num_classes=4):
    """``num_rows`` members and as many non-members; members' logit of the label is ``leak`` higher."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, 2 * num_rows)
    is_member = np.arange(2 * num_rows) < num_rows
    logits = random.normal(size=(2 * num_rows, num_classes)).astype(np.float32)
    logits[np.arange(2 * num_rows), labels] += leak * is_member
    return AuditData(torch.from_numpy(logits), torch.from_numpy(labels), is_member)


def fitted(attack, audit, seed=0, target=TARGET):
    return attack.fit(target, audit, generator=np.random.default_rng(seed))


def auc_of(attack, target, fit_pool, verdict_pool, seed=0):
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(seed))
    return attacker.test(target, verdict_pool, Levels(0.001)).measurements[0]


def noisy_digits():
    """Digits with half the labels shuffled, so that a net can only memorise them."""
    plain, random = digits(), np.random.default_rng(9)
    labels = plain.labels.numpy().copy()
    shuffled = random.random(len(labels)) < 0.5
    labels[shuffled] = random.permutation(labels[shuffled])
    return Dataset.from_arrays(plain.features, labels)


@pytest.fixture(scope="module", params=[0, 1, 4])
def overfitted(request):
    """A net trained until it knows its rows, and the split."""
    pools = dict.fromkeys(("member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict"), 220)
    sizes = SplitSizes.resolve(1797, train=440, member_select=0, nonmember_select=0, **pools)
    split = make_split(noisy_digits(), sizes, seed=request.param)
    with seeded(request.param, "net"):
        model = Mlp((64,), 10, hidden=(256,))
    course = Course(*split.part("train"), RECIPE, request.param)
    train(model, TrainingState.capture(0, model), course, until=course.total_steps).restore_(model)
    return Target(model), split


@pytest.mark.slow
def test_an_overfitted_net_is_caught_about_as_well_as_by_its_loss(overfitted):
    target, split = overfitted
    neural, loss = (auc_of(attack, target, split.audit("fit"), split.audit("verdict")) for attack in (Neural(), Loss()))
    assert loss.value > 0.68
    assert neural.interval.low > 0.5
    assert neural.value >= loss.value - 0.03


@pytest.mark.slow
def test_rows_that_the_net_never_saw_are_not_told_apart(overfitted):
    """ "Members" that were never trained on: nothing may be found, at a confidence of 99.9 %."""
    target, split = overfitted
    unseen = np.setdiff1d(np.arange(1797), split.indices["train"])
    for draw in range(2):
        rows = derive(draw, "null").permutation(unseen)[:800]
        fit_pool, verdict_pool = (
            AuditData(split.dataset.features[part], split.dataset.labels[part], np.arange(400) < 200)
            for part in (torch.from_numpy(rows[:400]), torch.from_numpy(rows[400:]))
        )
        found = auc_of(Neural(epochs=30), target, fit_pool, verdict_pool, seed=draw)
        assert found.interval.low <= 0.5 <= found.interval.high


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["paper", "full"])
def test_both_readings_find_a_plain_leak(inputs):
    found = auc_of(Neural(inputs=inputs, epochs=30), TARGET, written(200, 6.0), written(100, 6.0, seed=1))
    assert found.value > 0.9


def test_what_each_reading_gives_to_the_net():
    audit = written(40)
    for inputs, width in (("paper", 4), ("full", 5)):
        scores, label = fitted(Neural(inputs=inputs, epochs=1), audit).reader.read(TARGET, audit)
        assert (scores.shape, label.shape) == ((80, 4), (80, width))
        assert torch.equal(label[:, :4], nn.functional.one_hot(audit.labels, 4).float())
        if inputs == "paper":
            assert torch.allclose(scores, audit.features.softmax(dim=1), atol=1e-6)
        else:
            assert scores.mean(dim=0).abs().max() < 1e-5
            assert (scores.std(dim=0, correction=0) - 1).abs().max() < 1e-5
            assert torch.allclose(label[:, 4].mean(), torch.zeros(()), atol=1e-5)


def test_scores_are_read_in_descending_order():
    """``full`` may not depend on which class a score belongs to; that is what the label branch is for."""
    audit = written(40)
    reader = fitted(Neural(epochs=1), audit).reader
    assert (np.diff(reader.scores.shift) < 0).all()
    turned = replace(audit, features=audit.features.roll(1, dims=1), labels=(audit.labels + 1) % 4)
    assert torch.allclose(reader.read(TARGET, audit)[0], reader.read(TARGET, turned)[0], atol=1e-5)


def test_columns_that_do_not_vary_are_read_as_zero():
    """Two classes with fixed logits: every column is constant, and must not become NaN."""
    features = torch.tensor([[1.0, -1.0]]).repeat(40, 1)
    audit = AuditData(features, torch.zeros(40, dtype=torch.int64), np.arange(40) < 20)
    scores, label = fitted(Neural(epochs=1), audit).reader.read(TARGET, audit)
    assert scores.abs().max() < 1e-9
    assert torch.equal(label, torch.tensor([[1.0, 0.0, 0.0]]).repeat(40, 1))


def test_the_net_has_the_papers_layers():
    net = NeuralNet(10, 10)
    sizes = {name: [(m.in_features, m.out_features) for m in branch if hasattr(m, "in_features")]
             for name, branch in net.named_children()}  # fmt: skip
    assert sizes == {
        "scores": [(10, 1024), (1024, 512), (512, 64)],
        "label": [(10, 512), (512, 64)],
        "fused": [(128, 256), (256, 64), (64, 1)],
    }


# --- chance


def test_the_same_generator_gives_the_same_attacker_and_another_one_another():
    audit, attack = written(), Neural(epochs=3)
    first, again, other = (fitted(attack, audit, seed) for seed in (0, 0, 1))
    scores = first.score(TARGET, written(seed=1))
    assert np.array_equal(scores, again.score(TARGET, written(seed=1)))
    assert not np.array_equal(scores, other.score(TARGET, written(seed=1)))


def test_global_generators_neither_matter_nor_move():
    audit = written()
    torch.manual_seed(1)
    first = fitted(Neural(epochs=2), audit)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = fitted(Neural(epochs=2), audit)
    assert torch.equal(state, torch.random.get_rng_state())
    assert digest_tensors(first.net.state_dict()) == digest_tensors(second.net.state_dict())


# --- which epoch


def held_rows(audit, seed=0, holdout=0.25):
    fit, held = split_holdout(audit.is_member, Neural(holdout=holdout), np.random.default_rng(seed))
    return fit.numpy(), held.numpy()


def test_the_holdout_has_its_share_of_both_sides():
    audit = written(40)
    fit, held = held_rows(audit)
    assert sorted([*fit, *held]) == list(range(80))
    assert (audit.is_member[held].sum(), (~audit.is_member[held]).sum()) == (10, 10)
    assert (audit.is_member[fit].sum(), (~audit.is_member[fit]).sum()) == (30, 30)


def test_held_out_rows_are_not_trained_on():
    """Other held-out rows, one epoch: the same weights. (``paper``: nothing is standardised over all rows.)"""
    audit = written(40, 6.0)
    _, held = held_rows(audit)
    features = audit.features.clone()
    features[held] *= 1.25
    first, second = (
        fitted(Neural(epochs=1, inputs="paper"), rows) for rows in (audit, replace(audit, features=features))
    )
    assert digest_tensors(first.net.state_dict()) == digest_tensors(second.net.state_dict())


@pytest.mark.slow
def test_held_out_rows_choose_the_epoch():
    """Held-out members and non-members change places: every epoch looks worse than the one before."""
    audit = written(60, 4.0)
    fit, held = held_rows(audit)
    order = np.arange(120)
    order[held] = np.concatenate([held[15:], held[:15]])
    misleading = replace(audit, features=audit.features[order], labels=audit.labels[order])
    honest, misled = (fitted(Neural(epochs=15, patience=15), rows) for rows in (audit, misleading))
    losses = [loss_on(audit, attacker, fit) for attacker in (honest, misled)]
    assert losses[0] < 0.5 < losses[1]


def loss_on(audit, attacker, rows):
    is_member = torch.from_numpy(audit.is_member[rows].astype(np.float64))
    logits = torch.from_numpy(attacker.score(TARGET, audit)[rows])
    return float(nn.functional.binary_cross_entropy_with_logits(logits, is_member))


def test_training_stops_when_patience_is_spent(monkeypatch):
    """On pure noise the held-out loss soon stops falling; without patience all epochs would run."""
    audit, epochs = written(40, 0.0), []
    randperm = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda count: epochs.append(count) or randperm(count))
    fitted(Neural(epochs=60, patience=2), audit)
    assert 3 <= len(epochs) < 30
    assert set(epochs) == {60}


@pytest.mark.slow
def test_the_chosen_net_is_the_best_and_not_the_last():
    """Going on past the best epoch, for as long as patience lasts, changes nothing."""
    audit = written(40, 0.5)
    short, long = (fitted(Neural(epochs=60, patience=patience), audit) for patience in (4, 12))
    held = held_rows(audit)[1]
    assert loss_on(audit, long, held) <= loss_on(audit, short, held)


def test_scored_rows_cannot_influence_the_fit():
    """The attacker as a function of the fitting pool: whatever is scored in between."""
    audit, attack = written(), Neural(epochs=2)
    before = fitted(attack, audit)
    weights = digest_tensors(before.net.state_dict())
    for seed in range(3):
        before.score(TARGET, written(30, 10.0, seed=seed))
    assert digest_tensors(before.net.state_dict()) == weights
    assert digest_tensors(fitted(attack, audit).net.state_dict()) == weights


# --- what all attacker nets share


def test_columns_are_made_comparable_by_hand():
    values = np.array([[1.0, 5.0], [3.0, 5.0]])
    assert torch.equal(Columns.fit(values).read(values), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(Columns.fit(values).read(np.array([[4.0, 6.0]])), torch.tensor([[2.0, 1.0]]))
    assert torch.equal(Columns.unchanged(values).read(values), torch.from_numpy(values).float())


class Watched(nn.Module):
    """Notes whether dropout would be at work, for steps and for held-out rows."""

    def __init__(self, noted):
        super().__init__()
        self.line, self.noted = nn.Linear(4, 1), noted

    def forward(self, rows):
        self.noted.append((torch.is_grad_enabled(), self.training, len(rows)))
        return self.line(rows).squeeze(1)


def test_a_net_learns_in_training_mode_and_is_judged_at_rest():
    audit, noted = written(40), []
    options = Neural(epochs=3, batch_size=20)
    net = train_net(lambda: Watched(noted), (audit.features,), audit.is_member, options,
                    generator=np.random.default_rng(0))  # fmt: skip
    assert noted == [*[(True, True, 20)] * 3, (False, False, 20)] * 3
    assert not net.training


def test_an_attacker_says_when_a_model_has_another_shape():
    attacker = fitted(Neural(epochs=1), written(40))
    with pytest.raises(AttackError, match=r"4 columns.*6.*same shape"):
        attacker.score(TARGET, written(40, num_classes=6))


# --- limits


@pytest.mark.parametrize(("num_rows", "is_enough"), [(6, True), (5, False), (2, False)])
def test_pools_that_are_too_small(num_rows, is_enough):
    audit = written(num_rows)
    if is_enough:
        assert fitted(Neural(epochs=1), audit).score(TARGET, audit).shape == (2 * num_rows,)
        return
    with pytest.raises(AttackError, match=rf"\({num_rows} members, {num_rows} non-members\).*member_fit"):
        fitted(Neural(epochs=1), audit)


def test_a_holdout_that_leaves_too_few_is_named():
    with pytest.raises(AttackError, match=r"2.*\(holdout 0\.01\)"):
        fitted(Neural(epochs=1, holdout=0.01), written(40))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"patience": 0}, {"batch_size": 1}, {"holdout": 0.0}, {"holdout": 1.0},
        {"holdout": float("nan")},
        {"learning_rate": 0.0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"learning_rate": np.inf},
    ],
)  # fmt: skip
def test_options_that_cannot_train_are_refused(options):
    (name,) = options
    with pytest.raises(UsageError, match=f"{name}={options[name]}"):
        Neural(**options)


def test_an_unknown_reading_is_refused_with_its_close_match():
    with pytest.raises(UsageError, match=r"'paper'\? Allowed: full, paper"):
        Neural(inputs="papers")


def test_a_target_with_one_answer_for_all_still_trains():
    audit = replace(written(40), features=torch.zeros(80, 4))
    scores = fitted(Neural(epochs=2), audit).score(TARGET, audit)
    assert np.isfinite(scores).all()
    assert stats.auc(np.round(scores, 6), audit.is_member) == pytest.approx(0.5, abs=0.2)
