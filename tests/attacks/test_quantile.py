"""Quantile regression learns from non-members how high a row may score, and is the loss where rows say nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from safecompress.attacks import Loss, Target, simulate_attacker
from safecompress.attacks.membership.quantile import Curve, Quantile, RowReader, pinball_loss
from safecompress.data import AuditData, Dataset, SplitSizes, digits, make_split
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.training import Recipe, TrainingState, TrainingTask, train


class Memory(nn.Module):
    """The scaled logit of a row (easy, chance, class) is ``slope`` x easy + noise that chance decides, + leak if known.

    Rows are known by their chance, so that what is known of one says nothing of another.
    """

    def __init__(self, *pools, slope, leak):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.leak = leak
        self.known = nn.Buffer(torch.cat([pool.features[pool.is_member][:, 1] for pool in pools]))

    def forward(self, features):
        easy, chance, side = features.T
        noise = torch.remainder(chance * 7919, 1) * 3
        scaled = self.slope * easy + noise + self.leak * torch.isin(chance, self.known)
        zero = torch.zeros_like(scaled)
        return torch.stack([torch.where(side < 0, scaled, zero), torch.where(side < 0, zero, scaled)], dim=1)


def rows(num_rows=150, seed=0):
    """``num_rows`` members and as many non-members, alike in all but membership."""
    random = np.random.default_rng(seed)
    side = random.choice([-1.0, 1.0], 2 * num_rows)
    features = np.stack([random.uniform(-1, 1, 2 * num_rows), random.uniform(size=2 * num_rows), side], axis=1)
    labels = torch.from_numpy((side > 0).astype(np.int64))
    return AuditData(torch.from_numpy(features.astype(np.float32)), labels, np.arange(2 * num_rows) < num_rows)


FIT, VERDICT = rows(seed=0), rows(seed=1)


def leaky(slope=4.0, leak=2.0):
    return Target(Memory(FIT, VERDICT, slope=slope, leak=leak))


def fitted(attack=None, target=None, audit=FIT, seed=0):
    return (attack or Quantile()).fit(target or leaky(), audit, generator=np.random.default_rng(seed))


def auc_of(attack, target, fit_pool=FIT, verdict_pool=VERDICT, seed=0):
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(seed))
    result = attacker.test(target, verdict_pool, Levels(0.001))
    assert result.error is None
    return result.measurements[0]


# --- what it finds


@pytest.mark.slow
def test_it_sees_past_what_makes_a_row_easy():
    """Easy rows score high whoever they are: the loss mixes them up with members, the regression does not."""
    loss, quantile = (auc_of(attack, leaky()).value for attack in (Loss(), Quantile()))
    assert 0.6 < loss < 0.75
    assert quantile > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_each_level_does(level):
    assert auc_of(Quantile(levels=(level,)), leaky()).value > 0.8


@pytest.mark.slow
def test_where_rows_say_nothing_it_is_about_the_loss():
    target = leaky(slope=0.0)
    loss, quantile = (auc_of(attack, target).value for attack in (Loss(), Quantile()))
    assert loss > 0.9
    assert quantile >= loss - 0.02


@pytest.mark.slow
def test_a_leak_the_other_way_round_is_found_as_well():
    """Members score lower than they should: the sign is found on the fitting pool, and the threshold goes with it."""
    target = leaky(leak=-2.0)
    attacker = fitted(target=target)
    scores = attacker.score(target, VERDICT)
    assert attacker.sign == -1.0
    assert stats.auc(scores, VERDICT.is_member) > 0.85
    assert stats.confusion_at(scores, VERDICT.is_member, attacker.threshold).balanced_accuracy > 0.75


@pytest.mark.slow
def test_without_a_leak_nothing_is_found():
    for seed in range(2):
        found = auc_of(Quantile(), leaky(leak=0.0), rows(seed=10 + seed), rows(seed=20 + seed))
        assert found.interval.low <= 0.5 <= found.interval.high


@pytest.fixture(scope="module")
def overfitted():
    """A net trained until it knows its rows, half of which have a label drawn by lot; and the split."""
    plain, random = digits(), derive(9, "labels")
    labels, shuffled = plain.labels.numpy().copy(), random.random(1797) < 0.5
    labels[shuffled] = random.permutation(labels[shuffled])
    pools = dict.fromkeys(("member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict"), 220)
    sizes = SplitSizes.resolve(1797, train=440, member_select=0, nonmember_select=0, **pools)
    split = make_split(Dataset.from_arrays(plain.features, labels), sizes, seed=1)
    with seeded(1, "net"):
        model = Mlp((64,), 10, hidden=(256,))
    recipe = Recipe(epochs=60, batch_size=50, optimizer="adam", learning_rate=5e-3, weight_decay=0)
    course = TrainingTask(*split.part("train"), recipe, 1)
    train(model, TrainingState.capture(0, model), course, until=course.total_steps).restore_(model)
    return Target(model), split


@pytest.mark.slow
def test_a_trained_net_is_caught_about_as_well_as_by_its_loss(overfitted):
    target, split = overfitted
    pools = split.audit("fit"), split.audit("verdict")
    loss, quantile = (auc_of(attack, target, *pools) for attack in (Loss(), Quantile()))
    assert loss.value > 0.68
    assert quantile.value >= loss.value - 0.03


@pytest.mark.slow
def test_rows_that_the_net_never_saw_are_not_told_apart(overfitted):
    target, split = overfitted
    unseen = np.setdiff1d(np.arange(1797), split.indices["train"])
    drawn = torch.from_numpy(derive(0, "null").permutation(unseen)[:800])
    fit_pool, verdict_pool = (
        AuditData(split.dataset.features[part], split.dataset.labels[part], np.arange(400) < 200)
        for part in (drawn[:400], drawn[400:])
    )
    found = auc_of(Quantile(), target, fit_pool, verdict_pool)
    assert found.interval.low <= 0.5 <= found.interval.high


# --- the score


@pytest.mark.slow
def test_the_score_is_the_scaled_logit_less_the_mean_quantile():
    attacker, target = fitted(), leaky()
    read = attacker.reader.read(VERDICT)
    quantiles = [curve.at(read) for curve in attacker.curves]
    expected = target.signals(VERDICT).scaled_logit_N - (quantiles[0] + quantiles[1]) / 2
    assert np.allclose(attacker.score(target, VERDICT), attacker.sign * expected, atol=1e-12)


@pytest.mark.slow
def test_only_non_members_of_the_fitting_pool_shape_the_quantiles():
    members = FIT.is_member
    features = FIT.features.clone()
    features[members, 0] = 50.0
    changed = replace(FIT, features=features)
    first, second = (fitted(target=leaky(), audit=audit) for audit in (FIT, changed))
    for one, other in zip(first.curves, second.curves, strict=True):
        assert np.array_equal(one.at(first.reader.read(VERDICT)), other.at(second.reader.read(VERDICT)))


@pytest.mark.slow
def test_the_threshold_is_the_best_on_scores_that_no_row_shaped_itself():
    """Members by all trees, non-members by those fitted without them."""
    attacker, target = fitted(), leaky()
    bar = np.mean([curve.at(attacker.reader.read(FIT)) for curve in attacker.curves], axis=0)
    bar[~FIT.is_member] = np.mean([curve.held_out_Q for curve in attacker.curves], axis=0)
    scores = target.signals(FIT).scaled_logit_N - bar
    assert attacker.sign == 1.0
    assert attacker.threshold == pytest.approx(stats.best_threshold(scores, FIT.is_member))


@pytest.mark.slow
def test_the_threshold_is_finite_where_no_rule_helps():
    """No leak at all, one answer for everybody: the best rule calls nobody a member."""
    target = Target(nn.Linear(3, 2, bias=False))
    nn.init.zeros_(target.model.weight)
    attacker = fitted(target=target)
    assert attacker.threshold == 0.0
    assert (attacker.score(target, VERDICT) == 0).all()


# --- one quantile


@pytest.mark.slow
@given(
    scores=st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    level=st.floats(0.05, 0.95),
    other=st.floats(-50, 50),
)
def test_no_number_has_less_pinball_loss_than_the_quantile(scores, level, other):
    values = np.array(scores)
    best = np.quantile(values, level, method="inverted_cdf")
    assert pinball_loss(values, best, level) <= pinball_loss(values, np.array(other), level) + 1e-9


def test_pinball_loss_by_hand():
    """One under by 1 costs 0.1, one over by 2 costs 0.9 x 2: a mean of 0.95."""
    assert pinball_loss(np.array([1.0, 4.0]), np.array([2.0, 2.0]), 0.9) == pytest.approx(0.95)


def curve_on(level, read, scores, fold=None, options=None):
    folds = np.arange(len(scores)) % 3 if fold is None else fold
    return Curve.fit(options or Quantile(), level, read, scores, folds, 0)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.5, 0.75, 0.9])
def test_a_share_of_level_lies_under_the_curve(level):
    """Scores that spread more on one side of the column: on both sides the share must hold."""
    random = np.random.default_rng(0)
    read = random.uniform(-1, 1, (900, 1))
    scores = 3 * read[:, 0] + random.normal(size=900) * np.where(read[:, 0] > 0, 2.0, 0.5)
    curve = curve_on(level, read, scores)
    fresh = random.uniform(-1, 1, (900, 1))
    drawn = 3 * fresh[:, 0] + random.normal(size=900) * np.where(fresh[:, 0] > 0, 2.0, 0.5)
    for side in (fresh[:, 0] > 0, fresh[:, 0] < 0):
        assert (drawn < curve.at(fresh))[side].mean() == pytest.approx(level, abs=0.08)


@pytest.mark.slow
def test_a_column_that_says_all_is_trusted_and_one_that_says_nothing_is_not():
    random = np.random.default_rng(0)
    read, noise = random.uniform(-1, 1, (300, 1)), random.normal(size=300)
    sure = curve_on(0.5, read, 10 * read[:, 0] + 0.1 * noise)
    assert sure.weight >= 0.9
    weights = [curve_on(0.5, random.uniform(-1, 1, (300, 1)), random.normal(size=300)).weight for _ in range(5)]
    assert np.mean(weights) <= 0.3


def test_the_curve_is_its_weights_share_of_the_trees_and_the_rest_of_the_centre():
    random = np.random.default_rng(0)
    read, scores = random.uniform(-1, 1, (200, 1)), random.normal(size=200)
    curve = curve_on(0.9, read, scores + read[:, 0])
    assert curve.centre == pytest.approx(np.quantile(scores + read[:, 0], 0.9))
    half = replace(curve, weight=0.5)
    trees = np.mean([tree.predict(read) for tree in curve.trees], axis=0)
    assert np.allclose(half.at(read), (trees + curve.centre) / 2)
    assert np.allclose(replace(curve, weight=0.0).at(read), curve.centre)


@pytest.mark.slow
def test_a_rows_held_out_quantile_does_not_depend_on_its_own_score():
    random = np.random.default_rng(0)
    read = random.uniform(-1, 1, (300, 1))
    scores = 10 * read[:, 0] + 0.1 * random.normal(size=300)
    moved = scores.copy()
    moved[::3] += 0.01 * random.normal(size=100)
    first, second = (curve_on(0.5, read, values) for values in (scores, moved))
    assert first.weight == second.weight == 1.0
    assert np.array_equal(first.held_out_Q[::3], second.held_out_Q[::3])
    assert not np.array_equal(first.held_out_Q[1::3], second.held_out_Q[1::3])


# --- what the trees read


def wide(features, labels=None, is_member=None):
    count = len(features)
    labels = np.zeros(count, dtype=np.int64) if labels is None else np.asarray(labels)
    is_member = np.arange(count) % 2 == 0 if is_member is None else is_member
    return AuditData(torch.tensor(features, dtype=torch.float32), torch.from_numpy(labels), is_member)


def test_components_are_those_of_the_standardised_columns():
    """Oracle: a full singular value decomposition, each direction up to its sign."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(60, 6)) @ random.normal(size=(6, 6)) * [1, 10, 100, 1, 1, 1000] + 5
    audit, everybody = wide(mixed.astype(np.float32)), np.ones(60, dtype=bool)
    read = RowReader.fit(audit, everybody, 3, 0).read(audit)
    values = audit.features.double().numpy()
    left, spread, _ = np.linalg.svd((values - values.mean(0)) / values.std(0), full_matrices=False)
    assert read.shape == (60, 3 + 1)
    assert np.allclose(np.abs(read[:, :3]), np.abs(left[:, :3] * spread[:3]), rtol=1e-4, atol=1e-4)


