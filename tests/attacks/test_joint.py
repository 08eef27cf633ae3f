"""Joint LiRA: several versions say more than any of them, and only versions with the same draws can be joined."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_lira import Constant, Written, WrittenShadows, audit_of, halves, run

from safecompress.attacks import Target
from safecompress.attacks.membership.joint import JointLira
from safecompress.attacks.membership.likelihood import joint_lira
from safecompress.attacks.membership.lira import Lira
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats


class Released(Written):
    """A version whose answer for each row is written down beside the row's: phi_N[row]."""

    def __init__(self, phi_N):
        super().__init__()
        self.register_buffer("phi_N", phi_N)

    def forward(self, features):
        rows = (1e6 * features[:, 1]).round().long()
        first = self.phi_N[rows] * self.scale
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def released(num_rows=900, num_versions=2, *, effect=1.2, agreement=0.3, num_shadows=16, seed=0):
    """A target with versions, fitting pool and test pool; versions share ``agreement`` of their noise's variance."""
    random = np.random.default_rng(seed)
    is_in, is_member = halves(num_shadows, num_rows, random), random.permutation(num_rows) < num_rows // 2
    base = random.normal(0, 3, num_rows)
    shared_KN, shared_N = random.normal(size=is_in.shape), random.normal(size=num_rows)
    targets, phis = [], []
    for _ in range(num_versions):
        mixed = [
            np.sqrt(agreement) * shared + np.sqrt(1 - agreement) * random.normal(size=shared.shape)
            for shared in (shared_KN, shared_N)
        ]
        shadows, phi = base + effect * is_in + mixed[0], (base + effect * is_member + mixed[1]).astype(np.float32)
        phis.append(phi)
        targets.append(Target(Released(torch.from_numpy(phi)), shadows=WrittenShadows(shadows, is_in.copy())))
    target = Target(
        targets[0].model,
        shadows=targets[0].shadows,
        versions={f"v{number}": version for number, version in enumerate(targets[1:], 1)},
    )
    rows = np.array_split(np.arange(num_rows), [num_rows // 3])
    return target, *(audit_of(phis[0], is_member, part) for part in rows)


def test_all_versions_together_find_more_than_any_alone():
    target, fit_pool, test_pool = released(1800, 3)
    alone = [run(Lira(), version, fit_pool, test_pool)["auc"] for version in (target, *target.versions.values())]
    assert run(JointLira(), target, fit_pool, test_pool)["auc"] > max(alone) + 0.03


def test_scores_are_those_of_the_arithmetic_on_what_each_version_and_its_own_shadows_say():
    target, fit_pool, _ = released(300)
    other = target.versions["v1"]
    outputs = [version.shadows.outputs(fit_pool, count=16) for version in (target, other)]
    phi = np.stack([version.signals(fit_pool).scaled_logit_N for version in (target, other)], axis=-1)
    shadows = np.stack([output.scaled_logit_KQN[:, 0] for output in outputs], axis=-1)
    expected = joint_lira(phi, shadows, outputs[0].is_in_KN)
    assert np.array_equal(JointLira().compare(target, fit_pool), expected)
    assert not np.allclose(Lira().compare(target, fit_pool), expected)


def test_the_same_version_again_adds_nothing():
    target, fit_pool, _ = released(300)
    twice = Target(target.model, shadows=target.shadows, versions={"again": target})
    assert np.allclose(JointLira().compare(twice, fit_pool), Lira().compare(target, fit_pool), atol=1e-6)


def test_the_names_of_versions_do_not_matter():
    target, fit_pool, _ = released(300, 3)
    first = JointLira().compare(target, fit_pool)
    turned = dict(reversed(target.versions.items()))
    renamed = Target(target.model, shadows=target.shadows, versions={f"x{k}": v for k, v in turned.items()})
    assert np.allclose(JointLira().compare(renamed, fit_pool), first, atol=1e-8)


def test_asks_for_its_number_of_shadows():
    target, fit_pool, _ = released(300)
    JointLira(8).compare(target, fit_pool)
    assert {count for version in (target, target.versions["v1"]) for count, _ in version.shadows.asked} == {8}


def test_nothing_is_found_where_training_leaves_no_trace():
    target, fit_pool, test_pool = released(effect=0.0)
    fitted = JointLira().fit(target, fit_pool, generator=np.random.default_rng(0))
    interval = stats.auc_interval(fitted.score(target, test_pool), test_pool.is_member, 0.001)
    assert interval.low <= 0.5 <= interval.high


def test_score_neither_reads_membership_nor_depends_on_place():
    target, fit_pool, test_pool = released(300)
    fitted = JointLira().fit(target, fit_pool, generator=np.random.default_rng(0))
    scores = fitted.score(target, test_pool)
    assert np.array_equal(fitted.score(target, replace(test_pool, is_member=~test_pool.is_member)), scores)
    order = np.random.default_rng(1).permutation(len(scores))
    turned = AuditData(test_pool.features[order], test_pool.labels[order], test_pool.is_member[order])
    assert np.allclose(fitted.score(target, turned), scores[order], atol=1e-9)


def test_constant_versions_have_auc_one_half_and_are_no_error():
    random = np.random.default_rng(0)
    is_in, is_member = halves(16, 60, random), np.arange(60) < 20
    is_in[0] = True
    targets = [Target(Constant(), shadows=WrittenShadows(np.full((16, 60), phi), is_in)) for phi in (0.3, 1.7)]
    target = Target(targets[0].model, shadows=targets[0].shadows, versions={"other": targets[1]})
    pool = audit_of(np.full(60, 0.3), is_member, np.arange(60))
    assert run(JointLira(), target, pool, pool)["auc"] == 0.5


def test_one_version_alone_is_refused():
    target, fit_pool, _ = released(300)
    with pytest.raises(AttackError, match="has no other"):
        JointLira().compare(target.versions["v1"], fit_pool)


def test_a_version_without_shadows_is_refused():
    target, fit_pool, _ = released(300)
    target.versions["bare"] = Target(target.model)
    with pytest.raises(AttackError, match="shadow"):
        JointLira().compare(target, fit_pool)


def test_versions_with_other_draws_are_refused():
    target, fit_pool, _ = released(300)
    target.versions["v1"].shadows.is_in_KN[3, :4] ^= True
    with pytest.raises(AttackError, match=r"version 'v1' trained.*rows .*\(4.*1600 draws"):
        JointLira().compare(target, fit_pool)


def test_rows_outside_the_pool_are_refused():
    target, fit_pool, _ = released(300)
    for version in (target, target.versions["v1"]):
        version.shadows.is_in_KN[:, :6] = False
    with pytest.raises(AttackError, match="100 rows, 6 lack"):
        JointLira().compare(target, fit_pool)


def test_options_are_checked():
    with pytest.raises(UsageError, match=r"joint_lira.*num_shadows=3.*least 4"):
        JointLira(3)


def test_one_version_that_differs_from_its_shadows_is_enough_to_compare():
    """Else a constant score next to a constant dense model would pass for an honest one."""
    target, fit_pool, _ = released(300)
    still = Target(Constant(), shadows=WrittenShadows(np.full((16, 300), 0.3), target.shadows.is_in_KN))
    still.versions["v1"] = target.versions["v1"]
    assert JointLira().varies(still, fit_pool)
    still.versions["v1"] = Target(still.model, shadows=still.shadows)
    assert not JointLira().varies(still, fit_pool)
