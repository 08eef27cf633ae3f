"""The judge, as a truth table: PASS by the interval, FAIL by the simultaneous one, nothing else passes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.errors import UsageError
from safecompress.metrics.catalogue import direction_of
from safecompress.metrics.measurement import Direction, Interval, Measurement
from safecompress.spec import Finding, Requirement, Verdict, at_least, at_most, within


def measured(near, far=None, *, metric="loss.auc", direction=Direction.LOWER):
    far = near if far is None else far
    value = (near[0] + near[1]) / 2
    return Measurement(metric, value, Interval(*near, 0.95), Interval(*far, 0.99), 100, direction)


LOWER = [
    # interval, simultaneous interval, verdict against "at most 0.5"
    ((0.40, 0.45), (0.38, 0.47), "PASS"),
    ((0.40, 0.50), (0.38, 0.60), "PASS"),  # the upper limit is the bound; the other interval does not matter
    ((0.50, 0.50), (0.50, 0.50), "PASS"),
    ((0.40, 0.500001), (0.38, 0.60), "INCONCLUSIVE"),
    ((0.49, 0.60), (0.48, 0.61), "INCONCLUSIVE"),
    ((0.50, 0.60), (0.49, 0.61), "INCONCLUSIVE"),
    ((0.55, 0.60), (0.45, 0.70), "INCONCLUSIVE"),  # broken alone, but not at the level of all requirements
    ((0.55, 0.60), (0.50, 0.70), "INCONCLUSIVE"),  # the lower limit is the bound: not beyond it
    ((0.55, 0.60), (0.500001, 0.70), "FAIL"),
    ((0.90, 0.95), (0.85, 0.99), "FAIL"),
]


@pytest.mark.parametrize(("near", "far", "verdict"), LOWER)
def test_at_most(near, far, verdict):
    finding = at_most("loss.auc", 0.5).judge(measured(near, far))
    assert finding.verdict is Verdict(verdict)
    assert finding.measurement == measured(near, far)


@pytest.mark.parametrize(("near", "far", "verdict"), LOWER)
def test_at_least_is_the_mirror_image(near, far, verdict):
    near, far = ((1 - high, 1 - low) for low, high in (near, far))
    finding = at_least("accuracy", 0.5).judge(measured(near, far, metric="accuracy", direction=Direction.HIGHER))
    assert finding.verdict is Verdict(verdict)


@pytest.mark.parametrize(("near", "far", "verdict"), LOWER)
def test_the_reason_quotes_the_limit_that_decided(near, far, verdict):
    reason = at_most("loss.auc", 0.5).judge(measured(near, far)).reason
    decided_by = {"PASS": near[1], "FAIL": far[0], "INCONCLUSIVE": far[0]}[verdict]
    assert f"{decided_by:.4g}" in reason
    assert "0.5" in reason


def test_an_inconclusive_reason_names_an_interval_that_holds_the_bound():
    reason = at_most("loss.auc", 0.5).judge(measured((0.55, 0.60), (0.45, 0.70))).reason
    assert "[0.45, 0.7] has the bound 0.5" in reason


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("requirement", [at_most("loss.auc", 0.5), at_least("accuracy", 0.5)])
@pytest.mark.parametrize(
    "change",
    [
        {"value": NAN},
        {"value": INF},
        {"interval": Interval(NAN, 0.4, 0.95)},
        {"interval": Interval(0.1, NAN, 0.95)},
        {"simultaneous": Interval(-INF, 0.4, 0.95)},
        {"simultaneous": Interval(0.9, NAN, 0.95)},
    ],
)
@pytest.mark.parametrize("near", [(0.1, 0.2), (0.8, 0.9)])
def test_what_is_not_a_number_is_an_error(requirement, change, near):
    finding = requirement.judge(replace(measured(near, metric=requirement.metric), **change))
    assert finding.verdict is Verdict.ERROR
    assert finding.reason == f"{requirement.metric} is not a finite number"


def test_what_is_missing_is_an_error():
    assert at_most("loss.auc", 0.5).judge(None) == Finding(
        at_most("loss.auc", 0.5), None, Verdict.ERROR, "loss.auc was not measured"
    )


def test_an_error_wins_over_a_measurement():
    finding = at_most("loss.auc", 0.5).judge(measured((0.1, 0.2)), fault="it crashed")
    assert (finding.verdict, finding.measurement, finding.reason) == (Verdict.ERROR, None, "it crashed")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 1))
def test_pass_and_fail_are_never_both_possible(low, width, more, bound):
    """Whatever the intervals, as long as the simultaneous one holds the other."""
    near, far = (low, low + width), (low - more, low + width + more)
    lower = at_most("loss.auc", bound).judge(measured(near, far)).verdict
    assert (lower is Verdict.PASS) == (near[1] <= bound)
    assert (lower is Verdict.FAIL) == (far[0] > bound)
    assert (lower is Verdict.INCONCLUSIVE) == (far[0] <= bound < near[1])


def test_exact_figures_are_judged_at_the_bound():
    size = Measurement.exact("artifact.size_bytes", 1000, Direction.LOWER)
    verdicts = [at_most("artifact.size_bytes", bound).judge(size).verdict for bound in (999, 1000, 1001)]
    assert verdicts == [Verdict.FAIL, Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize("bound", [NAN, INF, -INF])
@pytest.mark.parametrize("make", [at_most, at_least, lambda metric, bound: within(bound, metric=metric)])
def test_bounds_are_finite(make, bound):
    with pytest.raises(UsageError, match=r"finite number|at least 0"):
        make("accuracy", bound)


def test_requirements_print_as_they_are_read():
    assert str(at_most("neural.auc", 0.55)) == "neural.auc ≤ 0.55"
    assert str(at_least("accuracy", 0.7)) == "accuracy ≥ 0.7"


# --- within


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("accuracy", "accuracy.drop"),
        ("neural.auc", "neural.auc.rise"),
        ("loss.tpr@fpr=0.001", "loss.tpr@fpr=0.001.rise"),
    ],
)
def test_within_bounds_the_change_that_hurts(metric, name):
    assert within(0.01, of="dense", metric=metric) == Requirement(name, 0.01, Direction.LOWER)


def test_within_takes_no_negative_margin_and_no_other_model():
    assert within(0, metric="accuracy").bound == 0
    with pytest.raises(UsageError, match=r"accuracy .*got -0\.01"):
        within(-0.01, metric="accuracy")
    with pytest.raises(UsageError, match=r"must be 'dense'.*got 'sparse'"):
        within(0.01, of="sparse", metric="accuracy")


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("accuracy", Direction.HIGHER),
        ("accuracy.drop", Direction.LOWER),
        ("loss.auc", Direction.LOWER),
        ("loss.balanced_accuracy", Direction.LOWER),
        ("loss.auc.rise", Direction.LOWER),
        ("density", Direction.LOWER),
        ("artifact.size_bytes", Direction.LOWER),
    ],
)
def test_which_way_is_better(metric, direction):
    assert direction_of(metric) is direction


@pytest.mark.parametrize(
    ("requirement", "value", "slack"),
    [
        (at_most("loss.auc", 0.6), 0.55, 0.5),  # half of the way from 0.6 to 0.5
        (at_most("loss.auc", 0.6), 0.5, 1.0),
        (at_most("loss.auc", 0.6), 0.6, 0.0),
        (at_most("loss.auc", 0.6), 0.7, -1.0),
        (at_least("accuracy", 0.8), 0.9, 0.5),
        (at_least("accuracy", 0.8), 0.7, -0.5),
        (within(0.1, metric="accuracy"), 0.05, 0.5),
        (within(0.1, metric="loss.auc"), 0.2, -1.0),
        (at_most("loss.auc", 0.5), 0.52, -0.02),  # the bound is the ideal
        (at_least("compression.ratio", 4.0), 6.0, 2.0),  # no ideal
        (at_most("unheard.of", 2.0), 1.5, 0.5),
    ],
)
def test_slack_is_the_share_of_the_way_from_the_bound_to_the_ideal(requirement, value, slack):
    assert requirement.slack(value) == pytest.approx(slack)
