"""LiRA as an attack: what it finds, what it never reads, when it refuses; and once with real shadows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.attacks import MEMBERSHIP, Access, Target, simulate_attacker
from safecompress.attacks.membership import likelihood
from safecompress.attacks.membership.joint import JointLira
from safecompress.attacks.membership.likelihood import lira_classes
from safecompress.attacks.membership.lira import Lira, ShadowAnswers
from safecompress.attacks.membership.rmia import Base, Rmia
from safecompress.attacks.shadows import ShadowModels, ShadowOutputs, ShadowRows
from safecompress.data import AuditData, digits
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded


class Written(nn.Module):
    """Two classes; the logit of class 0, the label of every row, is the row's first feature: phi is that feature."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features):
        return torch.stack([features[:, 0] * self.scale, torch.zeros(len(features))], dim=1)


class WrittenShadows:
    """Shadows that say of each row what was written down for it; rows are known by their second feature, a number in
    millionths: so small that variants of a row differ by its first feature."""

    mode = "written"

    def __init__(self, phi_KN, is_in_KN, noise=0.1):
        self.phi_KN, self.is_in_KN, self.noise, self.asked = phi_KN, is_in_KN, noise, []

    def outputs(self, audit, *, count, queries=1):
        self.asked.append((count, queries))
        rows = (1e6 * audit.features[:, 1]).round().long().numpy()
        phi = self.phi_KN[:count, rows][:, None].repeat(queries, axis=1)
        for query in range(1, queries):
            phi[:, query] += self.noise * np.random.default_rng(query).normal(size=self.phi_KN.shape)[:count, rows]
        return ShadowOutputs(phi, self.is_in_KN[:count, rows], phi[:, 0] > 0)


