"""RMIA and BASE: what their scores are, when they agree, and when they refuse."""

import numpy as np
import pytest
from test_lira import Written, WrittenShadows, audit_of, halves, run, written

from safecompress.attacks import Target
from safecompress.attacks.membership.likelihood import log_probability, rmia_scores
from safecompress.attacks.membership.rmia import Base, Rmia
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats


def by_hand(is_in):
    """One row with p_y .9; four shadows with p_y .8, .2, .4, .6."""
    probability = np.array([0.9, 0.8, 0.2, 0.4, 0.6])
    phi = np.log(probability / (1 - probability))
    shadows = WrittenShadows(phi[1:, None], np.array(is_in)[:, None])
    return Target(Written(), shadows=shadows), audit_of(phi[:1], np.array([True]), np.array([0]))


def test_scores_by_hand():
    """In the first and the last shadow: means .7 and .3; all four average .5; (1.3 x .3 + .7) / 2 = .545."""
    target, audit = by_hand([True, False, False, True])
    for attack, mean in ((Rmia(4), 0.5), (Base(4), 0.5), (Rmia(4, "offline"), 0.545), (Rmia(4, "offline", 1.0), 0.3)):
        assert attack.compare(target, audit) == pytest.approx([np.log(0.9 / mean)], rel=1e-6)


def test_online_weighs_both_sides_the_same_and_base_weighs_all_shadows_the_same():
    """In the first shadow only: means .8 and .4, balanced .6; all four still average .5."""
    target, audit = by_hand([True, False, False, False])
    assert Rmia(4).compare(target, audit) == pytest.approx([np.log(0.9 / 0.6)], rel=1e-6)
    assert Base(4).compare(target, audit) == pytest.approx([np.log(0.9 / 0.5)], rel=1e-6)


def test_base_and_rmia_agree_where_every_row_is_in_half_of_the_shadows():
    target, fit_pool, _ = written(300)
    assert np.allclose(Rmia().compare(target, fit_pool), Base().compare(target, fit_pool), atol=1e-12)


def test_the_share_of_dominated_rows_has_the_same_order():
    """RMIA's own score, whatever gamma: the same figures as the ratio's, up to the ties that 400 z make."""
    target, fit_pool, test_pool = written()
    ratio = Rmia().compare(target, test_pool)
    ratio_z = Rmia().compare(target, fit_pool)
    for gamma in (1.0, 2.0):
        share = rmia_scores(ratio, ratio_z, gamma)
        order = np.argsort(ratio)
        assert (np.diff(share[order]) >= 0).all()
        assert stats.auc(share, test_pool.is_member) == pytest.approx(stats.auc(ratio, test_pool.is_member), abs=0.02)


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_offline_reads_shadows_without_the_row_only(a):
    target, fit_pool, _ = written(300)
    before = Rmia(mode="offline", a=a).compare(target, fit_pool)
    online = Rmia().compare(target, fit_pool)
    target.shadows.phi_KN[target.shadows.is_in_KN] += 50
    assert np.array_equal(Rmia(mode="offline", a=a).compare(target, fit_pool), before)
    assert not np.allclose(Rmia().compare(target, fit_pool), online)


def test_scores_stay_finite_and_apart_at_the_ends():
    """p_y of e^-300 and of 1 - e^-40 are kept apart from their neighbours."""
    phi = np.array([-300.0, -290.0, 39.0, 40.0])
    is_in = np.stack([halves(16, 1, np.random.default_rng(0))[:, 0]] * 4, axis=1)
    target = Target(Written(), shadows=WrittenShadows(np.zeros((16, 4)), is_in))
    audit = audit_of(phi, np.arange(4) < 2, np.arange(4))
    for attack in (Rmia(), Rmia(mode="offline"), Base()):
        scores = attack.compare(target, audit)
        assert np.isfinite(scores).all()
        assert scores[1] - scores[0] == pytest.approx(10)
    assert (log_probability(phi) <= 0).all()


def test_base_refuses_rows_with_other_references_than_the_rest():
    target, fit_pool, test_pool = written(300)
    target.shadows.is_in_KN[:, :5] = False
    with pytest.raises(AttackError, match=r"base: 5 of 100 rows.* 16 shadows"):
        Base().compare(target, fit_pool)
    assert np.isfinite(Base().compare(target, test_pool)).all()
    target.shadows.is_in_KN[:] = False
    assert np.isfinite(Base().compare(target, fit_pool)).all()


def test_rmia_refuses_rows_without_a_shadow_on_a_side():
    target, fit_pool, _ = written(300)
    target.shadows.is_in_KN[:, :3] = True
    for mode in ("online", "offline"):
        with pytest.raises(AttackError, match=r"100 rows, 0 lack.* 3 the"):
            Rmia(mode=mode).compare(target, fit_pool)


def test_two_shadows_are_enough():
    target, fit_pool, test_pool = written(num_shadows=2)
    plain = stats.auc(target.signals(test_pool).scaled_logit_N, test_pool.is_member)
    for attack in (Rmia(2), Base(2)):
        assert run(attack, target, fit_pool, test_pool)["auc"] > plain + 0.02


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Rmia, {"num_shadows": 1}, "rmia.*num_shadows=1.*least 2"),
        (Base, {"num_shadows": 0}, "base.*num_shadows=0.*least 2"),
        (Rmia, {"mode": "ofline"}, "mean 'offline'"),
        (Rmia, {"a": -0.1}, r"a=-0.1..*\[0, 1\]"),
        (Rmia, {"a": 1.1}, r"a=1.1..*\[0, 1\]"),
        (Rmia, {"a": float("nan")}, "a=nan"),
    ],
)
def test_options_are_checked(make, options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_rows_are_asked_once_for_themselves():
    """RMIA and BASE read what shadows say of the rows, not of their variants."""
    target, fit_pool, _ = written(300)
    for attack in (Rmia(), Base()):
        attack.compare(target, fit_pool)
    assert {queries for _, queries in target.shadows.asked} == {1}
