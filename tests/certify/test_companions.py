"""A reference attack with weaker options is judged by its default, too: the largest figure counts."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from safecompress.attacks import (
    Access,
    AttackResult,
    Gap,
    LabelOnly,
    Lira,
    Loss,
    ModifiedEntropy,
    Neural,
    WhiteBox,
    simulate_attacker,
)  # fmt: skip
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.attacks.reference import companions_of
from safecompress.certify.companions import describe_attack, strongest
from safecompress.metrics.measurement import Levels
from safecompress.seeding import derive
from safecompress.testing.fakes import fake_target, noise_audit


@pytest.mark.parametrize(
    ("attack", "companions"),
    [
        (Gap(), ()),
        (Loss(), ()),
        (ModifiedEntropy(), ()),
        (Neural(), ()),
        (Neural(epochs=200), ()),
        (Neural(inputs="paper", learning_rate=1e-5), (Neural(),)),
        (Neural(epochs=80, batch_size=1024), (Neural(epochs=80),)),
        (LabelOnly(sizes=(1e-9,)), (LabelOnly(),)),
        (WhiteBox(inputs="paper", gradients="last"), (WhiteBox(),)),
        (Lira(), (Lira(signal="all"),)),
        (Lira(32), (Lira(32, signal="all"),)),
        (Lira(32, mode="offline", variance="per_sample"), (Lira(32), Lira(32, signal="all"))),
        (Lira(signal="all"), (Lira(),)),
    ],
)
def test_what_runs_beside_a_reference_attack(attack, companions):
    assert companions_of(attack) == companions


@dataclass(frozen=True)
class Impostor:
    """Another class by the name of a reference attack: it finds nothing."""

    name: str = "lira"
    access: Access = Access.SCORES


def test_another_class_by_the_same_name_does_not_stand_for_the_attack():
    assert companions_of(Impostor()) == (Lira(), Lira(signal="all"))


def found(name, strength, seed, error=None):
    if error:
        return AttackResult(name, Access.SCORES, error=error)
    is_member = np.arange(200) < 100
    ranking = Ranking(np.random.default_rng(seed).normal(size=200) + strength * is_member, is_member, 0.5)
    return AttackResult(name, Access.SCORES, MEMBERSHIP.measure(name, ranking, Levels()), None, ranking)


def test_of_each_metric_the_largest_counts():
    weak, strong = found("neural", 0.1, 0), found("neural", 2.0, 1)
    judged = strongest(weak, [strong])
    assert judged.measurements == strong.measurements and judged.evidence is strong.evidence
    assert strongest(strong, [weak]).measurements == strong.measurements
    one, other = ({m.name: m.value for m in result.measurements} for result in (found("a", 1.0, 2), found("a", 1.0, 3)))
    both = {m.name: m.value for m in strongest(found("a", 1.0, 2), [found("a", 1.0, 3)]).measurements}
    assert both == {name: max(value, other[name]) for name, value in one.items()}


def test_a_bound_must_hold_for_each_of_them():
    """The one with the smaller figure may have the wider interval."""
    many = np.arange(800) < 400
    ranking = Ranking(np.random.default_rng(5).normal(size=800) + 0.62 * many, many, 0.5)
    sure = AttackResult("neural", Access.SCORES, MEMBERSHIP.measure("neural", ranking, Levels()), None, ranking)
    unsure = found("neural", 0.4, 1)
    sure_auc, unsure_auc, both = (
        {m.name: m for m in result.measurements}["neural.auc"] for result in (sure, unsure, strongest(sure, [unsure]))
    )
    assert sure_auc.value > unsure_auc.value and sure_auc.interval.high < unsure_auc.interval.high
    assert (both.value, both.interval.low) == (sure_auc.value, sure_auc.interval.low)
    assert (both.interval.high, both.simultaneous.high) == (unsure_auc.interval.high, unsure_auc.simultaneous.high)


def test_what_breaks_beside_an_attack_breaks_it():
    judged = strongest(found("neural", 1.0, 0), [found("neural", 0, 0, error="TypeError: no")])
    assert judged.measurements == () and judged.evidence is None
    assert judged.error == "what runs beside it at full strength: TypeError: no"
    broken = found("neural", 0, 0, error="its own")
    assert strongest(broken, [found("neural", 1.0, 0)]).error == "its own"


def test_a_label_only_attack_that_moves_nothing_is_judged_by_the_default_one():
    """Noise of 1e-9 tells no more than the label: it passed for the reference attack."""
    fit, verdict = noise_audit(80, 80), noise_audit(80, 80, seed=1)
    target = fake_target(fit, verdict, num_classes=4, is_leaky=True)
    weak = LabelOnly(sizes=(1e-9,))
    own, default = (
        simulate_attacker(attack, target, fit, generator=derive(0, "x")).test(target, verdict, Levels())
        for attack in (weak, *companions_of(weak))
    )
    assert strongest(own, [default]).measurements[0].value >= default.measurements[0].value


def test_the_report_says_what_runs_beside():
    assert describe_attack(Gap()) == repr(Gap())
    said = describe_attack(replace(Neural(), learning_rate=1e-5))
    assert repr(Neural()) in said and said.endswith("the largest figure counts")
