"""From scores to measurements: sign and threshold come from the fitting pool; what breaks is said, never a number."""

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from safecompress.attacks import (
    ATTACKS,
    MEMBERSHIP,
    Access,
    Attacker,
    Confidence,
    FailedAttacker,
    Gap,
    Loss,
    ModifiedEntropy,
    Neural,
    Target,
    simulate_attacker,
)
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.membership.threshold import MIN_ROWS_PER_CLASS
from safecompress.data import AuditData
from safecompress.errors import UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Direction, Levels
from safecompress.testing.fakes import (
    CollapsedAttack,
    FailingAttack,
    MemorisingModel,
    NanAttack,
    fake_target,
    noise_audit,
)

FIT, VERDICT = noise_audit(60, 60, seed=0), noise_audit(60, 60, seed=1)
LEVELS = Levels(0.05, 4)


def fresh():
    return np.random.default_rng(0)


def leaky():
    return Target(MemorisingModel.of(FIT, VERDICT, num_classes=4))


class FirstColumns(nn.Module):
    """Logits are the first columns of a row."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features):
        return features[:, :4] * self.scale


@dataclass(frozen=True)
class FirstColumn:
    """Scores are the first logit: whatever a test writes into the rows."""

    threshold: ClassVar[float | None] = None
    name: str = field(default="column", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        return target.signals(audit).logits_NC[:, 0].copy()


def rows(scores, is_member):
    """An audit whose first logits are ``scores``."""
    features = torch.zeros(len(scores), 4)
    features[:, 0] = torch.tensor(scores)
    return AuditData(features, torch.zeros(len(scores), dtype=torch.int64), np.array(is_member, dtype=bool))


MEMBERS_LOW = rows([1.0, 2.0, 3.0, 10.0, 11.0, 12.0], [1, 1, 1, 0, 0, 0])


def test_an_inverted_leak_counts():
    attacker = simulate_attacker(FirstColumn(), Target(FirstColumns()), MEMBERS_LOW, generator=fresh())
    assert attacker.sign == -1.0
    verdict = rows([2.5, 0.5, 13.0, 9.0], [1, 1, 0, 0])
    result = attacker.test(Target(FirstColumns()), verdict, LEVELS)
    values = {m.name: m.value for m in result.measurements}
    assert values["column.auc"] == values["column.balanced_accuracy"] == 1.0
    assert result.scores.tolist() == [-2.5, -0.5, -13.0, -9.0]


def test_the_sign_of_the_fitting_pool_is_kept_where_it_does_not_fit():
    """An attack that finds nothing may fall under .5 on other rows; turning it there would flatter it."""
    attacker = simulate_attacker(FirstColumn(), Target(FirstColumns()), MEMBERS_LOW, generator=fresh())
    turned = rows([20.0, 30.0, 1.0, 2.0], [1, 1, 0, 0])
    result = attacker.test(Target(FirstColumns()), turned, LEVELS)
    assert {m.name: m.value for m in result.measurements}["column.auc"] == 0.0


def test_the_threshold_lies_between_the_fitting_pools():
    members_high = replace(MEMBERS_LOW, is_member=~MEMBERS_LOW.is_member)
    attacker = simulate_attacker(FirstColumn(), Target(FirstColumns()), members_high, generator=fresh())
    assert (attacker.sign, attacker.threshold) == (1.0, 6.5)
    inverted = simulate_attacker(FirstColumn(), Target(FirstColumns()), MEMBERS_LOW, generator=fresh())
    assert inverted.threshold == -6.5


@pytest.mark.slow
@given(st.lists(st.floats(-5, 5, width=32), min_size=8, max_size=8))
def test_the_threshold_does_not_move_with_the_scored_rows(scores):
    target = Target(FirstColumns())
    attacker = simulate_attacker(FirstColumn(), target, MEMBERS_LOW, generator=fresh())
    verdict = rows(scores, [True] * 4 + [False] * 4)
    result = attacker.test(target, verdict, LEVELS)
    if result.error is None:
        expected = stats.confusion_at(-np.array(scores), verdict.is_member, -6.5)
        assert {m.name: m.value for m in result.measurements}["column.advantage"] == expected.advantage
    assert (attacker.sign, attacker.threshold) == (-1.0, -6.5)


def test_an_attack_with_a_threshold_of_its_own_is_left_alone():
    @dataclass(frozen=True)
    class Decided(FirstColumn):
        threshold: ClassVar[float | None] = 11.5

    attacker = simulate_attacker(Decided(), Target(FirstColumns()), MEMBERS_LOW, generator=fresh())
    assert (attacker.sign, attacker.threshold) == (1.0, 11.5)


# --- what breaks


def test_an_attack_that_cannot_be_fitted_is_an_error_at_every_test():
    attacker = simulate_attacker(FailingAttack("fit"), leaky(), FIT, generator=fresh())
    assert attacker == FailedAttacker(FailingAttack("fit"), "RuntimeError: this attack always fails to fit")
    result = attacker.test(leaky(), VERDICT, LEVELS)
    assert (result.attack, result.error, result.measurements, result.scores) == ("failing", attacker.error, (), None)


@dataclass(frozen=True)
class BreaksLater(FirstColumn):
    """Sound on the fitting pool; on other rows it does what ``fault`` says."""

    fault: str = "raise"

    def score(self, target, audit):
        scores = super().score(target, audit)
        if audit is FIT:
            return scores
        if self.fault == "raise":
            raise ZeroDivisionError("no such luck")
        if self.fault == "nan":
            scores[3] = np.nan
        if self.fault == "inf":
            scores[:2] = np.inf
        return {"short": scores[1:], "column": scores[:, None], "constant": np.zeros_like(scores)}.get(
            self.fault, scores
        )


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "ZeroDivisionError:"),
        ("nan", "1 of 120 scores"),
        ("inf", "2 of 120 scores"),
        ("short", "(119,), the audit has 120"),
        ("column", "(120, 1), the audit has 120"),
        ("constant", "for all 120 rows"),
    ],
)
def test_an_attack_that_breaks_on_the_scored_rows_gives_no_number(fault, message):
    attacker = simulate_attacker(BreaksLater(fault), leaky(), FIT, generator=fresh())
    assert isinstance(attacker, Attacker)
    result = attacker.test(leaky(), VERDICT, LEVELS)
    assert message in result.error
    assert (result.measurements, result.scores, result.is_member) == ((), None, None)


@pytest.mark.parametrize("attack", [FailingAttack("score"), NanAttack(), CollapsedAttack()])
def test_an_attack_that_breaks_on_the_fitting_pool_is_broken(attack):
    assert isinstance(simulate_attacker(attack, leaky(), FIT, generator=fresh()), FailedAttacker)


def test_an_interrupt_is_no_finding():
    @dataclass(frozen=True)
    class Interrupted(FirstColumn):
        def score(self, target, audit):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_attacker(Interrupted(), leaky(), FIT, generator=fresh())


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS.names())
def test_a_model_that_says_nothing_gives_one_half_and_no_error(name):
    """Constant scores are right where the signals are constant too."""
    attack = Neural(epochs=2) if name == "neural" else ATTACKS.make(name)
    target = fake_target(FIT, VERDICT, num_classes=4, is_leaky=False)
    result = simulate_attacker(attack, target, FIT, generator=fresh()).test(target, VERDICT, LEVELS)
    assert result.error is None
    values = {m.name: m.value for m in result.measurements}
    assert values[f"{name}.auc"] == pytest.approx(0.5, abs=0.2 if name in ("neural", "whitebox", "samia") else 1e-9)


def test_gap_on_an_always_right_model_is_one_half():
    """Every prediction right: a constant score, though the model's outputs differ from row to row."""
    both = [torch.cat([pool.features for pool in (FIT, VERDICT)]), torch.cat([pool.labels for pool in (FIT, VERDICT)])]
    target = Target(MemorisingModel(*both, 4))
    result = simulate_attacker(Gap(), target, FIT, generator=fresh()).test(target, VERDICT, LEVELS)
    assert result.error is None
    assert {m.name: m.value for m in result.measurements}["gap.auc"] == 0.5
    assert simulate_attacker(Confidence(), target, FIT, generator=fresh()).test(target, VERDICT, LEVELS).error is None