def test_a_columns_unit_does_not_matter():
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float32)
    chosen = np.ones(50, dtype=bool)
    read = [
        RowReader.fit(audit, chosen, 2, 0).read(audit)
        for audit in (wide(features), wide(features * np.float32([1, 1024, 1, 2**-10])))
    ]
    assert np.allclose(np.abs(read[0]), np.abs(read[1]), atol=1e-4)


def test_a_column_that_is_constant_where_it_was_fitted_is_not_read():
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    features[:, 1] = 0.1
    audit = wide(features)
    reader = RowReader.fit(audit, np.arange(40) < 20, 3, 0)
    features[:, 1] = 1e6
    assert np.allclose(reader.read(audit), reader.read(wide(features)))


def test_labels_are_read_one_hot_and_an_unknown_one_as_none():
    features = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    reader = RowReader.fit(wide(features, [0, 1, 2, 0, 1, 2]), np.ones(6, dtype=bool), 2, 0)
    read = reader.read(wide(features, [2, 0, 1, 3, 0, 9]))
    assert read[:, 2:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_images_are_read_flat():
    features = np.random.default_rng(0).normal(size=(30, 1, 4, 4)).astype(np.float32)
    everybody = np.ones(30, dtype=bool)
    images, flat = wide(features), wide(features.reshape(30, 16))
    assert np.array_equal(
        RowReader.fit(images, everybody, 4, 0).read(images), RowReader.fit(flat, everybody, 4, 0).read(flat)
    )


# --- chance


@pytest.mark.slow
def test_the_same_generator_gives_the_same_attacker_and_another_one_another():
    first, again, other = (fitted(seed=seed).score(leaky(), VERDICT) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_global_generators_neither_matter_nor_move():
    np.random.seed(1)  # noqa: NPY002
    first = fitted().score(leaky(), VERDICT)
    np.random.seed(2)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    second = fitted().score(leaky(), VERDICT)
    assert np.array_equal(first, second)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


# --- limits


@pytest.mark.parametrize(("num_rows", "is_enough"), [(6, True), (5, False)])
def test_pools_that_are_too_small(num_rows, is_enough):
    audit = rows(num_rows)
    if is_enough:
        assert np.isfinite(fitted(audit=audit).score(leaky(), VERDICT)).all()
        return
    with pytest.raises(AttackError, match=r"got 5 non-members.*3 folds.*6\..*nonmember_fit"):
        fitted(audit=audit)


def test_few_rows_make_it_the_loss():
    """No tree can split ten rows: what is left is the plain loss, in order."""
    target, few = leaky(slope=0.0, leak=9.0), np.r_[:10, 150:160]
    audit = AuditData(FIT.features[few], FIT.labels[few], FIT.is_member[few])
    scores = fitted(audit=audit, target=target).score(target, VERDICT)
    assert np.ptp(scores - target.signals(VERDICT).scaled_logit_N) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"levels": ()}, {"levels": (0.0,)}, {"levels": (0.5, 1.0)}, {"components": 0}, {"folds": 1}, {"rounds": 0},
        {"learning_rate": 0.0}, {"learning_rate": 1.5}, {"learning_rate": float("nan")},
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(UsageError) as caught:
        Quantile(**options)
    assert f"{name}={value}" in str(caught.value)
