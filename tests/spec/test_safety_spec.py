"""A spec says all its faults at once, knows its metrics, and sums findings up: only PASS passes."""

import itertools

import pytest

from safecompress.attacks import MEMBERSHIP, Gap, Loss, Neural
from safecompress.errors import SpecError, UsageError
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.spec import Finding, Findings, SafetySpec, Verdict, at_least, at_most, within

METRICS = tuple(metric.name for metric in MEMBERSHIP.metrics)

AUC = at_most("loss.auc", 0.55)


def finding(verdict):
    return Finding(AUC, None, verdict, "")


PRIORITY = [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS]
EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.ERROR: 3, Verdict.INCONCLUSIVE: 3}


@pytest.mark.parametrize("verdicts", list(itertools.product(Verdict, repeat=2)))
def test_the_gravest_verdict_counts(verdicts):
    findings = Findings(tuple(map(finding, verdicts)))
    expected = min(verdicts, key=PRIORITY.index)
    assert findings.verdict is expected
    assert findings.exit_code == EXIT_CODES[expected]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_error_of_an_attack_that_nothing_requires_still_counts(verdict):
    findings = Findings((finding(verdict),), errors=("gap: crashed",))
    assert findings.verdict is (Verdict.FAIL if verdict is Verdict.FAIL else Verdict.ERROR)


def test_only_pass_leaves_with_zero():
    codes = {verdict: Findings((finding(verdict),)).exit_code for verdict in Verdict}
    assert [verdict for verdict, code in codes.items() if code == 0] == [Verdict.PASS]


# --- faults


def test_all_faults_are_said_at_once():
    with pytest.raises(SpecError) as caught:
        SafetySpec(
            ["loss", "loss", "gap"],
            [
                at_most("loss.acu", 0.55),
                at_least("loss.auc", 0.55),
                at_most("accuracy", 0.7),
                at_most("neural.auc", 0.6),
                at_least("accuracy.drop", 0.1),
            ],
            alpha=0.7,
        )
    message = str(caught.value)
    assert message.startswith("The safety spec: 7 faults")
    for fault in (
        "alpha must lie in (0, 0.1], got 0.7: it is how often a PASS may be luck",
        "the attack 'loss' is named twice",
        "unknown metric 'loss.acu'. Did you mean 'loss.auc'?",
        "loss.auc: lower is better, so it takes at_most",
        "accuracy: higher is better, so it takes at_least",
        "unknown metric 'neural.auc'",
        "accuracy.drop: lower is better, so it takes at_most",
    ):
        assert f"\n  - {fault}" in message
    assert caught.value.exit_code == 2


def test_a_spec_needs_an_attack_and_a_requirement():
    with pytest.raises(SpecError, match="2 faults") as caught:
        SafetySpec([], [])
    assert "no attack is" in str(caught.value)
    assert "no requirement is" in str(caught.value)


@pytest.mark.parametrize("alpha", [0.0, 0.1001, 0.5, -0.1, float("nan")])
def test_alpha_is_an_error_rate(alpha):
    with pytest.raises(SpecError, match="1 fault\n  - alpha"):
        SafetySpec(["loss"], [AUC], alpha)


def test_an_unknown_attack_is_named_with_its_close_match():
    with pytest.raises(UsageError, match="mean 'neural'"):
        SafetySpec(["neurla"], [AUC])


def test_attacks_come_as_names_tables_or_objects():
    spec = SafetySpec(["gap", {"name": "neural", "epochs": 3}, Loss()], [AUC])
    assert spec.attacks == (Gap(), Neural(epochs=3), Loss())


def test_metrics_that_a_requirement_can_name():
    spec = SafetySpec(["loss", "gap"], [AUC])
    plain = ["accuracy", "accuracy.worst_class", "agreement", "density"]
    plain += ["artifact.size_bytes", "compression.ratio", "latency.p50_ms"]
    plain += [f"{attack}.{metric}" for attack in ("loss", "gap") for metric in METRICS]
    higher = {"accuracy", "accuracy.worst_class", "agreement", "compression.ratio"}
    changes = [f"{metric}.drop" if metric in higher else f"{metric}.rise" for metric in plain]
    assert spec.metrics == plain + changes
    for metric in spec.metrics:
        make = at_least if metric in higher else at_most
        assert SafetySpec(["loss", "gap"], [make(metric, 0.5)]).requirements[0].metric == metric