# --- measurements


@pytest.mark.slow
@given(st.data())
def test_measurements_are_the_figures_of_stats(data):
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=20, max_size=20)), dtype=np.float64)
    is_member = np.arange(20) % 2 == 0
    threshold = data.draw(st.sampled_from([-np.inf, -1.5, 0.0, 2.5, np.inf]))
    levels = Levels(data.draw(st.sampled_from([0.05, 0.01])), data.draw(st.integers(1, 6)))
    found = MEMBERSHIP.measure("mine", Ranking(scores, is_member, threshold), levels)
    assert [m.name for m in found] == [f"mine.{metric}" for metric in map(attrgetter("name"), MEMBERSHIP.metrics)]
    confusion = stats.confusion_at(scores, is_member, threshold)
    values = [
        stats.auc(scores, is_member), confusion.balanced_accuracy, confusion.advantage,
        stats.tpr_at_fpr(scores, is_member, 0.01), stats.tpr_at_fpr(scores, is_member, 0.001),
    ]  # fmt: skip
    assert [m.value for m in found] == values
    for m, interval in zip(
        found,
        (
            lambda a: stats.auc_interval(scores, is_member, a),
            lambda a: stats.balanced_accuracy_interval(confusion, a),
            lambda a: stats.advantage_interval(confusion, a),
            lambda a: stats.tpr_at_fpr_interval(scores, is_member, 0.01, a),
            lambda a: stats.tpr_at_fpr_interval(scores, is_member, 0.001, a),
        ),
        strict=True,
    ):
        assert m.interval == interval(levels.alpha)
        assert m.simultaneous == interval(levels.alpha / levels.num_figures)
        assert (m.num_samples, m.direction) == (20, Direction.LOWER)


