"""A sound audit is left in peace; each way in which an attack or its data can be unsound raises its own check."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import nn

from safecompress.attacks import (
    ATTACKS,
    Access,
    AttackResult,
    Confidence,
    Entropy,
    Gap,
    Lira,
    Loss,
    ModifiedEntropy,
    Neural,
    Signals,
    Target,
    simulate_attacker,
)
from safecompress.attacks.controls import RECIPE, ControlModel, ControlShadowTrainer, fresh, train_control
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.reference import REFERENCE, siblings_of
from safecompress.attacks.shadows import ShadowModels, ShadowRows
from safecompress.certify.health import (
    SHARED_ALPHA,
    Answers,
    HealthCase,
    HealthCheck,
    blind_baseline,
    examine_health,
    largest_tie,
    likeness,
    negative_control,
    positive_control,
    saturation,
    shadow_gap,
    sign_agreement,
    strength,
    ties,
    weak_control,
)
from safecompress.data import AuditData
from safecompress.errors import UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.spec import Verdict
from safecompress.testing.fakes import CollapsedAttack, ConstantModel, FailingAttack, MemorisingModel, noise_audit

PASS, INCONCLUSIVE, ERROR = Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR
pytestmark = pytest.mark.own_controls

LEVELS = Levels(0.05)


def result(scores, is_member=None, attack="mine", access=Access.SCORES, error=None):
    scores = None if scores is None else np.asarray(scores, dtype=np.float64)
    if is_member is None and scores is not None:
        is_member = np.arange(len(scores)) < len(scores) // 2
    return AttackResult(attack, access, (), error, None if scores is None else Ranking(scores, is_member, 0.5))


def separated(strength, num_rows=200):
    """Normal quantiles, those of members ``strength`` higher: the AUC is Phi(strength / sqrt 2)."""
    quantiles = ndtri((np.arange(num_rows) + 0.5) / num_rows)
    return np.concatenate([quantiles + strength, quantiles])


BROKEN = result(None, error="ZeroDivisionError: no such luck")


def test_a_check_of_an_attack_cannot_fail_the_model():
    with pytest.raises(UsageError, match="'ties' cannot FAIL"):
        HealthCheck("ties", "loss", Verdict.FAIL, 0.1, "")


# --- one check at a time


@pytest.mark.parametrize(
    ("strength", "accuracy", "outcome"),
    [
        (1.0, 1.0, PASS), (1.0, 0.5, PASS), (0.0, 0.99, ERROR), (0.0, 0.98, INCONCLUSIVE), (-1.0, 1.0, ERROR),
        (0.15, 1.0, ERROR),
    ],
)  # fmt: skip
def test_the_control_must_be_caught(strength, accuracy, outcome):
    check = positive_control(result(separated(strength)), accuracy=accuracy, alpha=0.01)
    assert (check.name, check.subject, check.outcome) == ("positive_control", "mine", outcome)
    assert f"AUC {check.value:.3f}" in check.detail
    assert ("max_epochs" in check.detail) == (outcome is INCONCLUSIVE)


def test_the_level_decides_what_is_caught():
    scores = separated(0.25)
    assert positive_control(result(scores), accuracy=1.0, alpha=0.05).outcome is PASS
    assert positive_control(result(scores), accuracy=1.0, alpha=0.001).outcome is ERROR


@pytest.mark.parametrize(("strength", "outcome"), [(0.0, PASS), (1.0, ERROR), (-1.0, ERROR)])
def test_nothing_may_be_found_where_nothing_is(strength, outcome):
    scores = separated(strength)
    checks = [
        negative_control(result(scores), num_checks=5),
        blind_baseline(scores, np.arange(400) < 200, num_checks=5),
    ]
    assert [check.outcome for check in checks] == [outcome, outcome]
    assert [(check.name, check.subject) for check in checks] == [
        ("negative_control", "mine"),
        ("blind_baseline", "data"),
    ]
    assert checks[0].value == checks[1].value


@pytest.mark.parametrize(("strength", "outcome"), [(0.0, PASS), (1.0, PASS), (-0.2, PASS), (-1.0, ERROR)])
def test_a_contradicted_sign_is_an_error(strength, outcome):
    check = sign_agreement(result(separated(strength)), num_checks=5)
    assert (check.name, check.outcome) == ("sign", outcome)


@pytest.mark.slow
def test_shared_checks_share_their_error_rate():
    """At twice the number of checks each has half: somewhere in between lies what one allows and the other does not."""
    assert SHARED_ALPHA == 0.001
    for check in (negative_control, sign_agreement):
        fires = [
            [check(result(separated(-step / 100)), num_checks=count).outcome is ERROR for step in range(15, 80)]
            for count in (1, 10, 1000)
        ]
        counts = [sum(line) for line in fires]
        assert counts[0] > counts[1] > counts[2] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("sides", "check"), [(2, negative_control), (1, sign_agreement)])
def test_the_error_rate_is_what_is_promised(sides, check):
    """With the shared rate blown up to 10 %: of 600 null audits about 60 are called unsound."""
    random, count = np.random.default_rng(7), SHARED_ALPHA / 0.1
    null = [result(random.normal(size=120)) for _ in range(600)]
    fired = [check(one, num_checks=count) for one in null]
    above = sum(one.outcome is ERROR and one.value > 0.5 for one in fired)
    below = sum(one.outcome is ERROR and one.value < 0.5 for one in fired)
    assert 38 <= above + below <= 82
    assert (above == 0) == (sides == 1)


@pytest.mark.slow
def test_two_hundred_sound_audits_raise_no_error():
    """Five attacks each, eleven checks an audit: one false alarm in 200 has a chance of a fifth, two of 2 %."""
    random, errors = np.random.default_rng(0), 0
    is_member = np.arange(300) < 150
    for _ in range(200):
        shared = random.normal(size=300)
        checks = [blind_baseline(random.normal(size=300), is_member, num_checks=11)]
        for _ in range(5):
            scores = shared + random.normal(size=300)
            checks.append(sign_agreement(result(scores, is_member), num_checks=11))
            checks.append(negative_control(result(random.normal(size=300), is_member), num_checks=11))
        errors += any(check.outcome is ERROR for check in checks)
    assert errors <= 1


@pytest.mark.parametrize(
    ("scores", "access", "value", "outcome"),
    [
        ([1, 2, 3, 4], Access.SCORES, 0.25, PASS), ([1, 1, 3, 4], Access.SCORES, 0.5, PASS),
        ([1, 1, 1, 4], Access.SCORES, 0.75, INCONCLUSIVE), ([1, 1, 1, 4], Access.WEIGHTS, 0.75, INCONCLUSIVE),
        ([1, 1, 1, 4], Access.LABELS, 0.75, PASS), ([0, 0, 0, 0], Access.SCORES, 1.0, INCONCLUSIVE),
    ],
)  # fmt: skip
def test_more_than_half_in_one_tie_is_too_many(scores, access, value, outcome):
    check = ties(result(scores, access=access))
    assert (check.name, check.value, check.outcome) == ("ties", value, outcome)


def test_the_largest_tie_against_counting():
    random = np.random.default_rng(1)
    for _ in range(50):
        values = random.integers(0, 4, size=random.integers(1, 20)).astype(float)
        assert largest_tie(values) == max((values == v).sum() for v in values) / len(values)


def signals(logits):
    logits = np.asarray(logits, dtype=np.float32).astype(np.float64)
    return Signals(logits, np.zeros(len(logits), dtype=np.int64))


def test_answers_that_all_differ_are_not_saturated():
    check = saturation(signals(np.random.default_rng(0).normal(size=(50, 3))))
    assert (check.name, check.subject, check.value, check.outcome) == ("saturation", "target", 0.02, PASS)


def test_answers_that_were_clipped_are_saturated():
    logits = np.random.default_rng(0).normal(size=(50, 3))
    logits[:26] = [12.0, 0.0, 0.0]
    logits[13:26] = [0.0, 0.0, 12.0]  # another class, the same confidence
    assert saturation(signals(logits)).outcome is INCONCLUSIVE
    assert saturation(signals(logits)).value == 0.52
    logits[0] = [11.0, 0.0, 0.0]
    assert saturation(signals(logits)).outcome is PASS


def test_differences_that_float32_cannot_hold_are_none():
    """The shift of a row changes nothing but the digits that are left: at 3e7 only whole steps of 2 remain."""
    logits = np.random.default_rng(0).normal(size=(50, 3))
    assert saturation(signals(logits + 1e3)).outcome is PASS
    assert saturation(signals(logits + 3e7)).outcome is INCONCLUSIVE
    assert saturation(signals(np.zeros((50, 3)))).value == 1.0


def test_margins_that_only_rounding_tells_apart_are_one():
    """Margins in float64 of float32 logits: the last digits are not the model's."""
    random = np.random.default_rng(0)
    logits = np.tile([7.3, 1.1, -0.4], (50, 1)) + random.uniform(-1e-7, 1e-7, size=(50, 3))
    assert len(np.unique(Signals(logits, np.zeros(50, dtype=np.int64)).top_margin_N)) > 25
    assert saturation(Signals(logits, np.zeros(50, dtype=np.int64))).outcome is INCONCLUSIVE