def test_within_fits_into_a_spec():
    spec = SafetySpec(["loss"], [within(0.01, metric="accuracy"), within(0.02, metric="loss.auc")])
    assert [requirement.metric for requirement in spec.requirements] == ["accuracy.drop", "loss.auc.rise"]


# --- judging


def exact(name, value, direction=Direction.LOWER):
    return Measurement.exact(name, value, direction)


SPEC = SafetySpec(["loss", "gap"], [AUC, at_least("accuracy", 0.7), at_most("artifact.size_bytes", 100)])
GOOD = {
    "loss.auc": exact("loss.auc", 0.5),
    "accuracy": exact("accuracy", 0.8, Direction.HIGHER),
    "artifact.size_bytes": exact("artifact.size_bytes", 90),
}


def verdicts(findings):
    return [str(finding.verdict) for finding in findings.findings]


def test_every_requirement_is_judged_in_order():
    findings = SPEC.judge(GOOD)
    assert [finding.requirement for finding in findings.findings] == list(SPEC.requirements)
    assert (verdicts(findings), findings.verdict) == (["PASS"] * 3, Verdict.PASS)


def test_a_missing_measurement_is_an_error():
    findings = SPEC.judge({name: m for name, m in GOOD.items() if name != "accuracy"})
    assert (verdicts(findings), findings.exit_code) == (["PASS", "ERROR", "PASS"], 3)


def test_a_broken_attack_is_an_error_even_when_it_left_a_number():
    findings = SPEC.judge(GOOD, {"loss": "ValueError: no"})
    assert verdicts(findings) == ["ERROR", "PASS", "PASS"]
    assert findings.findings[0].reason == "ValueError: no"
    assert findings.errors == ("loss: ValueError: no",)


def test_a_broken_attack_that_nothing_requires_is_an_error_too():
    findings = SPEC.judge(GOOD, {"gap": "ValueError: no"})
    assert (verdicts(findings), findings.verdict) == (["PASS"] * 3, Verdict.ERROR)


# --- levels and digest


@pytest.mark.parametrize(("opening", "alpha"), [(1, 0.025), (2, 0.0125), (3, 0.00625)])
def test_each_opening_spends_half_of_what_is_left(opening, alpha):
    assert SPEC.levels(opening) == Levels(alpha, 3)
    assert SPEC.levels(opening).simultaneous_alpha == pytest.approx(alpha / 3)


def test_all_openings_together_spend_no_more_than_alpha():
    assert sum(SPEC.levels(opening).alpha for opening in range(1, 60)) <= SPEC.alpha


def test_equal_specs_have_equal_digests():
    again = SafetySpec([Loss(), "gap"], list(SPEC.requirements), 0.05)
    assert again == SPEC
    assert again.digest() == SPEC.digest()


@pytest.mark.parametrize(
    "other",
    [
        SafetySpec(["loss"], SPEC.requirements),
        SafetySpec(["gap", "loss"], SPEC.requirements),
        SafetySpec(["loss", "gap"], SPEC.requirements[:2]),
        SafetySpec(["loss", "gap"], [at_most("loss.auc", 0.5500001), *SPEC.requirements[1:]]),
        SafetySpec(["loss", "gap"], [at_most("gap.auc", 0.55), *SPEC.requirements[1:]]),
        SafetySpec(["loss", "gap"], SPEC.requirements, 0.01),
        SafetySpec(["loss", "gap", "neural"], SPEC.requirements),
    ],
)
def test_whatever_changes_the_question_changes_the_digest(other):
    assert other.digest() != SPEC.digest()


def test_an_option_of_an_attack_changes_the_digest():
    specs = [SafetySpec([Neural(epochs=epochs)], [at_most("neural.auc", 0.55)]) for epochs in (10, 11)]
    assert specs[0].digest() != specs[1].digest()


@pytest.mark.parametrize("opening", [1, 50, 1000])
def test_levels_of_many_openings(opening):
    assert SafetySpec(["loss"], [at_most("loss.auc", 0.6)]).levels(opening).alpha == pytest.approx(0.05 * 0.5**opening)


@pytest.mark.parametrize("opening", [1001, 1024, 1100, 10**6])
def test_rows_that_were_opened_too_often_are_refused_in_words(opening):
    with pytest.raises(SpecError, match="has nothing left of alpha"):
        SafetySpec(["loss"], [at_most("loss.auc", 0.6)]).levels(opening)