@pytest.mark.slow
def test_a_memorising_model_is_caught_by_every_attack():
    for name in ATTACKS.names():
        brief = {"neural": {"epochs": 12}, "samia": {"epochs": 10}, "whitebox": {"epochs": 10}}.get(name, {})
        attack = ATTACKS.make({"name": name, **brief})
        target = fake_target(FIT, VERDICT, num_classes=4, is_leaky=True)
        result = simulate_attacker(attack, target, FIT, generator=fresh()).test(target, VERDICT, LEVELS)
        values = {m.name: m for m in result.measurements}
        assert values[f"{name}.auc"].value >= (0.8 if name == "gap" else 0.95), name
        assert values[f"{name}.auc"].interval.low > 0.7


def test_a_result_prints_no_score_and_no_membership():
    result = simulate_attacker(Loss(), leaky(), FIT, generator=fresh()).test(leaky(), VERDICT, LEVELS)
    assert len(result.scores) == 120
    for hidden in ("array", "scores", "is_member", f"{result.scores[0]:.4f}", "True", "False"):
        assert hidden not in repr(result)
    assert "loss.auc" in repr(result)


def test_an_attacker_prints_no_fitted_state():
    attacker = simulate_attacker(ModifiedEntropy(), leaky(), FIT, generator=fresh())
    assert "thresholds" not in repr(attacker)


# --- modified entropy's thresholds by class


def two_classes(num_rows):
    """Rows of two classes; members of class 1 have lower confidence than non-members of class 0."""
    random = np.random.default_rng(0)
    labels = np.arange(4 * num_rows) % 2
    is_member = np.arange(4 * num_rows) < 2 * num_rows
    margin = 4.0 * (labels == 0) + 2.0 * is_member + random.uniform(-0.5, 0.5, len(labels))
    features = np.zeros((len(labels), 4), dtype=np.float32)
    features[np.arange(len(labels)), labels] = margin
    return AuditData(torch.from_numpy(features), torch.from_numpy(labels), is_member)


@pytest.mark.parametrize(("num_rows", "is_split"), [(MIN_ROWS_PER_CLASS, True), (MIN_ROWS_PER_CLASS - 1, False)])
def test_modified_entropy_has_a_threshold_for_each_class_that_is_large_enough(num_rows, is_split):
    target, audit = Target(FirstColumns()), two_classes(num_rows)
    fitted = ModifiedEntropy().fit(target, audit, generator=fresh())
    assert sorted(fitted.thresholds) == ([0, 1] if is_split else [])
    attacker = simulate_attacker(ModifiedEntropy(), target, audit, generator=fresh())
    values = {m.name: m.value for m in attacker.test(target, audit, LEVELS).measurements}
    assert (values["modified_entropy.balanced_accuracy"] == 1.0) == is_split


def test_a_class_without_a_threshold_of_its_own_uses_the_common_one():
    target, audit = Target(FirstColumns()), two_classes(MIN_ROWS_PER_CLASS)
    few = np.flatnonzero((audit.labels.numpy() == 0) | (np.arange(80) % 8 == 1))
    part = AuditData(audit.features[few], audit.labels[few], audit.is_member[few])
    fitted = ModifiedEntropy().fit(target, part, generator=fresh())
    assert list(fitted.thresholds) == [0]
    scores = fitted.score(target, audit)
    plain = -target.signals(audit).modified_entropy_N
    offsets = np.where(audit.labels.numpy() == 0, fitted.thresholds[0], fitted.shared)
    assert np.array_equal(scores, plain - offsets)


@pytest.mark.parametrize("rare", [True, False])
def test_a_class_needs_members_and_non_members_enough_for_a_threshold_of_its_own(rare):
    target, audit = Target(FirstColumns()), two_classes(MIN_ROWS_PER_CLASS)
    is_rare = (audit.labels.numpy() == 1) & (audit.is_member == rare)
    rows = np.setdiff1d(np.arange(len(audit.labels)), np.flatnonzero(is_rare)[1:])
    part = AuditData(audit.features[rows], audit.labels[rows], audit.is_member[rows])
    assert list(ModifiedEntropy().fit(target, part, generator=fresh()).thresholds) == [0]


def test_an_unknown_attack_is_named_with_its_close_match():
    with pytest.raises(UsageError, match="mean 'neural'"):
        ATTACKS.make("neurl")
    with pytest.raises(UsageError, match="take these options"):
        ATTACKS.make({"name": "loss", "epochs": 3})
