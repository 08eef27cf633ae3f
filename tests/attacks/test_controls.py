"""The control must be caught and is made of nothing but memorising; where nobody is a member, nothing may be found."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress.attacks import Access, Confidence, Gap, Loss, Target, simulate_attacker
from safecompress.attacks.controls import (
    COSTLY,
    OVERFITTED,
    RECIPE,
    ControlShadowTrainer,
    _folded,
    _overfit_,
    _reading,
    blind_scores,
    fresh,
    negative_pool,
    stand_in,
    train_control,
)
from safecompress.attacks.shadows import ShadowDraw
from safecompress.data import AuditData
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, TrainingError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.testing.fakes import CollapsedAttack, MemorisingModel, noise_audit
from safecompress.training import TrainingTask

pytestmark = pytest.mark.own_controls

FIT, VERDICT = (noise_audit(60, 50, num_features=16, seed=seed) for seed in (0, 1))


def network(seed=0, hidden=(64, 64)):
    with seeded(seed, "net"):
        return Mlp((16,), 4, hidden=hidden)


@pytest.fixture(scope="module")
def control():
    return train_control(Target(network(), access=Access.SCORES), FIT, VERDICT, seed=3)


def digest(model):
    return digest_tensors(model.state_dict())


def right(model, pool, side):
    rows = torch.from_numpy(pool.is_member == side)
    with torch.no_grad():
        return float((model(pool.features[rows]).argmax(1) == pool.labels[rows]).double().mean())


def auc_of(attack, target, control):
    attacker = simulate_attacker(attack, target, control.fit, generator=np.random.default_rng(0))
    return attacker.test(target, control.verdict, Levels(0.01))


@dataclass(frozen=True)
class SmallLira:
    """Means of shadows in and out, one deviation for all rows."""

    threshold: ClassVar[float | None] = None
    num_shadows: int = 8
    name: str = field(default="lira", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        outputs = target.shadows.outputs(audit, count=self.num_shadows)
        phi_KN, phi_N = outputs.scaled_logit_KQN[:, 0], target.signals(audit).scaled_logit_N
        means = [np.nanmean(np.where(side, phi_KN, np.nan), axis=0) for side in (outputs.is_in_KN, ~outputs.is_in_KN)]
        return (phi_N - means[1]) ** 2 - (phi_N - means[0]) ** 2


# --- the positive control


def test_the_control_knows_its_members_and_nobody_else(control):
    assert control.is_overfitted
    assert control.accuracy >= OVERFITTED
    assert not control.network.training
    for pool in (control.fit, control.verdict):
        assert right(control.network, pool, True) >= 0.98
        assert right(control.network, pool, False) < 0.5
    known = np.mean([right(control.network, pool, True) for pool in (control.fit, control.verdict)])
    assert control.accuracy == pytest.approx(known)


def test_its_labels_change_places_within_each_side_of_each_pool(control):
    for before, after in ((FIT, control.fit), (VERDICT, control.verdict)):
        assert torch.equal(before.features, after.features)
        assert np.array_equal(before.is_member, after.is_member)
        for side in (True, False):
            rows = torch.from_numpy(before.is_member == side)
            counts = [pool.labels[rows].bincount(minlength=4).tolist() for pool in (before, after)]
            assert counts[0] == counts[1]
            assert (before.labels[rows] == after.labels[rows]).double().mean() < 0.6


def test_what_the_target_knows_does_not_reach_the_control(control):
    """Another target of the same shape, the same control; and the target is left as it was."""
    other = network(seed=8)
    before = digest(other)
    assert digest(train_control(Target(other), FIT, VERDICT, seed=3).network) == digest(control.network)
    assert digest(other) == before


def test_another_seed_gives_other_weights_and_other_labels(control):
    other = train_control(Target(network()), FIT, VERDICT, seed=4, max_epochs=10)
    assert digest(other.network) != digest(control.network)
    assert not torch.equal(other.fit.labels, control.fit.labels)


def test_global_chance_neither_matters_nor_moves(control):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    again = train_control(Target(network()), FIT, VERDICT, seed=3)
    assert digest(again.network) == digest(control.network)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.slow
def test_training_ends_as_soon_as_the_members_are_known(control):
    members = [pool.is_member for pool in (control.fit, control.verdict)]
    features, labels = (
        torch.cat([getattr(pool, part)[torch.from_numpy(rows)] for pool, rows in zip(pools, members, strict=True)])
        for pools, part in (((control.fit, control.verdict), "features"), ((control.fit, control.verdict), "labels"))
    )
    course = TrainingTask(features, labels, replace(RECIPE, epochs=300), 0)
    epochs, accuracy = _overfit_([network()], course, 300)
    assert accuracy >= OVERFITTED
    assert 10 < epochs < 300
    assert epochs % 10 == 0
    assert _overfit_([network()], course, epochs - 10)[1] < OVERFITTED
    slow = network(hidden=(8,))
    assert _overfit_([network(), slow], course, epochs + 15)[0] == epochs + 15


def test_a_control_that_had_no_time_says_so():
    short = train_control(Target(network()), FIT, VERDICT, seed=3, max_epochs=3)
    assert (short.epochs, short.is_overfitted) == (3, False)


def test_a_control_that_diverges_says_so(monkeypatch):
    def diverge(*args, **kwargs):
        raise TrainingError("infinite")

    monkeypatch.setattr("safecompress.attacks.controls.train", diverge)
    broken = train_control(Target(network()), FIT, VERDICT, seed=3)
    assert (broken.accuracy, broken.is_overfitted) == (0.0, False)


def test_of_equal_rows_only_the_first_stays():
    """Copies with labels that fall apart could not be known by heart."""
    places = torch.arange(110)
    places[1], places[70] = 0, 65  # a member twice, a non-member twice
    doubled = replace(FIT, features=FIT.features[places])
    features = VERDICT.features.clone()
    features[2] = FIT.features[3]  # a member of both pools
    control = train_control(Target(network()), doubled, replace(VERDICT, features=features), seed=3, max_epochs=1)
    assert (control.fit.num_members, control.fit.num_non_members) == (59, 49)
    assert torch.equal(control.fit.features, FIT.features[[n for n in range(110) if n not in (1, 70)]])
    assert (control.verdict.num_members, control.verdict.num_non_members) == (59, 50)


def test_it_prints_no_row(control):
    assert "tensor" not in repr(control)
    assert "Linear" not in repr(control)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [Gap(), Loss(), Confidence(), SmallLira()])
def test_attacks_catch_it(control, attack):
    found = auc_of(attack, control.as_target(), control).measurements[0]
    assert found.interval.low > (0.7 if attack == Loss() else 0.5)


# --- fresh weights


class Counting(nn.Module):
    """Batch norm has statistics; the loose parameter belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.loose = nn.Parameter(torch.full((4,), 7.0), requires_grad=False)

    def forward(self, features):
        return self.norm(self.linear(features)) + self.loose


