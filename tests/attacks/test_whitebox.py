"""The white-box attacker reads the gradient in either form, and what it may not see does not reach it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Access, Loss, Neural, Target, as_searched, simulate_attacker
from safecompress.attacks.lastlayer import gradient_norms
from safecompress.attacks.membership.whitebox import MATRIX_ROWS, MatrixBranch, WhiteBox, gradient_factors
from safecompress.compression.search import Plan
from safecompress.data import SplitSizes, digits, make_split
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.testing.attacks import check_attack
from safecompress.testing.fakes import noise_audit
from safecompress.training import Recipe, TrainingState, TrainingTask, train

AUDIT, OTHER = noise_audit(40, 40, seed=0), noise_audit(20, 20, seed=1)
with seeded(0, "net"):
    TARGET = Target(Mlp((8,), 4, hidden=(12, 7)))

EVERY_KIND = [WhiteBox(epochs=2, gradients="last"), WhiteBox(epochs=2), WhiteBox(epochs=2, inputs="paper")]
KINDS = pytest.mark.parametrize("attack", EVERY_KIND, ids=["factors", "all layers", "paper"])


def fitted(attack, audit=AUDIT, target=TARGET, seed=0):
    return attack.fit(target, audit, generator=np.random.default_rng(seed))


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [WhiteBox(epochs=8, gradients="last"), WhiteBox(epochs=8, inputs="paper")], ids=["factors", "paper"]
)
def test_it_conforms(attack):
    check_attack(attack)


def test_it_needs_the_weights_and_says_what_it_costs():
    assert (WhiteBox().name, WhiteBox().access, WhiteBox().tier, Neural().tier) == ("whitebox", Access.WEIGHTS, 1, 1)
    refused = simulate_attacker(
        WhiteBox(), Target(TARGET.model, access=Access.SCORES), AUDIT, generator=np.random.default_rng(0)
    )
    assert "access to WEIGHTS" in refused.error


# --- what it finds


def trained(seed):
    """A net that knows its 200 digits by heart, and the split."""
    pools = dict.fromkeys(("member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict"), 200)
    sizes = SplitSizes.resolve(1797, train=400, member_select=0, nonmember_select=0, **pools)
    noisy = digits()
    random = np.random.default_rng(9)
    labels = noisy.labels.numpy().copy()
    shuffled = random.random(len(labels)) < 0.5
    labels[shuffled] = random.permutation(labels[shuffled])
    split = make_split(replace(noisy, labels=torch.from_numpy(labels)), sizes, seed=seed)
    with seeded(seed, "net"):
        model = Mlp((64,), 10, hidden=(128,))
    recipe = Recipe(epochs=40, batch_size=50, optimizer="adam", learning_rate=5e-3, weight_decay=0)
    course = TrainingTask(*split.part("train"), recipe, seed)
    train(model, TrainingState.capture(0, model), course, until=course.total_steps).restore_(model)
    return Target(model), split


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_an_overfitted_net_is_caught_no_worse_than_by_weaker_attacks(seed):
    target, split = trained(seed)
    scores = {}
    for attack in (WhiteBox(), Neural(), Loss()):
        attacker = simulate_attacker(attack, target, split.audit("fit"), generator=np.random.default_rng(0))
        scores[attack.name] = attacker.test(target, split.audit("verdict"), Levels()).scores
    is_member = split.audit("verdict").is_member
    assert stats.auc_interval(scores["whitebox"], is_member, 0.001).low > 0.5
    for weaker in ("neural", "loss"):
        difference = stats.auc_difference(scores["whitebox"], scores[weaker], is_member, 0.01)
        assert difference.interval.high > 0, f"significantly under {weaker}"
        assert difference.value > -0.05


class Steered(nn.Module):
    """Logits that do not depend on the last entry of a row, though the last layer reads it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.head.weight[:, -1] = 0

    def forward(self, features):
        return self.head(features)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [WhiteBox(epochs=40), WhiteBox(epochs=40, inputs="paper")], ids=["full", "paper"])
def test_a_leak_that_only_the_gradient_shows_is_found(attack):
    def leaking(audit):
        features = audit.features.clone()
        features[:, -1] = torch.from_numpy(np.where(audit.is_member, 8.0, 0.0))
        return replace(audit, features=features)

    with seeded(0, "net"):
        target = Target(Steered())
    fit_pool, test_pool = (leaking(noise_audit(100, 100, seed=seed)) for seed in (0, 1))
    found = stats.auc(fitted(attack, fit_pool, target).score(target, test_pool), test_pool.is_member)
    blind = stats.auc(
        Neural(epochs=40).fit(target, fit_pool, generator=np.random.default_rng(0)).score(target, test_pool),
        test_pool.is_member,
    )
    assert found > 0.8
    assert blind < 0.65