def halves(num_shadows, num_rows, random):
    """Pairs of shadows: a row is in one of the two."""
    first = random.random((num_shadows // 2, num_rows)) < 0.5
    return np.stack([first, ~first], axis=1).reshape(num_shadows, num_rows)


def audit_of(phi_N, is_member_N, rows):
    features = torch.from_numpy(np.stack([phi_N[rows], rows / 1e6], axis=1).astype(np.float32))
    return AuditData(features, torch.zeros(len(rows), dtype=torch.int64), is_member_N[rows])


def written(num_rows=1200, num_shadows=16, *, effect=1.5, seed=0, target_effect=None, shift=0.0):
    """Target, fitting pool and test pool. Being in moves phi by ``effect`` and noise is N(0, 1): the best AUC is known.

    ``target_effect`` and ``shift``: how the target differs from what its shadows say.
    """
    random = np.random.default_rng(seed)
    base = random.normal(0, 4, num_rows)
    is_in, is_member = halves(num_shadows, num_rows, random), random.permutation(num_rows) < num_rows // 2
    shadows = base + effect * is_in + random.normal(size=is_in.shape)
    moved = effect if target_effect is None else target_effect
    phi = base + moved * is_member + random.normal(size=num_rows) + shift
    pools = [audit_of(phi, is_member, rows) for rows in np.array_split(np.arange(num_rows), [num_rows // 3])]
    return Target(Written(), shadows=WrittenShadows(shadows, is_in)), *pools


def run(attack, target, fit_pool, test_pool):
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(0))
    result = attacker.test(target, test_pool, Levels())
    assert result.error is None, result.error
    return {measurement.name.split(".")[1]: measurement.value for measurement in result.measurements}


ATTACKS = [Lira(), Lira(mode="offline"), Lira(variance="pooled"), Lira(queries=2), Rmia(), Rmia(mode="offline"), Base()]


def best_auc(effect):
    """Two normal laws ``effect`` deviations apart."""
    return float(torch.special.ndtr(torch.tensor(effect / np.sqrt(2))))


# --- what it finds


def test_online_with_many_shadows_comes_near_the_best_there_is():
    target, fit_pool, test_pool = written(3000, 64, effect=1.5)
    found = run(Lira(num_shadows=64), target, fit_pool, test_pool)
    assert found["auc"] > best_auc(1.5) - 0.025
    assert found["balanced_accuracy"] > float(torch.special.ndtr(torch.tensor(0.75))) - 0.04
    plain = stats.auc(target.signals(test_pool).scaled_logit_N, test_pool.is_member)
    assert plain < 0.65 < 0.8 < found["auc"]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_every_comparison_beats_the_plain_logit_where_rows_differ(attack):
    target, fit_pool, test_pool = written()
    plain = stats.auc(target.signals(test_pool).scaled_logit_N, test_pool.is_member)
    assert run(attack, target, fit_pool, test_pool)["auc"] > plain + 0.05


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_nothing_is_found_where_training_leaves_no_trace(attack):
    target, fit_pool, test_pool = written(effect=0.0)
    result = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(0)).test(
        target, test_pool, Levels(0.001)
    )
    assert result.measurements[0].interval.low <= 0.5 <= result.measurements[0].interval.high


def test_shadows_that_are_asked_for():
    target, fit_pool, _ = written()
    for attack, expected in ((Lira(8, queries=3), (8, 3)), (Rmia(6), (6, 1)), (Base(4), (4, 1))):
        target.shadows.asked.clear()
        attack.fit(target, fit_pool, generator=np.random.default_rng(0))
        assert target.shadows.asked == [expected]


def test_each_query_is_compared_with_the_shadows_answer_to_the_same_query():
    """Scores equal those of the arithmetic on the target's variants, which differ from the rows themselves."""
    target, fit_pool, _ = written()
    outputs = target.shadows.outputs(fit_pool, count=16, queries=3)
    phi_QN = np.stack([target.query(fit_pool, query).scaled_logit_N for query in range(3)])
    assert not np.allclose(phi_QN[0], phi_QN[1])
    expected = likelihood.lira_online(phi_QN, outputs.scaled_logit_KQN, outputs.is_in_KN)
    assert np.array_equal(Lira(queries=3).compare(target, fit_pool), expected)


def test_options_reach_the_arithmetic():
    target, fit_pool, _ = written()
    scores = [
        attack.compare(target, fit_pool)
        for attack in (Lira(), Lira(mode="offline"), Lira(variance="pooled"), Lira(variance="per_sample"), Lira(8))
    ]
    for first in range(len(scores)):
        for second in range(first):
            assert not np.allclose(scores[first], scores[second])


# --- sign and threshold


def test_the_threshold_follows_a_shift_of_the_target():
    """All of the target's logits are higher than its shadows': zero would call nearly everybody a member."""
    target, fit_pool, test_pool = written(2400, shift=1.2)
    for attack in (Lira(), Lira(mode="offline")):
        found = run(attack, target, fit_pool, test_pool)
        fixed = (attack.compare(target, test_pool) >= 0) == test_pool.is_member
        assert found["balanced_accuracy"] > fixed.mean() + 0.05


def test_noise_on_a_small_pool_never_turns_the_sign():
    """A small leak and twenty fitting rows: their AUC is under one half in many draws, yet the sign stays."""
    below = 0
    for seed in range(40):
        target, fit_pool, _ = written(60, 8, effect=0.3, seed=seed)
        fitted = Lira(8).fit(target, fit_pool, generator=np.random.default_rng(0))
        below += stats.auc(fitted.score(target, fit_pool), fit_pool.is_member) < 0.5
        assert fitted.sign == 1.0
    assert below >= 5


def test_a_real_but_inverted_leak_counts():
    """A target that is less sure of its members, against shadows that are surer of theirs."""
    target, fit_pool, test_pool = written(target_effect=-1.5)
    for attack in (Lira(), Rmia(), Base()):
        assert run(attack, target, fit_pool, test_pool)["auc"] > 0.7


def test_the_threshold_is_finite_where_scores_do_not_help():
    target, fit_pool, _ = written(num_rows=60)
    worse = replace(fit_pool, is_member=Lira().compare(target, fit_pool) < np.median(Lira().compare(target, fit_pool)))
    some = replace(fit_pool, is_member=np.arange(len(fit_pool.labels)) == np.argmin(Lira().compare(target, fit_pool)))
    for pool in (worse, some):
        assert np.isfinite(Lira().fit(target, pool, generator=np.random.default_rng(0)).threshold)


# --- what it never reads


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_score_neither_reads_membership_nor_depends_on_place(attack):
    target, fit_pool, test_pool = written(300)
    fitted = attack.fit(target, fit_pool, generator=np.random.default_rng(0))
    scores = fitted.score(target, test_pool)
    assert scores.dtype == np.float64 and scores.shape == (200,)
    inverted = replace(test_pool, is_member=~test_pool.is_member)
    assert np.array_equal(fitted.score(target, inverted), scores)
    order = np.random.default_rng(1).permutation(200)
    turned = AuditData(test_pool.features[order], test_pool.labels[order], test_pool.is_member[order])
    assert np.allclose(fitted.score(target, turned), scores[order], atol=1e-9 if attack != Lira(queries=2) else 1e-6)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_same_twice_whatever_the_generator(attack):
    target, fit_pool, test_pool = written(300)
    first, second = (attack.fit(target, fit_pool, generator=np.random.default_rng(seed)) for seed in (0, 1))
    assert first == second
    assert np.array_equal(first.score(target, test_pool), second.score(target, test_pool))


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("num_rows", [60, 63])
def test_a_constant_model_has_auc_one_half_and_is_no_error(attack, num_rows):
    """Also where shadows are constant at another value, and counts of shadows differ between rows."""
    random = np.random.default_rng(0)
    is_in = halves(16, num_rows, random)
    is_in[0] = True
    is_member = np.arange(num_rows) < 20
    for shadow in (0.3, 1.7):
        shadows = WrittenShadows(np.full((16, num_rows), shadow), is_in, noise=0.0)
        target = Target(Constant(), shadows=shadows)
        pool = audit_of(np.full(num_rows, 0.3), is_member, np.arange(num_rows))
        assert run(attack, target, pool, pool)["auc"] == 0.5


class Constant(Written):
    def forward(self, features):
        return torch.tensor([[0.3, 0.0]]).repeat(len(features), 1) * self.scale


def test_shadows_that_are_the_target_itself_are_no_broken_attack():
    """Training that ignores its rows: logits vary, yet there is nothing to compare, and the honest AUC is one half."""
    random = np.random.default_rng(0)
    phi, is_member = random.normal(size=60).astype(np.float32).astype(np.float64), np.arange(60) < 30
    pool = audit_of(phi, is_member, np.arange(60))
    logits = Target(Written()).signals(pool).scaled_logit_N
    target = Target(Written(), shadows=WrittenShadows(np.tile(logits, (16, 1)), halves(16, 60, random)))
    for attack in (Lira(), Rmia(), Base()):
        assert run(attack, target, pool, pool)["auc"] == 0.5


# --- refusals


@pytest.mark.parametrize("make", [Lira, Rmia, Base, JointLira])
def test_without_shadows_the_reason_is_given(make):
    _, fit_pool, _ = written(60)
    target = Target(Written())
    target.versions["dense"] = target
    with pytest.raises(AttackError, match="shadow"):
        make().fit(target, fit_pool, generator=np.random.default_rng(0))


def test_rows_outside_the_pool_are_named_online_and_fine_offline():
    target, fit_pool, _ = written(300)
    target.shadows.is_in_KN[:, :7] = False
    with pytest.raises(AttackError, match="100 rows, 7 lack"):
        Lira().compare(target, fit_pool)
    with pytest.raises(AttackError, match="100 rows, 7 lack"):
        Rmia().compare(target, fit_pool)
    assert np.isfinite(Lira(mode="offline").compare(target, fit_pool)).all()
    assert np.isfinite(Rmia(mode="offline").compare(target, fit_pool)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shadows": 3}, "needs at least 4"),
        ({"mode": "onlin"}, "mean 'online'"),
        ({"variance": "pool"}, "mean 'pooled'"),
        ({"queries": 0}, "at least 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        Lira(**options)


def test_what_it_is_called_and_needs():
    for attack, name in ((Lira(), "lira"), (Rmia(), "rmia"), (Base(), "base"), (JointLira(), "joint_lira")):
        assert (attack.name, attack.access, attack.tier, attack.num_shadows) == (name, Access.SCORES, 2, 16)


# --- with real shadows


class TinyTrainer:
    """Trains MLPs 64-64-10 on the drawn rows until they know them."""

    mode, group_size = "dense", 4

    def digest(self):
        return "tiny"

    def build(self):
        return Mlp((64,), 10, hidden=(64,))

    def train(self, features, labels, seed):
        with seeded(seed, "tiny"):
            model = self.build()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
            for _ in range(40):
                for rows in torch.randperm(len(labels)).split(75):
                    optimizer.zero_grad(set_to_none=True)
                    cross_entropy(model(features[rows]), labels[rows]).backward()
                    optimizer.step()
        return model

    def __call__(self, rows, draws):
        return [self.train(rows.features[d.rows], rows.labels[d.rows], d.number).state_dict() for d in draws]


@pytest.fixture(scope="module")
def overfitted():
    """A net that memorised 300 digits, a fifth of them mislabelled, with its shadows; fitting and test pools."""
    data = digits()
    order = derive(0, "rows").permutation(data.num_rows)[:600]
    features, labels = data.features[order], data.labels[order].clone()
    labels[::5] = labels[::5].roll(1)
    is_member = np.arange(600) % 2 == 0
    members = torch.from_numpy(np.flatnonzero(is_member))
    trainer = TinyTrainer()
    model = trainer.train(features[members], labels[members], 10_000)
    rows = ShadowRows(features, labels, np.arange(600), 300, 0)
    target = Target(model, shadows=ShadowModels(rows, trainer))
    fit_rows, test_rows = torch.arange(200), torch.arange(200, 600)
    pools = [AuditData(features[part], labels[part], is_member[part.numpy()]) for part in (fit_rows, test_rows)]
    return target, *pools


@pytest.mark.slow
def test_with_real_shadows_lira_finds_what_the_loss_does_not(overfitted):
    target, fit_pool, test_pool = overfitted
    plain = stats.auc(target.signals(test_pool).scaled_logit_N, test_pool.is_member)
    found = run(Lira(), target, fit_pool, test_pool)
    assert found["auc"] > plain + 0.03
    assert found["auc"] > 0.72
    for attack in (Lira(queries=2), Rmia(), Base()):
        assert run(attack, target, fit_pool, test_pool)["auc"] > 0.7
    assert target.shadows.num_trained == 16


@pytest.mark.slow
def test_with_real_shadows_rows_outside_the_pool_are_refused(overfitted):
    target, fit_pool, _ = overfitted
    strangers = replace(fit_pool, features=fit_pool.features + 0.5)
    with pytest.raises(AttackError, match="200 are in"):
        Lira().compare(target, strangers)


# --- how far it hangs on the draw of shadows


def evidence_of(attack, num_shadows, **options):
    target, fit_pool, test_pool = written(400, num_shadows, **options)
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(0))
    result = attacker.test(target, test_pool, Levels())
    assert result.error is None, result.error
    return result


@pytest.mark.parametrize("attack", [Lira(), Lira(mode="offline"), Rmia(), Base()], ids=repr)
def test_evidence_has_the_scores_of_either_half_of_the_shadows(attack):
    """They rank rows as the scores do, and every interval of the attack is the wider for them."""
    result = evidence_of(attack, 16, effect=1.5)
    halves = result.ranking.halves_SHN
    assert halves.shape == (7, 2, len(result.scores))
    assert (halves[:, 0] != halves[:, 1]).any(axis=1).all()
    assert all(np.corrcoef(half, result.scores)[0, 1] > 0.5 for half in halves.reshape(14, -1))
    given = MEMBERSHIP.measure(attack.name, replace(result.ranking, halves_SHN=None), Levels())
    for full, plain in zip(result.measurements, given, strict=True):
        assert full.value == plain.value
        assert full.interval.low <= plain.interval.low and full.interval.high >= plain.interval.high


def test_rows_with_too_few_shadows_in_a_half_are_left_out_of_its_split():
    """Where shadows train on more than half of the rows, some row is out of one shadow of eight only."""
    random = np.random.default_rng(3)
    is_in = random.random((16, 300)) < 0.6
    answers = ShadowAnswers(random.normal(size=(1, 300)), random.normal(size=(16, 1, 300)), is_in)
    expected = [
        np.all([np.minimum(is_in[half].sum(axis=0), (~is_in[half]).sum(axis=0)) >= 2 for half in halves], axis=0)
        for halves in stats.split_halves(16, 16)
    ]
    scores = Lira().rate_halves(answers)
    assert scores.shape == (7, 2, 300)
    assert all(150 < is_scored.sum() < 300 for is_scored in expected)
    assert np.array_equal(~np.isnan(scores), np.stack([expected, expected], axis=1))


def test_halves_are_turned_with_the_scores():
    result = evidence_of(Lira(), 16, effect=3.0, target_effect=-3.0)
    assert all(np.corrcoef(half, result.scores)[0, 1] > 0.5 for half in result.ranking.halves_SHN.reshape(14, -1))
    assert stats.auc(result.scores, result.is_member) > 0.6


def test_too_few_shadows_to_be_split_are_taken_as_given():
    assert evidence_of(Lira(6), 6).ranking.halves_SHN is None
    assert evidence_of(Lira(8), 8).ranking.halves_SHN.shape[:2] == (3, 2)


def test_shadows_that_differ_in_what_they_remember_widen_the_interval():
    """Half of the groups know nothing: which of them are drawn decides."""
    target, fit_pool, test_pool = written(1200, 16, effect=3.0)
    shadows = target.shadows
    shadows.phi_KN[8:] -= 3.0 * shadows.is_in_KN[8:]
    attacker = simulate_attacker(Rmia(), target, fit_pool, generator=np.random.default_rng(0))
    ranking = attacker.test(target, test_pool, Levels()).ranking
    wide, plain = (MEMBERSHIP.interval(r, 0.05)[1] for r in (ranking, replace(ranking, halves_SHN=None)))
    assert wide.high - wide.low > 1.02 * (plain.high - plain.low)
    alike = MEMBERSHIP.difference(ranking, ranking, 0.05)
    assert (alike.interval.low, alike.interval.high) == (0.0, 0.0)


# --- all classes


def class_answers(seed=0, num_rows=30, num_classes=4):
    random = np.random.default_rng(seed)
    is_in = halves(8, num_rows, random)
    log_p = random.normal(size=(num_rows, num_classes)), random.normal(size=(8, num_rows, num_classes))
    phi = random.normal(size=(1, num_rows)), random.normal(size=(8, 1, num_rows))
    return ShadowAnswers(*phi, is_in, classes=log_p)


def slow_classes(log_p_NC, log_p_KNC, is_in_KN):
    """Row by row and class by class, with variances of all residuals of a side and a class."""
    num_rows, num_classes = log_p_NC.shape
    scores = np.zeros(num_rows)
    for c in range(num_classes):
        densities = []
        for side in (is_in_KN, ~is_in_KN):
            means = [log_p_KNC[side[:, n], n, c].mean() for n in range(num_rows)]
            squares = [((log_p_KNC[side[:, n], n, c] - means[n]) ** 2).sum() for n in range(num_rows)]
            variance = sum(squares) / sum(side[:, n].sum() - 1 for n in range(num_rows))
            densities.append(norm(means, np.sqrt(variance)).logpdf(log_p_NC[:, c]))
        scores += (densities[0] - densities[1]) / num_classes
    return scores


def test_all_classes_equal_their_slow_form():
    answers = class_answers()
    by_label = Lira(8).rate(replace(answers, classes=None))
    by_class = slow_classes(*answers.classes, answers.is_in_KN)
    standard = by_label / by_label.std() + by_class / by_class.std()
    assert np.allclose(Lira(8, signal="all").rate(answers), standard)


def test_one_row_of_two_classes_by_hand():
    # with the row: 1 and 3 in class one, without it: -1 and 1; so means 2 and 0, and variances (1 + 1) / 1 = 2 for
    # both. Class two tells nothing. A target at 2 has log ratio (4 - 0) / (2 * 2) = 1, halved by the second class.
    log_p = np.array([[[1.0, 0.0]], [[3.0, 2.0]], [[-1.0, 0.0]], [[1.0, 2.0]]])
    is_in = np.array([[True], [True], [False], [False]])
    assert lira_classes(np.array([[2.0, 1.0]]), log_p, is_in) == pytest.approx([0.5])


def test_all_classes_are_read_online_only():
    with pytest.raises(UsageError, match="reads all classes online only"):
        Lira(signal="all", mode="offline")