def test_layers_draw_new_weights_and_forget_their_statistics():
    model = Counting()
    model.norm.running_mean.fill_(3.0)
    with torch.no_grad():
        model.norm.weight.fill_(2.0)
    new, again, other = fresh(model, 0), fresh(model, 0), fresh(model, 1)
    assert (new.norm.running_mean == 0).all() and (new.norm.weight == 1).all()
    assert (new.loose == 7).all()
    assert all(parameter.requires_grad for parameter in new.parameters())
    assert not torch.equal(new.linear.weight, model.linear.weight)
    assert digest(new) == digest(again) != digest(other)
    assert (model.norm.running_mean == 3).all()


def test_a_network_that_cannot_be_made_anew_is_named():
    with pytest.raises(AttackError, match=r"MemorisingModel.*reset_parameters"):
        train_control(Target(MemorisingModel.of(FIT, num_classes=4)), FIT, VERDICT, seed=0)


# --- the control under attack, with shadows and versions of its own


def test_the_control_grants_what_the_target_grants(control):
    assert control.as_target().access is Access.SCORES
    assert control.as_target().model is control.network
    assert control.as_target().versions == {}


@pytest.mark.slow
def test_its_shadows_know_the_rows_that_they_trained_on(control):
    target = control.as_target()
    assert target.shadows.mode == "control"
    for pool in (control.fit, control.verdict):
        outputs = target.shadows.outputs(pool, count=8)
        assert outputs.is_correct_KN[outputs.is_in_KN].mean() > 0.9
        assert outputs.is_correct_KN[~outputs.is_in_KN].mean() < 0.5
        shares = outputs.is_in_KN.mean(axis=0)
        assert 0.25 <= shares.min() <= shares.max() <= 0.75
    in_all = [target.shadows.outputs(pool, count=8).is_in_KN.sum(axis=1) for pool in (control.fit, control.verdict)]
    assert (sum(in_all) == 120).all()  # as many rows as the control has members