# --- what the branches read


def test_the_branches_inputs():
    signals = TARGET.signals(AUDIT)
    outer, inner = gradient_factors(signals)
    scores, loss, label, first, second = fitted(WhiteBox(epochs=1, inputs="paper")).reader.read(TARGET, AUDIT)
    assert torch.allclose(scores, torch.from_numpy(signals.logits_NC).softmax(dim=1).float(), atol=1e-6)
    assert np.allclose(loss[:, 0], signals.loss_N, atol=1e-6)
    assert torch.equal(label, nn.functional.one_hot(AUDIT.labels, 4).float())
    assert np.allclose(first, outer, atol=1e-7)
    assert np.allclose(second, inner, atol=1e-7)

    scores, loss, label, factors = fitted(WhiteBox(epochs=1, gradients="last")).reader.read(TARGET, AUDIT)
    assert [part.shape[1] for part in (scores, loss, label, factors)] == [4, 1, 4, 4 + 7 + 2]
    for part in (scores, loss, factors):
        assert part.mean(dim=0).abs().max() < 1e-5
        spread = part.std(dim=0, correction=0)
        assert ((spread - 1).abs() < 1e-4).logical_or(spread == 0).all()  # a dead unit stays at 0
    spread = np.where(inner.std(axis=0) > 0, inner.std(axis=0), 1)
    assert np.allclose(factors[:, :4], (outer - outer.mean(axis=0)) / outer.std(axis=0), atol=1e-4)
    assert np.allclose(factors[:, 4:11], (inner - inner.mean(axis=0)) / spread, atol=1e-4)
    length = np.log(np.linalg.norm(outer, axis=1))
    assert np.allclose(factors[:, -2], (length - length.mean()) / length.std(), atol=1e-4)


def test_all_layers_are_added_as_norms():
    last = fitted(WhiteBox(epochs=1, gradients="last")).reader.read(TARGET, AUDIT)
    every = fitted(WhiteBox(epochs=1)).reader.read(TARGET, AUDIT)
    assert all(torch.equal(a, b) for a, b in zip(last[:3], every[:3], strict=True))
    assert torch.equal(last[3], every[3][:, :13])
    norms = np.log(gradient_norms(TARGET.model, AUDIT.features, AUDIT.labels))
    assert np.allclose(every[3][:, 13:], (norms - norms.mean(0)) / norms.std(0), atol=1e-3)


def test_the_matrix_is_the_outer_product_in_any_portions():
    with seeded(0, "branch"):
        branch = MatrixBranch(5, 7).eval()
    random = np.random.default_rng(0)
    num_rows = 2 * MATRIX_ROWS + 3
    outer, inner = (torch.from_numpy(random.normal(size=(num_rows, size))).float() for size in (5, 7))
    with torch.no_grad():
        whole = branch.dense(branch.convolve(torch.einsum("nc,nh->nch", outer, inner)[:, None]).flatten(1))
        assert torch.allclose(branch(outer, inner), whole, atol=1e-6)
    assert whole.shape == (num_rows, 64)


def test_scoring_never_holds_all_matrices(monkeypatch):
    attacker, sizes = fitted(WhiteBox(epochs=1, inputs="paper")), []
    portion = MatrixBranch._portion
    monkeypatch.setattr(
        MatrixBranch, "_portion", lambda self, *parts: sizes.append(len(parts[0])) or portion(self, *parts)
    )
    attacker.score(TARGET, noise_audit(150, 150))
    assert sizes == [MATRIX_ROWS, MATRIX_ROWS, 44]


def widths(branch):
    return [(m.in_features, m.out_features) for m in branch.modules() if isinstance(m, nn.Linear)]


def test_the_net_has_the_papers_layers():
    net = fitted(WhiteBox(epochs=1, inputs="paper")).net
    assert widths(net.scores) == [(4, 128), (128, 64)]
    assert widths(net.loss) == [(1, 128), (128, 64)]
    assert widths(net.label) == [(4, 128), (128, 64)]
    assert widths(net.gradient) == [(2 * 4, 256), (256, 128), (128, 64)]
    assert widths(net.fused) == [(256, 256), (256, 128), (128, 64), (64, 1)]
    (convolution,) = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert (convolution.kernel_size, sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())) == ((5, 5), 1)
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.0, 0.2}
    full = fitted(WhiteBox(epochs=1)).net
    assert widths(full.gradient) == [(13 + 6, 128), (128, 64)]


# --- models of other shapes


