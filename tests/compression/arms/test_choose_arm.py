"""Which arm is dropped, judged and chosen, on figures made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from safecompress.attacks import AttackResult
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.compression.arms.choose import (
    ArmEvidence,
    ArmResult,
    ArmState,
    DenseFigures,
    ExpectedFigure,
    advise,
    choose_arm,
    drop_dominated,
    forecast,
    name_finalists,
)
from safecompress.compression.search import Branch, Evaluation, TmScore
from safecompress.compression.search.arm import Arm, Arms, short_names
from safecompress.errors import AttackError, UsageError
from safecompress.metrics.measurement import Levels
from safecompress.spec import Findings, SafetySpec, at_least, at_most, within
from safecompress.training import measure_accuracy

SPEC = SafetySpec(
    [{"name": "lira", "num_shadows": 8}, "loss"],
    [at_most("lira.auc", 0.6), at_most("loss.auc", 0.8), at_least("accuracy", 0.5), within(0.2, metric="accuracy")],
)
LEVELS = Levels(0.05, 4)
RIGL = Branch.parse("magnitude+gradient")
N = 400


def arm_of(share, *, right, gap, lira=None, limit=None, error=None):
    """An arm that classifies ``right`` of N rows, and whose members' losses lie ``gap`` below the others'."""
    is_right = np.arange(N) < right
    scores = np.concatenate([np.linspace(0, 1, N) + gap, np.linspace(0, 1, N)])
    evidence = Ranking(scores, np.arange(2 * N) < N, 0.5)
    figures = MEMBERSHIP.measure("loss", evidence, LEVELS)
    found = AttackResult("loss", 1, figures, error, evidence) if error is None else AttackResult("loss", 1, error=error)
    measured = {figure.name: figure for figure in (measure_accuracy(is_right, LEVELS), *(figures if not error else ()))}
    name = f"share {share:g}"
    evaluation = Evaluation(name, name, measured, (found,), Findings(()), 0, {}, is_right)
    repeats = None if lira is None else ArmEvidence({"auc": ExpectedFigure(lira, limit)}, "label", 8)
    return ArmResult(Arm(share, 2.0, 0.1, RIGL), name, evaluation, repeats)


def judged(*arms, dense_right=300):
    dense = DenseFigures(np.arange(N) < dense_right)
    finalists = [replace(arm, state=ArmState.FINALIST, forecasts=forecast(SPEC, LEVELS, arm, dense)) for arm in arms]
    return choose_arm(finalists)


def chosen_of(results):
    return next(result for result in results if result.state is ArmState.CHOSEN)


def test_an_arm_that_another_beats_twice_is_dropped():
    good, bad = arm_of(0.8, right=300, gap=0.1), arm_of(1.0, right=220, gap=0.4)
    marked = drop_dominated([bad, good])
    assert [result.state for result in marked] == [ArmState.DROPPED, ArmState.TESTED]
    assert marked[0].reason == "dropped: less accurate than share 0.8 and leaks more, both beyond chance"


@pytest.mark.parametrize(
    "right, gap", [(298, 0.4), (220, 0.1), (220, 0.05)], ids=["hardly less accurate", "leaks alike", "leaks less"]
)
def test_an_arm_that_is_worse_in_one_thing_or_by_chance_stays(right, gap):
    marked = drop_dominated([arm_of(1.0, right=right, gap=gap), arm_of(0.8, right=300, gap=0.1)])
    assert all(result.state is ArmState.TESTED for result in marked)


def test_a_broken_attack_drops_an_arm_and_all_of_them_end_the_search():
    broken, whole = arm_of(1.0, right=300, gap=0.0, error="no logits"), arm_of(0.8, right=200, gap=0.5)
    assert [r.state for r in drop_dominated([broken, whole])] == [ArmState.DROPPED, ArmState.TESTED]
    with pytest.raises(AttackError, match=r"No arm could be tested.*loss: no logits"):
        drop_dominated([broken, broken])


def test_finalists_are_the_safest_and_what_the_selector_likes():
    arms = [arm_of(1.0, right=150, gap=0.0), arm_of(0.9, right=200, gap=0.3), arm_of(0.8, right=380, gap=0.3)]
    assert name_finalists(arms, 2, TmScore(), np.random.default_rng(0)) == [0, 2]
    assert name_finalists(arms, 1, TmScore(), np.random.default_rng(0)) == [0]
    dropped = [replace(arms[0], state=ArmState.DROPPED), *arms[1:]]
    assert name_finalists(dropped, 5, TmScore(), np.random.default_rng(0)) == [1, 2]


def test_the_most_accurate_that_keeps_every_requirement_is_chosen():
    safe = arm_of(1.0, right=260, gap=0.0, lira=0.52, limit=0.55)
    better = arm_of(0.8, right=280, gap=0.1, lira=0.56, limit=0.59)
    leaky = arm_of(0.5, right=360, gap=0.2, lira=0.66, limit=0.70)
    results = judged(safe, better, leaky)
    assert chosen_of(results).name == "share 0.8" and advise(results) is None
    assert results[1].reason == (
        "chosen: the most accurate of 2 expected to keep every requirement (accuracy 0.700, leak 0.560)"
    )
    assert results[0].reason.startswith("expected to keep every requirement, accuracy 0.050 behind")
    assert results[2].reason.startswith("not expected to keep lira.auc ≤ 0.6 (limit 0.700)")
    assert [result.is_on_front for result in results] == [True, True, True]


def test_equal_accuracy_goes_to_the_safer():
    arms = [
        arm_of(0.8, right=280, gap=0.1, lira=0.56, limit=0.59),
        arm_of(1.0, right=280, gap=0.1, lira=0.5, limit=0.55),
    ]
    results = judged(*arms)
    assert chosen_of(results).name == "share 1"
    assert [result.is_on_front for result in results] == [False, True]


def test_when_none_keeps_the_bound_the_nearest_is_chosen_and_says_which_way_to_move():
    results = judged(
        arm_of(0.8, right=300, gap=0.1, lira=0.60, limit=0.64), arm_of(0.5, right=320, gap=0.1, lira=0.66, limit=0.70)
    )
    assert chosen_of(results).name == "share 0.8"
    assert advise(results) == (
        "No arm keeps lira.auc ≤ 0.6: the nearest, share 0.8, has the limit 0.640, 0.040 over. To leak less: shares up "
        "to 1, longer lengths, a lower density."
    )


def test_too_little_accuracy_is_told_with_its_own_advice():
    results = judged(arm_of(1.0, right=190, gap=0.0, lira=0.5, limit=0.55), dense_right=200)
    assert advise(results).endswith("For more accuracy: smaller shares, a higher density, more epochs.")


def test_forecasts_are_limits_on_the_side_that_counts():
    arm = arm_of(1.0, right=300, gap=0.1, lira=0.5, limit=0.58)
    found = {str(one.requirement): one for one in forecast(SPEC, LEVELS, arm, DenseFigures(np.arange(N) < 320))}
    assert found["lira.auc ≤ 0.6"].limit == 0.58
    accuracy = arm.evaluation.measurements["accuracy"]
    assert found["accuracy ≥ 0.5"].limit == accuracy.interval.low < 0.75
    assert found["loss.auc ≤ 0.8"].limit == arm.evaluation.measurements["loss.auc"].interval.high
    assert found["accuracy.drop ≤ 0.2"].value == pytest.approx(0.05)
    assert found["accuracy.drop ≤ 0.2"].limit > 0.05
    assert "accuracy.drop ≤ 0.2" not in {str(one.requirement) for one in forecast(SPEC, LEVELS, arm, None)}


def test_arms_are_every_combination_the_safest_first():
    arms = Arms(shares=(0.8, 1.0), lengths=(1, 2), densities=(0.1, 0.05)).each(0.2, [RIGL])
    assert len(arms) == 8
    assert [(arm.share, arm.length, arm.density) for arm in arms[:3]] == [(1, 2, 0.05), (1, 2, 0.1), (1, 1, 0.05)]
    names = short_names(arms)
    assert names[arms[0]] == "share 1, length 2, density 0.05"
    assert len({arm.key for arm in arms}) == 8
    assert [arm.epochs(7) for arm in Arms(lengths=(0.01, 1.5)).each(0.1, [RIGL])[:2]] == [10, 1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shares": ()}, "share must be"),
        ({"lengths": ()}, "lengths takes at least one"),
        ({"densities": (0.0,)}, "density takes numbers"),
        ({"goal": "safe"}, "goal takes"),
        ({"repeats": 5}, "at least 6"),
        ({"shares": (1.0, 1.0)}, "names a value twice"),
    ],
)
def test_bad_arms_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Arms(**options)