def test_a_group_of_shadows_is_the_same_as_one_after_another(control):
    rows, trainer = control.as_target().shadows.rows, ControlShadowTrainer(control.network, replace(RECIPE, epochs=4))
    draws = control.as_target().shadows.rows.draws(3)
    work = [ShadowDraw(number, np.flatnonzero(line)) for number, line in enumerate(draws)]
    together, alone = trainer(rows, work), [trainer(rows, [draw])[0] for draw in work]
    for first, second in zip(together, alone, strict=True):
        assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in second)
    assert not torch.allclose(together[0]["head.weight"], together[1]["head.weight"], atol=1e-2)


def test_only_small_stacks_are_trained_in_groups():
    sizes = [
        ControlShadowTrainer(net, RECIPE).group_size for net in (network(), network(hidden=(512, 512)), Counting())
    ]
    assert sizes == [8, 1, 1]


def test_other_ways_of_training_have_other_digests():
    trainers = [
        ControlShadowTrainer(network(), RECIPE),
        ControlShadowTrainer(network(1), RECIPE),
        ControlShadowTrainer(network(), RECIPE, "dense"),
        ControlShadowTrainer(network(), replace(RECIPE, epochs=3)),
    ]
    assert len({trainer.digest() for trainer in trainers}) == 4
    assert ControlShadowTrainer(network(), RECIPE).digest() == trainers[0].digest()


@pytest.mark.slow
def test_versions_of_the_target_have_versions_of_the_control():
    wide = Target(network(hidden=(96,)))
    target = Target(network(), versions={"dense": wide})
    control = train_control(target, FIT, VERDICT, seed=3)
    found = control.as_target().versions["dense"]
    assert found.model.head.in_features == 96
    assert digest(found.model) != digest(wide.model)
    known = [
        right(net, pool, True) for net in (control.network, found.model) for pool in (control.fit, control.verdict)
    ]
    assert control.accuracy == pytest.approx(min(np.mean(known[:2]), np.mean(known[2:])))
    ours, theirs = (t.shadows.outputs(control.fit, count=2) for t in (control.as_target(), found))
    assert np.array_equal(ours.is_in_KN, theirs.is_in_KN)


def test_shadows_of_equal_nets_differ_between_versions():
    target = Target(network(), versions={"dense": Target(network())})
    control = train_control(target, FIT, VERDICT, seed=3, max_epochs=2)
    version = control.as_target().versions["dense"]
    assert digest(version.model) != digest(control.network)
    ours, theirs = (t.shadows.outputs(control.fit, count=1) for t in (control.as_target(), version))
    assert not np.allclose(ours.scaled_logit_KQN, theirs.scaled_logit_KQN)


@pytest.mark.slow
def test_groups_of_shadows_go_through_run(control):
    sizes = []

    def run(fn, items):
        for item in items:
            sizes.append(len(item))
            yield fn(item)

    control.as_target(run=run).shadows.outputs(control.fit, count=9)
    assert sizes == [8, 8]


def test_a_collapsed_attack_is_not_proven_by_it(control):
    assert auc_of(CollapsedAttack(), control.as_target(), control).error is not None


# --- the negative control


def test_non_members_of_the_first_stand_where_members_would():
    first = AuditData(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 2]), np.array([True, False, False]))
    second = AuditData(torch.tensor([[4.0], [5.0]]), torch.tensor([3, 4]), np.array([False, True]))
    pool = negative_pool(first, second)
    assert pool.features.flatten().tolist() == [2.0, 3.0, 4.0]
    assert pool.labels.tolist() == [1, 2, 3]
    assert pool.is_member.tolist() == [True, True, False]


def test_a_negative_control_needs_both_sides():
    members = replace(FIT, is_member=np.ones(110, dtype=bool))
    with pytest.raises(AttackError, match="sides, got 0 and 50"):
        negative_pool(members, VERDICT)
    with pytest.raises(AttackError, match="got 50 and 0"):
        negative_pool(VERDICT, members)


# --- the blind baseline


def pools(change, *, num_rows=150, num_features=24):
    """Two pools whose members are changed by ``change(features, labels)`` in place."""
    made = []
    for seed in (0, 1):
        audit = noise_audit(num_rows, num_rows, num_features=num_features, seed=seed)
        features, labels = audit.features[:num_rows], audit.labels[:num_rows]
        change(features, labels)  # views
        made.append(audit)
    return made


def blind_auc(fit, verdict, seed=0):
    return stats.auc(blind_scores(fit, verdict, seed=seed), verdict.is_member)