@KINDS
def test_a_model_without_a_linear_layer_can_be_attacked(attack):
    audit = replace(AUDIT, features=AUDIT.features[:, None])
    target = Target(nn.Sequential(nn.Conv1d(1, 4, 8), nn.Flatten()))
    attacker = fitted(attack, audit, target)
    assert attacker.score(target, audit).shape == (80,)
    gradient = attacker.reader.read(target, audit)[3:]
    expected = [4, 1] if attack.inputs == "paper" else [4 + 1 + 2 + 2 * (attack.gradients == "all")]
    assert [part.shape[1] for part in gradient] == expected


@KINDS
def test_a_model_of_another_shape_is_refused(attack):
    attacker = fitted(attack)
    with pytest.raises(AttackError, match="the same shape"):
        attacker.score(Target(Mlp((8,), 4, hidden=(12, 6))), AUDIT)


# --- chance, and what must not matter


@pytest.mark.slow
@KINDS
def test_the_same_generator_gives_the_same_attacker_and_another_one_another(attack):
    first, again, other = (fitted(attack, seed=seed) for seed in (0, 0, 1))
    assert digest_tensors(first.net.state_dict()) == digest_tensors(again.net.state_dict())
    assert not np.array_equal(first.score(TARGET, OTHER), other.score(TARGET, OTHER))


@pytest.mark.slow
@KINDS
def test_dropout_rests_when_rows_are_scored_and_rows_are_scored_alone(attack):
    attacker = fitted(attack)
    scores = attacker.score(TARGET, OTHER)
    assert np.array_equal(scores, attacker.score(TARGET, OTHER))
    part = replace(OTHER, features=OTHER.features[5:9], labels=OTHER.labels[5:9], is_member=OTHER.is_member[5:9])
    assert np.allclose(attacker.score(TARGET, part), scores[5:9], atol=1e-5)


# --- limits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "whitebox.*epochs=0"),
        ({"inputs": "papers"}, r"whitebox attack's inputs:.*'paper'\?"),
        ({"gradients": "al"}, r"gradients:.*'all'\? Allowed: all, last"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        WhiteBox(**options)


def test_a_pool_that_is_too_small_names_the_attack():
    with pytest.raises(AttackError, match=r"too small.*whitebox"):
        fitted(WhiteBox(), noise_audit(5, 5))


def test_the_papers_net_has_no_branch_for_other_layers():
    assert WhiteBox(inputs="paper", gradients="all").gradients == "last"


def test_a_search_reads_the_last_layer_and_a_verdict_all():
    """A backward pass for every row costs too much in every round."""
    assert WhiteBox().gradients == "all"
    cheap, costly = Plan(branches=("keep",)).tests((Loss(), WhiteBox(epochs=60)))
    assert (cheap, costly) == ((Loss(),), (WhiteBox(epochs=60, gradients="last"),))
    assert as_searched(Loss()) == Loss()


# --- what stands behind the head, and models without gradients


class Keyed(nn.Module):
    """Answers the predicted class, and noise that depends on the row: the weights are those of ``network``."""

    def __init__(self, network, num_classes):
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, features):
        label = self.network(features).argmax(dim=1)
        key = (features.flatten(1).double() * 1e4).sum(dim=1, keepdim=True)
        noise = torch.sin(key * torch.arange(1, self.num_classes + 1))
        return (6 * nn.functional.one_hot(label, self.num_classes) + noise).float()


class Sure(nn.Module):
    """Always right: the label is the largest of four entries. It is surer where the last entry is larger."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(4))

    def forward(self, features):
        return self.head(features[:, :4] * features[:, -1:])


def test_a_wrapper_hides_nothing_from_whoever_has_the_weights():
    """Behind it the scores say nothing of how sure the model is."""

    def leaking(audit):
        sure = torch.from_numpy(np.where(audit.is_member, 3.0, 1.0)).float()[:, None]
        features = torch.cat([audit.features[:, :-1], sure], dim=1)
        return replace(audit, features=features, labels=features[:, :4].argmax(dim=1))

    fit_pool, test_pool = (leaking(noise_audit(100, 100, seed=seed)) for seed in (0, 1))
    target = Target(Keyed(Sure(), 4))
    found, blind = (
        stats.auc(fitted(attack, fit_pool, target).score(target, test_pool), test_pool.is_member)
        for attack in (WhiteBox(epochs=40), Neural(epochs=40))
    )
    assert found > 0.8
    assert blind < 0.65


def test_a_model_without_gradients_is_read_as_before():
    alone = Target(nn.Sequential(nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 4)))
    every, last = (fitted(WhiteBox(epochs=1, gradients=which), target=alone) for which in ("all", "last"))
    assert every.reader.gradients == "last"
    assert np.array_equal(every.score(alone, AUDIT), last.score(alone, AUDIT))
