"""A doubt keeps a verdict from PASS and excuses no FAIL; a spec knows its access and what it bounds."""

import itertools

import pytest

from safecompress.attacks import Access, Gap, Loss
from safecompress.errors import SpecError, UsageError
from safecompress.metrics.measurement import Direction, Measurement
from safecompress.spec import Finding, Findings, SafetySpec, ValidityIssue, Verdict, at_least, at_most, within
from said import says

AUC = at_most("loss.auc", 0.55)
DOUBTFUL = [Verdict.INCONCLUSIVE, Verdict.ERROR]


def finding(verdict):
    return Finding(AUC, None, verdict, "")


# --- doubts

EXPECTED = {
    ("PASS", "INCONCLUSIVE"): "INCONCLUSIVE",
    ("PASS", "ERROR"): "ERROR",
    ("INCONCLUSIVE", "INCONCLUSIVE"): "INCONCLUSIVE",
    ("INCONCLUSIVE", "ERROR"): "ERROR",
    ("ERROR", "INCONCLUSIVE"): "ERROR",
    ("ERROR", "ERROR"): "ERROR",
    ("FAIL", "INCONCLUSIVE"): "FAIL",
    ("FAIL", "ERROR"): "FAIL",
}


@pytest.mark.parametrize(("verdict", "doubt"), EXPECTED)
def test_a_doubt_turns_pass_away_and_leaves_fail(verdict, doubt):
    findings = Findings((finding(Verdict.PASS), finding(Verdict(verdict))), (), (ValidityIssue(Verdict(doubt), "why"),))
    assert str(findings.verdict) == EXPECTED[verdict, doubt]
    assert findings.exit_code == (1 if verdict == "FAIL" else 3)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(DOUBTFUL, repeat=2)))
def test_the_gravest_doubt_counts_wherever_it_stands(first, second):
    findings = Findings((finding(Verdict.PASS),), (), (ValidityIssue(first, "one"), ValidityIssue(second, "two")))
    assert findings.verdict is (Verdict.ERROR if Verdict.ERROR in (first, second) else Verdict.INCONCLUSIVE)


def test_the_error_of_an_attack_weighs_more_than_a_doubt():
    findings = Findings((finding(Verdict.PASS),), ("gap: crashed",), (ValidityIssue(Verdict.INCONCLUSIVE, "why"),))
    assert findings.verdict is Verdict.ERROR


def test_without_a_requirement_that_was_judged_a_doubt_still_speaks():
    assert Findings((), (), (ValidityIssue(Verdict.INCONCLUSIVE, "why"),)).verdict is Verdict.INCONCLUSIVE


# --- judging with them

SPEC = SafetySpec(["loss", "gap"], [AUC, at_least("accuracy", 0.7), at_most("loss.auc.rise", 0.1)])
MEASURED = {
    "loss.auc": Measurement.exact("loss.auc", 0.5, Direction.LOWER),
    "accuracy": Measurement.exact("accuracy", 0.8, Direction.HIGHER),
}


def test_doubts_are_kept_in_their_order():
    doubts = [ValidityIssue(Verdict.INCONCLUSIVE, "one"), ValidityIssue(Verdict.ERROR, "two")]
    findings = SPEC.judge(MEASURED, doubts=(doubt for doubt in doubts))
    assert findings.doubts == tuple(doubts)
    assert SPEC.judge(MEASURED).doubts == ()


def test_candidates_are_judged_by_what_was_measured_of_them():
    whole, partly = SPEC.judge(MEASURED), SPEC.judge(MEASURED, partly=True)
    assert [(str(f.requirement), str(f.verdict)) for f in partly.findings] == [
        ("loss.auc ≤ 0.55", "PASS"), ("accuracy ≥ 0.7", "PASS"),
    ]  # fmt: skip
    assert (whole.verdict, partly.verdict) == (Verdict.ERROR, Verdict.PASS)


def test_an_attack_that_broke_on_a_candidate_is_an_error_though_its_requirement_is_left_out():
    findings = SPEC.judge({"accuracy": MEASURED["accuracy"]}, {"loss": "ValueError: no"}, partly=True)
    assert [str(f.requirement) for f in findings.findings] == ["accuracy ≥ 0.7"]
    assert (findings.errors, findings.verdict) == (("loss: ValueError: no",), Verdict.ERROR)


# --- access


def test_a_file_on_a_device_is_the_default():
    assert (SPEC.access, SPEC.shadows) == (Access.WEIGHTS, "final pattern")


@pytest.mark.parametrize("access", [Access.SCORES, "scores"])
def test_access_is_a_word_or_the_thing_itself(access):
    assert SafetySpec(["loss"], [AUC], access=access).access is Access.SCORES


@pytest.mark.parametrize("word", ["SCORES", "score", 2])
def test_another_word_for_access_is_refused(word):
    with pytest.raises(UsageError, match=rf"Unknown access {word!r}.*Allowed: labels, scores, weights"):
        SafetySpec(["loss"], [AUC], access=word)