LEAKS = {
    "a shift spread over all columns": lambda x, y: x.add_(0.25),
    "one column shifted": lambda x, y: x[:, 3].add_(1.0),
    "a wider spread": lambda x, y: x.mul_(1.3),
    "one column's shape": lambda x, y: x[:, 5].copy_(x[:, 5].sign()),
    "labels": lambda x, y: y.remainder_(2),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LEAKS)
def test_the_baseline_sees_pools_that_differ(what):
    assert blind_auc(*pools(LEAKS[what])) > 0.65


def test_the_baseline_sees_nothing_between_equal_pools():
    fit, verdict = pools(lambda x, y: None)
    interval = stats.auc_interval(blind_scores(fit, verdict, seed=0), verdict.is_member, 0.01)
    assert interval.low <= 0.5 <= interval.high


@pytest.mark.slow
def test_the_baseline_reads_no_membership_of_the_rows_it_scores():
    fit, verdict = pools(LEAKS["labels"])
    flipped = replace(verdict, is_member=~verdict.is_member)
    assert np.array_equal(blind_scores(fit, verdict, seed=0), blind_scores(fit, flipped, seed=0))


@pytest.mark.slow
def test_the_baseline_depends_on_its_seed_alone():
    fit, verdict = pools(LEAKS["labels"])
    first, again, other = (blind_scores(fit, verdict, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.dtype, first.shape, first.min() >= 0, first.max() <= 1) == (np.float64, (300,), True, True)


@pytest.mark.slow
def test_a_faint_shift_of_many_columns_is_seen():
    """By a forest alone: 0.68."""
    assert blind_auc(*pools(lambda x, y: x.add_(0.1), num_rows=250, num_features=400)) > 0.75


@pytest.mark.slow
def test_wide_rows_are_folded_and_still_seen():
    fit, verdict = pools(lambda x, y: x.add_(0.2), num_rows=60, num_features=5000)
    assert blind_auc(fit, verdict) > 0.8
    assert _reading(fit, 4, 0).shape == (120, 4096 + 4)
    assert np.array_equal(_reading(replace(fit, features=fit.features[:, :9]), 4, 0)[:, :9], fit.features[:, :9])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(4097, 6000))
def test_folding_adds_signed_columns(seed, width):
    """Against the sum written out; every column ends in one place, so the squares of unit rows are 1."""
    rows = np.zeros((3, width))
    columns = np.random.default_rng(seed).choice(width, 3, replace=False)
    rows[np.arange(3), columns] = 1.0
    folded = _folded(rows, np.random.default_rng(seed))
    assert folded.shape == (3, 4096)
    assert np.array_equal((folded**2).sum(axis=1), np.ones(3))
    assert np.array_equal(np.sort(np.abs(folded[folded != 0])), np.ones(3))
    both = _folded(rows[:1] + 2 * rows[1:2], np.random.default_rng(seed))
    assert np.allclose(both, folded[:1] + 2 * folded[1:2])


@pytest.mark.slow
def test_a_class_that_only_one_pool_has_is_no_obstacle():
    fit, verdict = pools(lambda x, y: None)
    rare = replace(verdict, labels=torch.where(torch.arange(300) == 0, 9, verdict.labels))
    assert np.isfinite(blind_scores(fit, rare, seed=0)).all()
    assert np.isfinite(blind_scores(rare, fit, seed=0)).all()


def test_a_costly_network_is_represented_by_a_perceptron_and_a_twin_by_itself() -> None:
    images = torch.zeros(1, 3, 16, 16)
    small, large = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2000, 3)
    cheap = nn.Sequential(small, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    costly = nn.Sequential(large, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2000, 5))
    assert 2 * 14 * 14 * 2000 * 27 > COSTLY > 2 * 14 * 14 * 4 * 27
    assert stand_in(cheap, images) is cheap
    perceptron = stand_in(costly, images)
    assert isinstance(perceptron[2], nn.Linear) and perceptron(images).shape == (1, 5)
    costly.twin = cheap
    assert stand_in(costly, images) is cheap
    assert costly.training and cheap.training  # asked without being changed


def test_the_perceptron_learns_pixels_by_heart() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(300, 3, 16, 16, generator=generator), torch.arange(300) % 5
    pools = [AuditData(images[k::2], labels[k::2], np.arange(150) < 75) for k in range(2)]
    costly = nn.Sequential(nn.Conv2d(3, 2000, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2000, 5))
    control = train_control(Target(costly), *pools, seed=0, max_epochs=100)
    assert control.is_overfitted and isinstance(control.network[1], nn.LayerNorm)