# --- shadows against the target


def test_the_gap_by_hand():
    """Rows 0 and 1 out of both shadows, row 2 out of one, row 3 out of none: leads of 1, 0.5 and 0, the mean 0.5."""
    target = np.array([True, True, False, True])
    shadows = np.array([[False, True, False, False], [False, False, True, False]])
    is_in = np.array([[False, False, False, True], [False, False, True, True]])
    check = shadow_gap(target, shadows, is_in)
    assert (check.name, check.subject, check.value) == ("shadow_gap", "shadows", pytest.approx(0.5))
    rows, by_shadow = np.array([1, 0.5, 0]), np.array([1 / 3, 1.0])
    reach = 2.5758293 * np.sqrt(rows.var(ddof=1) / 3 + by_shadow.var(ddof=1) * 1.5)
    assert f"noise {reach:.1%}" in check.detail
    assert check.outcome is PASS


def answers(accuracy_of_target, accuracy_of_shadows, num_rows=300, num_shadows=16, seed=0):
    random = np.random.default_rng(seed)
    is_in = random.random((num_shadows, num_rows)) < 0.5
    correct = random.random((num_shadows, num_rows)) < np.where(is_in, 1.0, accuracy_of_shadows)
    return random.random(num_rows) < accuracy_of_target, correct, is_in


