"""Selectors on evaluations made by hand: which one wins, why, and what never wins."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.attacks import Access, AttackResult
from safecompress.attacks.evidence import Ranking
from safecompress.compression.search import (
    SELECTORS,
    Evaluation,
    ParetoKnee,
    RandomChoice,
    SafestAbove,
    Selection,
    Slack,
    TmScore,
    compare_to_keep,
)
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Direction, Measurement
from safecompress.spec import Findings, SafetySpec, at_least, at_most
from said import says

IS_MEMBER = np.arange(40) < 20


def evaluation(branch, accuracy, leak=0.5, *, auc=None, broken=(), others=(), scores=None):
    """``leak`` is the balanced accuracy of the attack "a"; ``others`` those of "b", "c", ..."""
    leaks = dict(zip("abcdef", (leak, *others), strict=False))
    values = {"accuracy": accuracy}
    for name, value in leaks.items():
        values |= {f"{name}.balanced_accuracy": value, f"{name}.auc": value if auc is None else auc}
    measurements = {name: Measurement.exact(name, value, Direction.LOWER) for name, value in values.items()}
    results = tuple(
        AttackResult(name, Access.SCORES, error="ValueError: no")
        if name in broken
        else AttackResult(name, Access.SCORES, evidence=None if scores is None else Ranking(scores, IS_MEMBER, 0.5))
        for name in leaks
    )
    return Evaluation(f"r1/{branch}", branch, measurements, results, Findings(()), 0, {})


def choose(selector, *evaluations, seed=0):
    choice = selector(evaluations, generator=np.random.default_rng(seed))
    assert len(choice.reasons) == len(evaluations)
    assert all(choice.reasons)
    return choice


# --- slack

ASKED = SafetySpec(["loss"], [at_most("loss.auc", 0.6), at_least("accuracy", 0.8)])


def asked(branch, accuracy, auc, *, broken=()):
    """An evaluation of a spec that asks for an AUC of at most 0.6 and an accuracy of at least 0.8."""
    measured = {
        "accuracy": Measurement.exact("accuracy", accuracy, Direction.HIGHER),
        "loss.auc": Measurement.exact("loss.auc", auc, Direction.LOWER),
        "loss.balanced_accuracy": Measurement.exact("loss.balanced_accuracy", auc, Direction.LOWER),
    }
    results = (AttackResult("loss", Access.SCORES, error="ValueError: no" if "loss" in broken else None),)
    return Evaluation(f"r1/{branch}", branch, measured, results, ASKED.judge(measured, partly=True), 0, {})


def test_the_tightest_requirement_chooses():
    """Slacks by hand: x (.58 -> .2, .9 -> .5), y (.55 -> .5, .85 -> .25), z (.5 -> 1, .78 -> -.1)."""
    choice = choose(Slack(), asked("x", 0.9, 0.58), asked("y", 0.85, 0.55), asked("z", 0.78, 0.5))
    assert choice.index == 1
    assert choice.reasons == (
        "lost: smallest slack 0.2000, 0.0500 behind (loss.auc ≤ 0.6)",
        "won: smallest slack 0.2500 (accuracy ≥ 0.8)",
        "lost: smallest slack -0.1000, 0.3500 behind (accuracy ≥ 0.8)",
    )
    by_score = choose(TmScore(), asked("x", 0.9, 0.58), asked("y", 0.85, 0.55), asked("z", 0.78, 0.5))
    assert by_score.index == 2  # which no bound is asked of


def test_equal_slacks_go_to_keep_and_broken_attacks_never_win():
    one = asked("x", 0.9, 0.55)
    assert choose(Slack(), one, asked("keep", 0.9, 0.55)).index == 1
    choice = choose(Slack(), asked("x", 1.0, 0.5, broken=["loss"]), one)
    assert (choice.index, choice.reasons[0]) == (1, "out: broken attack loss")
    with pytest.raises(AttackError):
        choose(Slack(), asked("x", 1.0, 0.5, broken=["loss"]))


def test_without_a_requirement_that_is_measured_the_tm_score_decides():
    candidates = evaluation("x", 0.80, 0.60), evaluation("y", 0.75, 0.50)
    assert choose(Slack(), *candidates) == choose(TmScore(), *candidates)


# --- TM-score


@pytest.mark.parametrize(
    ("accuracy", "leak", "power", "expected"),
    [
        (0.8, 0.6, 1.0, 0.8 / 0.6),
        (0.8, 0.5, 1.0, 1.6),
        (0.8, 0.4, 1.0, 1.6),  # worse than guessing earns nothing
        (0.8, 0.6, 2.0, 0.64 / 0.6),
        (0.8, 0.8, 0.0, 1 / 0.8),
        (0.0, 0.6, 1.0, 0.0),
    ],
)
def test_tm_score_by_hand(accuracy, leak, power, expected):
    assert evaluation("x", accuracy, leak).tm_score(power) == pytest.approx(expected)


def test_the_worst_attack_counts():
    assert evaluation("x", 0.8, 0.5, others=(0.75, 0.6)).tm_score() == pytest.approx(0.8 / 0.75)
    assert evaluation("x", 0.8, 0.5, others=(0.75, 0.6)).tm_score() == 0.8 / 0.75


def test_the_largest_tm_score_wins():
    choice = choose(TmScore(), evaluation("x", 0.80, 0.60), evaluation("y", 0.75, 0.50), evaluation("keep", 0.9, 0.9))
    assert choice.index == 1
    assert choice.reasons == (
        "lost: TM-score 1.3333, 0.1667 behind", "won: TM-score 1.5000", "lost: TM-score 1.0000, 0.5000 behind",
    )  # fmt: skip


def test_the_power_weighs_accuracy():
    candidates = evaluation("x", 0.9, 0.7), evaluation("y", 0.7, 0.5)
    assert [choose(TmScore(power), *candidates).index for power in (0.5, 1.0, 2.0)] == [1, 1, 0]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_keep_wins_ties(place):
    candidates = [evaluation(name, 0.8, 0.5) for name in ("x", "y")]
    candidates.insert(place, evaluation("keep", 0.8, 0.45))
    choice = choose(TmScore(), *candidates)
    assert choice.index == place
    assert choice.reasons[place].startswith("won: TM-score 1.6000, tied")


def test_without_keep_the_first_of_equals_wins():
    assert choose(TmScore(), *(evaluation(name, 0.8) for name in "xyz")).index == 0


def test_a_negative_power_is_refused():
    for power in (-1, float("nan")):
        with pytest.raises(UsageError, match=r"power.*least 0"):
            TmScore(power)


# --- broken attacks

SELECT = [TmScore(), RandomChoice(), SafestAbove(0.5), SafestAbove(0.999), ParetoKnee()]


@pytest.mark.parametrize("selector", SELECT, ids=repr)
def test_a_candidate_with_a_broken_attack_is_never_chosen(selector):
    candidates = (
        evaluation("x", 0.99, 0.5, broken="a"),
        evaluation("y", 0.6, 0.9),
        evaluation("keep", 0.99, 0.5, others=(0.5,), broken="b"),
    )
    for seed in range(20):
        choice = choose(selector, *candidates, seed=seed)
        assert choice.index == 1
    if not isinstance(selector, RandomChoice):
        assert says(choice.reasons[0], "out: ", " a") and says(choice.reasons[2], "out: ", " b")


@pytest.mark.parametrize("selector", SELECT, ids=repr)
def test_when_all_are_broken_nobody_is_chosen(selector):
    with pytest.raises(AttackError, match=r"No candidate .*a: ValueError: no"):
        choose(selector, evaluation("x", 0.9, broken="a"), evaluation("keep", 0.9, others=(0.5,), broken="ab"))


@pytest.mark.parametrize("name", SELECTORS.names())
def test_one_candidate_is_chosen_by_every_selector(name):
    selector = SELECTORS.make({"name": name, "accuracy": 0.5} if name == "safest_above" else name)
    assert choose(selector, evaluation("keep", 0.3, 0.9)).index == 0


# --- random


def test_random_is_uniform_and_seeded():
    candidates = [evaluation(name, accuracy) for name, accuracy in zip("wxyz", (0.1, 0.9, 0.5, 0.5), strict=True)]
    drawn = [choose(RandomChoice(), *candidates, seed=seed).index for seed in range(400)]
    assert drawn == [choose(RandomChoice(), *candidates, seed=seed).index for seed in range(400)]
    counts = np.bincount(drawn, minlength=4)
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # chi-square with three degrees of freedom, 0.999
    reasons = choose(RandomChoice(), *candidates).reasons
    assert sorted(reasons) == ["drawn by lot", "not drawn", "not drawn", "not drawn"]


# --- safest above


def test_the_safest_that_is_accurate_enough():
    candidates = evaluation("x", 0.9, 0.7), evaluation("y", 0.8, 0.6), evaluation("z", 0.7, 0.5)
    choices = {accuracy: choose(SafestAbove(accuracy), *candidates) for accuracy in (0.6, 0.8, 0.85, 0.95)}
    assert {accuracy: choice.index for accuracy, choice in choices.items()} == {0.6: 2, 0.8: 1, 0.85: 0, 0.95: 0}
    assert choices[0.8].reasons[2].startswith("out: not eligible")
    assert says(choices[0.95].reasons[0], "won: none", " 0.95", " 0.9000")


def test_safest_above_reads_the_auc():
    candidates = evaluation("x", 0.9, 0.5, auc=0.8), evaluation("y", 0.9, 0.9, auc=0.6)
    assert choose(SafestAbove(0.5), *candidates).index == 1


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan")])
def test_safest_above_takes_a_share(accuracy):
    with pytest.raises(UsageError, match=r"accuracy.*\[0, 1\]"):
        SafestAbove(accuracy)


# --- Pareto knee


def test_the_knee_by_hand():
    """Ends (.6, .50) and (.9, .70); of the two between, (.85, .55) stands .25 + .75 - 1 + ... above the line."""
    ends = evaluation("x", 0.6, 0.50), evaluation("y", 0.9, 0.70)
    high, low = evaluation("z", 0.85, 0.55), evaluation("w", 0.70, 0.60)
    dominated = evaluation("v", 0.80, 0.60)
    choice = choose(ParetoKnee(), *ends, low, high, dominated)
    assert choice.index == 3
    # z: (.85 - .6) / .3 + (.70 - .55) / .2; both ends have height 1; w and v are dominated by z
    assert choice.reasons[3].endswith(f" {0.25 / 0.3 + 0.15 / 0.2:.4f}")
    assert [reason.split(":")[0] for reason in choice.reasons] == ["lost", "lost", "out", "won", "out"]


def test_a_front_of_one_is_its_own_knee():
    assert choose(ParetoKnee(), evaluation("x", 0.5, 0.8), evaluation("y", 0.9, 0.5)).index == 1


def test_equal_points_go_to_keep():
    assert choose(ParetoKnee(), evaluation("x", 0.9, 0.5), evaluation("keep", 0.9, 0.5)).index == 1


def test_a_front_without_spread_in_one_axis_has_a_knee():
    assert choose(ParetoKnee(), evaluation("x", 0.9, 0.5), evaluation("y", 0.9, 0.6)).index == 0


GRID = st.integers(0, 4).map(lambda n: n / 4)


@pytest.mark.slow
@given(st.lists(st.tuples(GRID, GRID), min_size=1, max_size=6))
def test_the_knee_is_never_dominated(points):
    candidates = [evaluation(str(n), accuracy, leak) for n, (accuracy, leak) in enumerate(points)]
    accuracy, leak = points[choose(ParetoKnee(), *candidates).index]
    assert not any(a >= accuracy and b <= leak and (a, b) != (accuracy, leak) for a, b in points)


@pytest.mark.slow
@given(st.lists(st.tuples(GRID, GRID), min_size=1, max_size=6))
def test_the_best_tm_score_is_the_best(points):
    candidates = [evaluation(str(n), accuracy, leak) for n, (accuracy, leak) in enumerate(points)]
    scores = [accuracy / max(0.5, leak) for accuracy, leak in points]
    assert math.isclose(scores[choose(TmScore(), *candidates).index], max(scores))


# --- against keep


def test_the_choice_is_compared_with_keep_in_pairs():
    random = np.random.default_rng(0)
    mine, kept = random.normal(size=40) + IS_MEMBER, random.normal(size=40)
    candidates = evaluation("keep", 0.8, others=(0.5,), scores=kept), evaluation("x", 0.9, others=(0.5,), scores=mine)
    compared = compare_to_keep(candidates, Selection(1, ("", "")))
    assert compared.keys() == {"a", "b"}
    assert compared["a"] == stats.auc_difference(mine, kept, IS_MEMBER, 0.05)
    assert compared["a"].value == pytest.approx(stats.auc(mine, IS_MEMBER) - stats.auc(kept, IS_MEMBER))


def test_keep_is_not_compared_with_itself_nor_with_nobody():
    scores = np.arange(40.0)
    keep, other = evaluation("keep", 0.8, scores=scores), evaluation("x", 0.9, scores=scores)
    assert compare_to_keep([keep, other], Selection(0, ("", ""))) == {}
    assert compare_to_keep([other], Selection(0, ("",))) == {}


def test_an_attack_that_broke_on_keep_is_left_out():
    scores = np.arange(40.0)
    keep = evaluation("keep", 0.8, others=(0.5,), broken="a", scores=scores)
    other = evaluation("x", 0.9, others=(0.5,), scores=scores)
    assert compare_to_keep([keep, other], Selection(1, ("", ""))).keys() == {"b"}
