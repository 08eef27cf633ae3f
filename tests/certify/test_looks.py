"""More shadows near the bound: when another look is taken, at which levels, and that all of them err as one would."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from safecompress.attacks import Access, Lira, Loss, Rmia, Target
from safecompress.attacks.base import AttackResult, FailedAttacker
from safecompress.attacks.measure_model import ModelFigures
from safecompress.attacks.shadows import ShadowOutputs
from safecompress.certify import JudgedModels, certify
from safecompress.certify.looks import look_levels, look_sizes, take_looks
from safecompress.errors import SpecError
from safecompress.metrics.measurement import Direction, Interval, Levels, Measurement
from safecompress.models import Mlp
from safecompress.report import RunFacts, build_report
from safecompress.seeding import seeded
from safecompress.spec import SafetySpec, Verdict, at_most
from safecompress.testing.fakes import noise_split

LEVELS = Levels(0.025, 2)
TARGETS = {"shipped": object(), "dense": object()}
ACCURACY = Measurement.exact("accuracy", 1.0, Direction.HIGHER)


def spec(bound=0.6, budget=64, **options):
    return SafetySpec([Lira(), Loss()], [at_most("lira.auc", bound), at_most("loss.auc", 0.9)],
                      access="scores", shadow_budget=budget, **options)  # fmt: skip


class Examined:
    """Finds the AUC that is written down for so many shadows, with an error of .02; keeps what it was asked."""

    def __init__(self, **aucs):
        self.aucs, self.asked = {int(size.removeprefix("k")): value for size, value in aucs.items()}, []

    def __call__(self, target, attack, levels):
        self.asked.append((attack.num_shadows, levels.alpha))
        value = self.aucs[attack.num_shadows]
        intervals = []
        for alpha in (levels.alpha, levels.simultaneous_alpha):
            reach = norm.ppf(1 - alpha / 2) * 0.02
            intervals.append(Interval(value - reach, value + reach, 1 - alpha))
        figure = Measurement("lira.auc", value, *intervals, 400, Direction.LOWER)
        return of(attack, (figure,))


def of(attack, figures=(), error=None):
    result = AttackResult(attack.name, attack.access, figures, error)
    return ModelFigures(np.ones(4, dtype=bool), ACCURACY, (result,), (FailedAttacker(attack, ""),))


def first():
    """Figures of both attacks before any look, which the looks at lira replace."""
    both = [of(Lira()), of(Loss(), (replace(ACCURACY, name="loss.auc", value=0.5),))]
    return ModelFigures(
        both[0].is_right, ACCURACY, tuple(f.results[0] for f in both), tuple(f.attackers[0] for f in both)
    )


def looked(examine, bound=0.6, budget=64):
    figures = {name: first() for name in TARGETS}
    settled, looks = take_looks(spec(bound, budget), LEVELS, TARGETS, figures, examine)
    for name in TARGETS:
        assert [result.attack for result in settled[name].results] == ["lira", "loss"]
        assert settled[name].results[1] is figures[name].results[1]
    return settled, looks.get("lira")


def test_sizes_double_up_to_the_budget_and_levels_add_up_to_alpha():
    assert look_sizes(16, 64) == (16, 32, 64)
    assert look_sizes(16, 100) == (16, 32, 64, 100)
    assert look_sizes(16, 16) == (16,)
    for num_looks in (1, 2, 3, 5):
        alphas = [levels.alpha for levels in look_levels(LEVELS, num_looks)]
        assert len(alphas) == num_looks and sum(alphas) == pytest.approx(0.025)
        assert {levels.num_figures for levels in look_levels(LEVELS, num_looks)} == {2}
    assert alphas[-1] == pytest.approx(0.9 * 0.025) and alphas[0] == pytest.approx(0.1 * 0.025 / 4)


@pytest.mark.parametrize("clear", [0.5, 0.7])
def test_a_clear_case_is_decided_at_the_first_look(clear):
    examine = Examined(k16=clear)
    settled, look = looked(examine)
    assert examine.asked == [(16, pytest.approx(0.00125))] * 2  # the dense model, too
    assert (look.num_shadows, look.number, look.num_looks) == (16, 1, 3)
    assert settled["shipped"].measurements["lira.auc"].interval.confidence == pytest.approx(1 - 0.00125)


def test_what_is_near_the_bound_gets_more_shadows_and_the_rest_of_alpha():
    """At .55 +- .02 a bound of .6 lies outside the interval at alpha and inside the early ones."""
    examine = Examined(k16=0.55, k32=0.55, k64=0.55)
    settled, look = looked(examine)
    assert [size for size, _ in examine.asked] == [16, 16, 32, 32, 64, 64]
    assert (look.num_shadows, look.number) == (64, 3) and look.levels.alpha == pytest.approx(0.0225)
    figure = settled["shipped"].measurements["lira.auc"]
    assert spec().judge({"lira.auc": figure}, partly=True).verdict is Verdict.PASS
    assert settled["shipped"].attackers[0].attack.num_shadows == 64
    _, second = looked(Examined(k16=0.55, k32=0.5))
    assert second.number == 2
    assert all(word in str(second) for word in ("lira", "32 shadow", "look 2 of at most 3", "99.8750%"))


def test_a_broken_attack_is_not_looked_at_again():
    asked = []

    def broken(target, attack, levels):
        asked.append(attack.num_shadows)
        return of(attack, error="it broke")

    settled, look = looked(broken)
    assert asked == [16, 16] and look.number == 1
    assert settled["shipped"].errors == {"lira": "it broke"}


def test_attacks_without_a_requirement_or_at_the_budget_are_run_once():
    examine = Examined()
    for made in (
        spec(budget=None), spec(budget=16), SafetySpec([Lira(), Loss()], [at_most("loss.auc", 1)], shadow_budget=64)
    ):  # fmt: skip
        figures = {name: first() for name in TARGETS}
        settled, looks = take_looks(made, LEVELS, TARGETS, figures, examine)
        assert (settled, looks, examine.asked) == (figures, {}, [])


# --- the spec


def test_a_spec_without_a_budget_has_the_digest_that_it_had():
    assert spec(budget=None).digest() == SafetySpec(
        [Lira(), Loss()], [at_most("lira.auc", 0.6), at_most("loss.auc", 0.9)], access="scores"
    ).digest()  # fmt: skip
    assert "budget" not in repr(spec(budget=None))
    assert len({spec(budget=budget).digest() for budget in (None, 32, 64)}) == 3


def test_budgets_that_buy_nothing_are_refused():
    with pytest.raises(SpecError, match=r"(?s)shadow_budget is 8.*num_shadows=16"):
        spec(budget=8)
    with pytest.raises(SpecError, match="leave it out"):
        SafetySpec([Loss()], [at_most("loss.auc", 0.6)], shadow_budget=64)


# --- a whole verdict


class NumberedShadows:
    """Shadows that learned nothing: what they say of a row is noise drawn from the row and their number."""

    mode = "numbered"

    def __init__(self):
        self.num_used, self.num_reused, self._drawn = 0, 0, {}

    def outputs(self, audit, *, count, queries=1):
        self.num_used = max(self.num_used, count)
        if audit.digest not in self._drawn:
            seeds = (1e6 * audit.features[:, 0].double()).long().abs().tolist()
            rows = [np.random.default_rng(seed).normal(size=(2, 64)) for seed in seeds]
            self._drawn[audit.digest] = np.stack(rows, axis=-1)
        drawn = self._drawn[audit.digest]
        first = drawn[1, ::2] > 0
        is_in = np.stack([first, ~first], axis=1).reshape(64, -1)[:count]
        phi = drawn[0, :count, None]
        return ShadowOutputs(phi, is_in, phi[:, 0] > 0)


def test_a_verdict_takes_looks_and_says_so(monkeypatch):
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: ())
    split = noise_split(150, other=60, num_features=8, num_classes=3)
    with seeded(0, "net"):
        network = Mlp((8,), 3, hidden=(16,))

    def judged(bound, budget):
        made = SafetySpec([Rmia(), Loss()], [at_most("rmia.auc", bound)], access="scores", shadow_budget=budget)
        target = Target(network, access=Access.SCORES, shadows=NumberedShadows())
        dense = Target(network, access=Access.SCORES, shadows=NumberedShadows())
        return certify(JudgedModels(target, dense), split, made, seed=0, opening=1), target.shadows

    once, shadows = judged(0.9, None)
    assert (once.looks, shadows.num_used) == ({}, 16)
    early, shadows = judged(0.9, 64)
    assert (early.looks["rmia"].number, shadows.num_used) == (1, 16)
    value, limit = (getattr(once.measurements["rmia.auc"], name) for name in ("value", "interval"))
    late, shadows = judged((value + limit.high) / 2, 64)
    assert (late.looks["rmia"].number, shadows.num_used) == (3, 64)
    assert "num_shadows=64" in late.attacks["rmia"]
    assert late.levels == once.levels
    confidences = {m.interval.confidence for name, m in late.measurements.items() if name.startswith("rmia.auc")}
    assert confidences == {1 - 0.9 * 0.025} and late.measurements["loss.auc"].interval.confidence == 1 - 0.025
    rise = late.measurements["rmia.auc.rise"]
    assert (rise.value, rise.interval.low, rise.interval.high) == (0.0, 0.0, 0.0)  # one model, equally many shadows
    made = build_report("x", late, split, artifact_facts={}, digest="0", facts=RunFacts(0))
    assert [note for note in made.notes if "64 shadow models, at look 3 of at most 3" in note]


ON_PERSONS = [at_most("lira.worst_case", 0.7), at_most("lira.canaries", 0.5)]


def test_figures_of_persons_are_measured_once_and_neither_ask_for_looks_nor_end_them():
    alone = SafetySpec([Lira()], ON_PERSONS, access="scores", shadow_budget=64, canaries=20)
    assert take_looks(alone, LEVELS, TARGETS, {"shipped": first()}, Examined())[1] == {}
    beside = SafetySpec(
        [Lira()], [at_most("lira.auc", 0.6), *ON_PERSONS], access="scores", shadow_budget=64, canaries=20
    )
    _, looks = take_looks(beside, LEVELS, {"shipped": object()}, {"shipped": first()}, Examined(k16=0.59, k32=0.5))
    assert looks["lira"].num_shadows == 32