@pytest.mark.parametrize(
    ("target", "shadows", "outcome"), [(0.6, 0.6, PASS), (0.6, 0.57, PASS), (0.8, 0.5, INCONCLUSIVE),
                                       (0.5, 0.8, INCONCLUSIVE)]
)  # fmt: skip
def test_shadows_must_be_as_good_as_the_target_on_rows_out_of_them(target, shadows, outcome):
    check = shadow_gap(*answers(target, shadows))
    assert check.outcome is outcome
    assert check.value == pytest.approx(target - shadows, abs=0.08)


@pytest.mark.parametrize(("num_lost", "outcome"), [(40, PASS), (100, INCONCLUSIVE)])
def test_a_small_gap_is_allowed_however_certain_it_is(num_lost, outcome):
    """1,000 rows, the target right on all, each shadow on all but the same few: noise is 1.6 % and 2.4 %."""
    correct = np.tile(np.arange(1000) >= num_lost, (8, 1))
    check = shadow_gap(np.ones(1000, dtype=bool), correct, np.zeros((8, 1000), dtype=bool))
    assert (check.value, check.outcome) == (pytest.approx(num_lost / 1000), outcome)


def test_sound_shadows_raise_few_alarms():
    """At a gap of 0.05 exactly, where the error rate is promised; under it there are fewer."""
    fired = [shadow_gap(*answers(0.65, 0.6, seed=seed)).outcome is INCONCLUSIVE for seed in range(300)]
    assert sum(fired) <= 8
    assert not any(shadow_gap(*answers(0.6, 0.6, seed=seed)).outcome is INCONCLUSIVE for seed in range(100))


def test_shadows_that_differ_much_among_themselves_leave_room():
    """Half of them right on all rows, half on few: a target of either kind is like them."""
    target, correct, is_in = answers(0.9, 0.9)
    correct[::2] &= np.random.default_rng(5).random(correct[::2].shape) < 0.3
    assert shadow_gap(target, correct, is_in).outcome is PASS


@pytest.mark.parametrize("is_in", [np.ones((4, 6), dtype=bool), np.arange(24).reshape(4, 6) > 5])
def test_rows_that_are_in_all_shadows_decide_nothing(is_in):
    check = shadow_gap(np.ones(6, dtype=bool), np.zeros((4, 6), dtype=bool), is_in)
    assert (check.outcome, check.value) == (INCONCLUSIVE, None)
    assert "Train more shadows" in check.detail


# --- what the target and its shadows know of the rows that each was trained on