@pytest.mark.parametrize(
    ("attack", "access", "is_allowed"),
    [
        ("gap", "labels", True), ("gap", "weights", True), ("loss", "scores", True), ("loss", "weights", True),
        ("loss", "labels", False),
    ],
)  # fmt: skip
def test_no_attack_is_given_more_than_the_spec_grants(attack, access, is_allowed):
    requirements = [at_most(f"{attack}.auc", 0.6)]
    if is_allowed:
        assert [a.name for a in SafetySpec([attack], requirements, access=access).attacks] == [attack]
        return
    with pytest.raises(SpecError, match=r"1 fault\n.*'loss' needs scores, .* access is label"):
        SafetySpec([attack], requirements, access=access)


def test_another_way_of_training_shadows_is_refused_with_its_close_match():
    with pytest.raises(SpecError, match=r"'full pipelin'\..*'full pipeline'\?"):
        SafetySpec(["loss"], [AUC], shadows="full pipelin")


def test_access_and_shadows_are_part_of_the_question():
    """A verdict at SCORES is none at WEIGHTS: the ledger must know them apart."""
    specs = [
        SafetySpec(["loss"], [AUC], access=access, shadows=shadows)
        for access in ("scores", "weights")
        for shadows in ("final pattern", "full pipeline")
    ]
    assert len({spec.digest() for spec in specs}) == 4


# --- what is bounded


@pytest.mark.parametrize(
    ("requirements", "bounded"),
    [
        ([AUC], {"loss"}),
        ([AUC, at_most("gap.advantage", 0.1)], {"loss", "gap"}),
        ([AUC, at_most("loss.tpr@fpr=0.01", 0.1)], {"loss"}),
        ([at_least("accuracy", 0.7), at_most("density", 0.1), at_most("artifact.size_bytes", 10)], set()),
        ([within(0.01, metric="loss.auc"), at_most("gap.advantage.rise", 0.1)], set()),
        ([within(0.01, metric="loss.auc"), at_most("gap.auc", 0.6)], {"gap"}),
    ],
)
def test_a_change_from_the_dense_model_bounds_nothing(requirements, bounded):
    """A dense model that gives everybody away would lend its leak to the compressed one."""
    assert SafetySpec(["loss", "gap"], requirements).bounded == bounded


@pytest.mark.parametrize(
    ("attack", "requirement", "is_bound"),
    [
        ("gap", at_most("gap.auc", 1.0), False),
        ("gap", at_most("gap.auc", 5), False),
        ("gap", at_most("gap.auc", 0.999), True),
        ("gap", at_most("gap.tpr@fpr=0.001", 1.0), False),
        ("gap", at_most("gap.tpr@fpr=0.001", 0.5), True),
        ("gap", at_most("gap.balanced_accuracy", 1.0), False),
        ("gap", at_most("gap.advantage", 1.0), False),
        ("gap", at_most("gap.advantage", 0.9), True),
    ],
)
def test_a_bound_that_nothing_can_break_bounds_nothing(attack, requirement, is_bound):
    """And the reason says so, of this requirement: the verdict is INCONCLUSIVE with it."""
    spec = SafetySpec([attack, "label_only"], [requirement, at_most("label_only.auc", 0.6)], access="labels")
    assert (attack in spec.bounded) is requirement.can_break() is is_bound
    missing = spec.missing_reference_attacks()
    assert len(missing) == (0 if is_bound else 1)
    assert all(says(reason, str(requirement), "broken by no outcome", attack) for reason in missing)


def test_one_bound_that_can_be_broken_is_enough():
    requirements = [at_most("gap.auc", 1.0), at_most("gap.advantage", 0.3), at_most("label_only.auc", 0.6)]
    spec = SafetySpec(["gap", "label_only"], requirements, access="labels")
    assert (spec.bounded, spec.missing_reference_attacks()) == ({"gap", "label_only"}, ())


@pytest.mark.parametrize(
    ("requirement", "can_break"),
    [
        (at_least("accuracy", 0.0), False), (at_least("accuracy", 0.01), True), (at_least("accuracy", -1), False),
        (at_most("density", 1.0), False), (at_most("density", 0.99), True),
        (at_most("artifact.size_bytes", 1e12), True),
        (at_most("latency.p50_ms", 1e6), True), (at_least("compression.ratio", 0.0), False),
        (within(1.0, metric="accuracy"), False), (within(0.99, metric="accuracy"), True),
        (at_most("mine.own_figure", 1e9), True),
    ],
)  # fmt: skip
def test_what_can_be_broken_is_read_from_the_range_of_the_metric(requirement, can_break):
    assert requirement.can_break() is can_break


def test_what_a_spec_lacks_is_asked_at_its_own_access():
    labels = SafetySpec([Gap()], [at_most("gap.auc", 0.6)], access="labels")
    scores = SafetySpec([Gap(), Loss()], [AUC], access="scores")
    (missing,) = labels.missing_reference_attacks()
    assert says(missing, " label_only ", "not simulated")
    assert all(map(says, scores.missing_reference_attacks(), (" modified_entropy ", " neural ", " lira ")))
    assert len(scores.missing_reference_attacks()) == 3
    unbounded = SafetySpec([Gap()], [at_least("accuracy", 0.6)], access="labels")
    assert says(unbounded.missing_reference_attacks()[0], "no requirement", " gap")