def knowing(shift=0.0, accuracy=1.0, num_shadows=16, num_rows=400, seed=0):
    """Rows of which the target claims the first half and each shadow has another half.

    ``shift`` is the target's lead, in deviations of a row's scaled logit; what a shadow says of all its rows varies a
    little as a whole.
    """
    random = np.random.default_rng(seed)
    is_in = np.zeros((num_shadows, num_rows), dtype=bool)
    for line in is_in:
        line[random.permutation(num_rows)[: num_rows // 2]] = True
    hardness = random.normal(3.0, 1.0, num_rows)
    phi = hardness + random.normal(0.0, 0.5, is_in.shape) + random.normal(0.0, 0.02, (num_shadows, 1))
    phi -= np.where(is_in, 0.0, 1.0)
    is_member = np.arange(num_rows) < num_rows // 2
    mine = hardness + random.normal(0.0, 0.5, num_rows) + 0.5 * shift * is_member - ~is_member
    right = (random.random(num_rows) < accuracy) | ~is_member
    return Answers(mine, right), is_member, Answers(phi, np.ones(is_in.shape, dtype=bool)), is_in


@pytest.mark.parametrize(("shift", "outcome"), [(0.0, PASS), (0.2, PASS), (0.7, INCONCLUSIVE), (-0.7, INCONCLUSIVE)])
def test_a_target_must_be_as_sure_of_its_members_as_shadows_are_of_theirs(shift, outcome):
    check = likeness(*knowing(shift))
    assert (check.name, check.subject, check.outcome) == ("likeness", "shadows", outcome)
    assert check.value == pytest.approx(shift, abs=0.15)


def test_a_target_must_be_as_often_right_on_its_members_as_shadows_on_theirs():
    """As where the members are another model's: right on two in three, and shadows right on all of theirs."""
    check = likeness(*knowing(accuracy=0.665))
    assert check.outcome is INCONCLUSIVE
    assert "not the rows that it was trained on" in check.detail and "% less often" in check.detail


def test_sound_targets_are_like_their_shadows():
    """Of any number of shadows, a target drawn as they are."""
    for num_shadows in (6, 16):
        alarms = [likeness(*knowing(num_shadows=num_shadows, seed=seed)).outcome is not PASS for seed in range(200)]
        assert not any(alarms)


def test_likeness_takes_two_shadows_and_works_where_all_say_the_same():
    target, is_member, shadows, is_in = knowing()
    assert likeness(target, is_member, shadows, np.zeros_like(is_in)).outcome is INCONCLUSIVE
    same = Answers(np.ones(is_in.shape), shadows.is_correct)
    assert likeness(Answers(np.ones(400), target.is_correct), is_member, same, is_in).outcome is PASS
    assert likeness(Answers(np.full(400, 0.9), target.is_correct), is_member, same, is_in).outcome is INCONCLUSIVE


def test_a_target_may_be_surer_on_all_rows_alike_but_not_by_anything():
    """As rewiring while it trains may make it; what it has learned of its members is the same."""
    target, is_member, shadows, is_in = knowing()
    surer, far = (Answers(target.scaled_logit + by, target.is_correct) for by in (0.6, 3.0))
    assert likeness(surer, is_member, shadows, is_in).outcome is PASS
    assert likeness(far, is_member, shadows, is_in).outcome is INCONCLUSIVE
    assert likeness(surer, is_member, shadows, is_in).value == pytest.approx(likeness(*knowing()).value)


# --- a strong attack under its weaker sibling


@pytest.mark.parametrize(
    ("strong", "weak", "outcome"),
    [(1.0, 1.0, PASS), (2.0, 0.5, PASS), (0.2, 1.5, INCONCLUSIVE), (0.95, 1.0, PASS)],
)
def test_a_strong_attack_may_not_be_the_weaker_one(strong, weak, outcome):
    noise, lift = np.random.default_rng(0).normal(size=(3, 400)), np.arange(400) < 200
    scores = [noise[0] + lift * size + 0.3 * own for size, own in ((strong, noise[1]), (weak, noise[2]))]
    check = strength(result(scores[0], attack="lira"), result(scores[1], attack="loss"))
    assert (check.name, check.subject, check.outcome) == ("strength", "lira", outcome)
    aucs = [stats.auc(one, lift) for one in scores]
    assert check.value == pytest.approx(aucs[0] - aucs[1])


def test_a_sibling_that_broke_is_named():
    check = strength(result(separated(1.0), attack="whitebox"), BROKEN)
    assert (check.outcome, check.value) == (INCONCLUSIVE, None)
    assert "broke (ZeroDivisionError" in check.detail


def test_a_weaker_attack_is_no_matter_where_its_sibling_is_judged_too():
    """The figure that is too kind decides nothing: a requirement bounds the one that finds more."""
    weak, strong = result(separated(0.1), attack="whitebox"), result(separated(2.0), attack="neural")
    assert strength(weak, strong).outcome is INCONCLUSIVE
    check = strength(weak, strong, is_judged=True)
    assert check.outcome is PASS and check.value < -0.1
    assert "a requirement bounds neural, or what finds as much" in check.detail


def test_attacks_of_one_strength_may_differ_by_a_hair_however_certain_it_is():
    """The same scores but for a few rows: the paired error is tiny, and so is the difference."""
    scores = separated(1.0)
    worse = scores.copy()
    worse[:5] = scores.min()
    check = strength(result(worse, attack="lira"), result(scores, attack="rmia"))
    assert check.value < 0 and check.outcome is PASS


def test_every_reference_attack_has_a_sibling_that_it_must_not_be_under():
    named = {
        name: {one.name for one in siblings_of(ATTACKS.make(name))} for names in REFERENCE.values() for name in names
    }
    assert named.pop("gap") == set()  # there is nothing simpler
    assert named == {
        "label_only": {"gap"}, "modified_entropy": {"entropy"}, "neural": {"loss"}, "whitebox": {"neural"},
        "lira": {"loss", "rmia"},
    }  # fmt: skip
    assert {(one.num_shadows, one.temperature) for one in siblings_of(Lira(8)) if one.name == "rmia"} == {(8, 2.0)}


@pytest.mark.parametrize(("found", "outcome"), [(1.0, PASS), (0.8, PASS), (0.0, ERROR), (-0.5, ERROR)])
def test_an_attack_must_find_half_of_a_weak_leak(found, outcome):
    """The reference finds .65; an attack that finds nothing is not believed for catching what is obvious."""
    reference, noise = separated(0.55), np.random.default_rng(3).normal(size=400)
    scores = reference - reference.mean() if found == 1.0 else found * (np.arange(400) < 200) * 0.55 + noise
    check = weak_control(result(scores), result(reference, attack="loss"))
    assert (check.name, check.subject, check.outcome) == ("positive_control", "mine", outcome)
    assert 0.6 < stats.auc(reference, np.arange(400) < 200) < 0.7


def test_a_weak_leak_that_the_reference_misses_tries_nothing():
    check = weak_control(result(separated(0.0)), result(separated(0.0), attack="loss"))
    assert check.outcome is INCONCLUSIVE and "more rows" in check.detail


@pytest.mark.parametrize(
    "check",
    [
        lambda broken: weak_control(broken, result(separated(1.0))),
        lambda broken: positive_control(broken, accuracy=1.0, alpha=0.05),
        lambda broken: negative_control(broken, num_checks=3),
        lambda broken: sign_agreement(broken, num_checks=3),
        ties,
        lambda broken: strength(broken, result(separated(1.0))),
    ],
)
def test_an_attack_without_scores_is_an_error_and_says_why(check):
    found = check(BROKEN)
    assert (found.subject, found.outcome, found.value) == ("mine", ERROR, None)
    assert "ZeroDivisionError:" in found.detail


# --- a whole audit

SIZE = 120
FIT, VERDICT = (noise_audit(SIZE, SIZE, num_features=16, seed=seed) for seed in (0, 1))
UNSEEN = noise_audit(0, SIZE + 30, num_features=16, seed=2)


def network(seed=0):
    with seeded(seed, "net"):
        return Mlp((16,), 4, hidden=(64, 64))


@pytest.fixture(scope="module")
def audit():
    """A target that knows its members as the control knows its own, shadows trained alike, and a control."""
    pools = [FIT, VERDICT, UNSEEN]
    known = train_control(Target(network()), FIT, VERDICT, seed=9)
    pools[:2] = known.fit, known.verdict
    features, labels = (torch.cat([getattr(pool, part) for pool in pools]) for part in ("features", "labels"))
    rows = ShadowRows(features, labels, np.arange(len(labels)), 2 * SIZE, 0)
    trainer = ControlShadowTrainer(known.network, replace(RECIPE, epochs=known.epochs))
    target = Target(known.network, shadows=ShadowModels(rows, trainer))
    control = train_control(target, *pools[:2], seed=1)
    assert control.is_overfitted
    return target, known.fit, known.verdict, control


def _examined(*what, control, **options):
    return examine_health(HealthCase(*what, control), **options)


def examined(audit, *attacks, unseen=UNSEEN, target=None, fit=None, verdict=None, **options):
    """Checks by (name, subject)."""
    model, fit_pool, verdict_pool, control = audit
    target, fit, verdict = target or model, fit or fit_pool, verdict or verdict_pool
    attackers = [simulate_attacker(attack, target, fit, generator=np.random.default_rng(0)) for attack in attacks]
    results = [attacker.test(target, verdict, LEVELS) for attacker in attackers]
    options = {"control": control, "levels": LEVELS, "seed": 0} | options
    checks = _examined(target, fit, verdict, unseen, attackers, results, **options)
    found = {(check.name, check.subject): check for check in checks}
    assert len(found) == len(checks)
    return found


def unsound(checks):
    return {key: check.outcome for key, check in checks.items() if check.outcome is not PASS}


@dataclass(frozen=True)
class Fake:
    """An attack with nothing to fit, whose scores are a function of target and rows."""

    name: str
    how: str
    threshold: float | None = None
    access: Access = field(default=Access.SCORES, init=False)
    seen: ClassVar[list[AuditData]] = []

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        self.seen.append(audit)
        phi = target.signals(audit).scaled_logit_N
        if self.how == "shadows":
            return phi - target.shadows.outputs(audit, count=3).scaled_logit_KQN.mean(axis=(0, 1))
        return {
            "plain": phi, "inverted": -phi, "order": -np.arange(len(phi), dtype=np.float64),
            "noise": audit.features[:, 0].double().numpy(), "tied": np.where(phi > np.quantile(phi, 0.9), phi, 0.0),
        }[self.how].copy()  # fmt: skip


@dataclass(frozen=True)
class SmallLira(Fake):
    """How much nearer the target is to shadows with the row than to those without."""

    name: str = "lira"
    how: str = "lira"
    num_shadows: int = 8

    def score(self, target, audit):
        self.seen.append(audit)
        outputs = target.shadows.outputs(audit, count=self.num_shadows)
        phi_KN, phi_N = outputs.scaled_logit_KQN[:, 0], target.signals(audit).scaled_logit_N
        means = [np.where(side, phi_KN, 0).sum(0) / side.sum(0) for side in (outputs.is_in_KN, ~outputs.is_in_KN)]
        return (phi_N - means[1]) ** 2 - (phi_N - means[0]) ** 2


@pytest.mark.slow
def test_a_sound_audit_passes_every_check(audit):
    checks = examined(audit, Gap(), Loss(), Entropy(), ModifiedEntropy(), SmallLira())
    assert unsound(checks) == {}
    each = ["positive_control", "negative_control", "sign", "ties"]
    names = dict.fromkeys(("gap", "loss", "entropy"), each)
    names |= {name: [*each, "strength"] for name in ("modified_entropy", "lira")}
    names |= {"data": ["blind_baseline"], "target": ["saturation"], "shadows": ["shadow_gap", "likeness", "own_rows"]}
    assert sorted(checks) == sorted((check, subject) for subject, many in names.items() for check in many)
    assert checks["sign", "lira"].value > checks["sign", "entropy"].value > 0.6


@pytest.mark.slow
def test_more_attacks_share_one_error_rate(audit):
    """Negative control and sign of each attack, and the baseline: 3 checks with one attack, 7 with three."""
    attacks = [Loss(), Gap(), Entropy()]
    for count in (1, 3):
        checks = examined(audit, *attacks[:count])
        sharing = [key for key in checks if key[0] in ("negative_control", "sign", "blind_baseline")]
        scores = audit[0].signals(audit[2]).scaled_logit_N
        interval = stats.auc_interval(scores, audit[2].is_member, 2 * 0.001 / len(sharing))
        assert len(sharing) == 2 * count + 1
        assert f"[{interval.low:.3f}, {interval.high:.3f}]" in checks["sign", "loss"].detail


@pytest.mark.slow
def test_a_sound_audit_of_an_untrained_model_passes_too(audit):
    """What keeps everything to itself is not unhealthy."""
    checks = examined(audit, Loss(), Entropy(), target=Target(network(seed=5)))
    assert unsound(checks) == {}


@pytest.mark.slow
def test_the_seed_alone_decides(audit):
    first, again = (examined(audit, Loss()) for _ in range(2))
    assert first == again


@pytest.mark.slow
def test_a_broken_attack_is_an_error_in_each_of_its_checks(audit):
    checks = examined(audit, FailingAttack("score"), Loss())
    assert unsound(checks) == {
        (name, "failing"): ERROR for name in ("positive_control", "negative_control", "sign", "ties")
    }
    assert "always fails" in checks["positive_control", "failing"].detail
    assert set(unsound(examined(audit, CollapsedAttack())).values()) == {ERROR}


@pytest.mark.slow
def test_an_inverted_attack_is_caught_by_control_and_sign(audit):
    checks = examined(audit, Fake("mine", "inverted", threshold=0.0))
    assert unsound(checks) == {("positive_control", "mine"): ERROR, ("sign", "mine"): ERROR}
    assert unsound(examined(audit, Fake("mine", "inverted"))) == {}  # its sign is found on the fitting pool


def test_each_pool_is_used_for_what_it_is_there_for(audit):
    """Fitted on one, tested on the other; the same on the control; then, as fitted, on rows that nobody trained on."""
    Fake.seen.clear()
    examined(audit, Fake("mine", "plain"))
    control = audit[3]
    expected = [audit[1], audit[2], control.fit, control.verdict]
    assert all(one is other for one, other in zip(Fake.seen, expected, strict=False))
    assert len(Fake.seen) == 5


def test_an_attack_without_skill_is_caught_by_the_control_alone(audit):
    assert unsound(examined(audit, Fake("mine", "noise"))) == {("positive_control", "mine"): ERROR}


@pytest.mark.slow
def test_an_attack_that_reads_the_order_is_caught_where_nobody_is_a_member(audit):
    assert unsound(examined(audit, Fake("mine", "order"))) == {("negative_control", "mine"): ERROR}


def test_an_attack_that_collapsed_to_ties_is_doubted(audit):
    checks = examined(audit, Fake("mine", "tied"))
    assert checks["ties", "mine"].outcome is INCONCLUSIVE
    assert checks["ties", "mine"].value == pytest.approx(0.9)


@pytest.mark.slow
def test_pools_that_differ_by_themselves_void_the_audit(audit):
    def leak(pool):
        return replace(pool, features=pool.features + 0.5 * torch.from_numpy(pool.is_member)[:, None])

    checks = examined(audit, Loss(), fit=leak(audit[1]), verdict=leak(audit[2]))
    assert checks["blind_baseline", "data"].outcome is ERROR
    assert "make_split" in checks["blind_baseline", "data"].detail


def test_unseen_rows_prepared_otherwise_are_caught(audit):
    other = replace(UNSEEN, features=UNSEEN.features + 1.0)
    assert unsound(examined(audit, Fake("mine", "noise"), unseen=other, target=Target(audit[0].model))) == {
        ("positive_control", "mine"): ERROR, ("negative_control", "mine"): ERROR,
    }  # fmt: skip


@pytest.mark.slow
def test_an_attack_that_is_half_dead_is_caught_by_the_weak_control(audit):
    """A net that hardly learns finds a model that knows its members by heart; it was believed for that."""
    dead = Neural(inputs="paper", learning_rate=1e-5, epochs=20)
    assert examined(audit, dead)["positive_control", "neural"].outcome is ERROR
    assert examined(audit, Neural())["positive_control", "neural"].outcome is PASS


@pytest.mark.slow
def test_a_weakened_lira_is_beaten_by_the_loss(audit):
    for attacks in ([Fake("lira", "noise"), Loss()], [Fake("lira", "noise")]):
        checks = examined(audit, *attacks)
        assert checks["strength", "lira"].outcome is INCONCLUSIVE
        assert "beside rmia" in checks["strength", "lira"].detail  # which beats it by more than the loss does


@pytest.mark.slow
def test_a_sibling_outside_the_spec_is_run_for_the_comparison(audit):
    alone, beside = examined(audit, ModifiedEntropy()), examined(audit, ModifiedEntropy(), Entropy())
    assert alone["strength", "modified_entropy"] == beside["strength", "modified_entropy"]
    assert ("ties", "entropy") not in alone


def test_saturated_answers_are_doubted(audit):
    checks = examined(audit, Gap(), target=Target(ConstantModel([1.0, 0.0, 0.0, 0.0])))
    assert checks["saturation", "target"].outcome is INCONCLUSIVE


@pytest.mark.slow
def test_shadows_that_do_not_fit_are_doubted(audit):
    """Shadows that never learn, of a target that is right on everybody."""
    both = [torch.cat([getattr(pool, part) for pool in audit[1:3]]) for part in ("features", "labels")]
    target = Target(MemorisingModel(*both, 4), shadows=audit[0].shadows)
    check = examined(audit, Loss(), target=target, num_shadows=8)["shadow_gap", "shadows"]
    assert check.outcome is INCONCLUSIVE
    assert check.value > 0.5


# --- what cannot be run is said


@pytest.mark.slow
def test_without_a_control_or_unseen_rows_their_checks_are_undecided(audit):
    checks = examined(audit, Loss(), Gap(), control=None, unseen=None)
    assert unsound(checks) == {
        (name, attack): INCONCLUSIVE for name in ("positive_control", "negative_control") for attack in ("loss", "gap")
    }
    assert "train_control" in checks["positive_control", "loss"].detail
    assert "population" in checks["negative_control", "gap"].detail


@pytest.mark.slow
def test_unseen_rows_must_be_non_members(audit):
    members = replace(UNSEEN, is_member=~UNSEEN.is_member)
    assert examined(audit, Loss(), unseen=members)["negative_control", "loss"].outcome is INCONCLUSIVE


@pytest.mark.slow
def test_a_control_that_was_not_overfitted_decides_nothing(audit):
    lazy: ControlModel = replace(audit[3], network=fresh(audit[3].network, 0), accuracy=0.3)
    checks = examined(audit, Loss(), Entropy(), control=lazy)
    assert checks["positive_control", "loss"].outcome is INCONCLUSIVE
    assert "30.0%" in checks["positive_control", "loss"].detail


@pytest.mark.slow
def test_a_target_without_shadows_says_so_where_an_attack_asks_for_them(audit):
    bare = Target(audit[0].model)
    checks = examined(audit, SmallLira(), target=bare)
    assert checks["shadow_gap", "shadows"].outcome is INCONCLUSIVE
    assert checks["sign", "lira"].outcome is ERROR
    assert ("shadow_gap", "shadows") not in examined(audit, Loss(), target=bare)


@pytest.mark.slow
def test_shadows_are_compared_where_an_attack_used_them(audit):
    untouched = Target(audit[0].model, shadows=ShadowModels(audit[0].shadows.rows, audit[0].shadows.trainer))
    assert ("shadow_gap", "shadows") not in examined(audit, Loss(), target=untouched)
    assert untouched.shadows.num_trained == 0
    checks = examined(audit, Fake("mine", "shadows"), target=untouched)  # it has no field that says how many
    assert "its 3 shadows" in checks["shadow_gap", "shadows"].detail
    assert untouched.shadows.num_trained == 8  # one group


@pytest.mark.slow
def test_unseen_rows_stand_to_the_shadows_as_the_verdicts_non_members_do(audit):
    """Strangers to the shadows are left out; with nobody else left, the check is undecided."""
    strangers = noise_audit(0, 40, num_features=16, seed=3)
    mixed = AuditData(*(torch.cat([getattr(p, part) for p in (strangers, UNSEEN)]) for part in ("features", "labels")),
                      np.zeros(190, dtype=bool))  # fmt: skip
    examined(audit, SmallLira(), unseen=mixed)
    scored = Fake.seen[-1]
    own = {row.tobytes() for row in UNSEEN.features.numpy()}
    assert all(row.tobytes() in own for row in scored.features[torch.from_numpy(scored.is_member)].numpy())
    checks = examined(audit, SmallLira(), unseen=strangers)
    assert checks["negative_control", "lira"].outcome is INCONCLUSIVE
    assert "shadows from both" in checks["negative_control", "lira"].detail


def test_as_many_unseen_rows_as_members_drawn_at_random(audit):
    examined(audit, Fake("mine", "plain"))
    scored = Fake.seen[-1]
    assert (scored.num_members, scored.num_non_members) == (SIZE, SIZE)
    first = {row.tobytes() for row in UNSEEN.features[:SIZE].numpy()}
    taken = [row.tobytes() for row in scored.features[torch.from_numpy(scored.is_member)].numpy()]
    assert len(set(taken)) == SIZE
    assert not set(taken) <= first


class Overflowing(nn.Module):
    """Logits that are no numbers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 4)

    def forward(self, features):
        return self.head(features) * np.nan


@pytest.mark.slow
def test_a_model_without_numbers_is_an_error_in_every_check_that_asks_it(audit):
    target = Target(Overflowing(), shadows=audit[0].shadows)
    checks = examined(audit, Loss(), target=target, num_shadows=8)
    assert unsound(checks) == {
        ("saturation", "target"): ERROR, ("shadow_gap", "shadows"): ERROR, ("likeness", "shadows"): ERROR,
        ("own_rows", "shadows"): ERROR,
        ("negative_control", "loss"): ERROR, ("sign", "loss"): ERROR, ("ties", "loss"): ERROR,
    }  # fmt: skip
    assert "not finite numbers" in checks["saturation", "target"].detail


@pytest.mark.slow
def test_shadows_that_cannot_be_trained_are_an_error(audit):
    rows = replace(audit[0].shadows.rows, size=10**6)
    target = Target(audit[0].model, shadows=ShadowModels(rows, audit[0].shadows.trainer))
    checks = examined(audit, Loss(), target=target, num_shadows=8)
    assert unsound(checks) == {
        ("shadow_gap", "shadows"): ERROR, ("likeness", "shadows"): ERROR, ("own_rows", "shadows"): ERROR,
        ("negative_control", "loss"): INCONCLUSIVE,
    }  # fmt: skip
    assert "would train on 1000000" in checks["negative_control", "loss"].detail


class Linear(nn.Module):
    """A target of another shape."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 4)

    def forward(self, features):
        return self.head(features)


@pytest.mark.slow
def test_results_belong_to_the_attackers_in_order(audit):
    """A result too many is a mistake of the caller, not a check left out."""
    target = Target(Linear())
    attacker = simulate_attacker(Confidence(), target, FIT, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="zip"):
        examine_health(HealthCase(target, FIT, VERDICT, None, [attacker], []), levels=LEVELS, seed=0)
