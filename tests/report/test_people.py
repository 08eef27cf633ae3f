"""How many of how many, in a sentence, wherever a person or a pipeline reads the verdict."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from sample_reports import report

from safecompress.certify import Exposure
from safecompress.cli._support.console import show_report
from safecompress.metrics.measurement import Direction, Interval, Measurement
from safecompress.report import to_card, to_html, to_markdown
from safecompress.report.gate.junit import to_junit
from safecompress.report.gate.outcome import GateOutcome
from safecompress.report.people import people_found, people_lines

TPR, WORST = "lira.tpr@fpr=0.01", "lira.worst_case"
FOUND = "lira finds 14 of 200 members before it errs on more than 2 of 200 others (guessing: 2)"
EXPOSED = "the 20 most exposed of 200 members: a model trained with the row is surer of it than one trained without 97"


def figure(name, value, rows=400):
    interval = Interval(value / 2, min(1.0, value * 1.5), 0.95)
    return Measurement(name, value, interval, interval, rows, Direction.LOWER)


def test_counts_by_hand():
    told = people_found(
        Exposure(num_members=200, num_non_members=200),
        {name: figure(name, value, 20 if name == WORST else 400) for name, value in ((TPR, 0.07), (WORST, 0.966))},
    )
    assert told[TPR] == FOUND and told[WORST].startswith(EXPOSED)


@pytest.mark.parametrize(
    ("metric", "value", "sizes", "words"),
    [
        ("loss.tpr@fpr=0.001", 0.015, (200, 200), "loss finds 3 of 200 members before it errs on any of 200 others"),
        ("loss.tpr@fpr=0.01", 0.0, (60, 99), "loss finds 0 of 60 members before it errs on any of 99 others"),
        ("loss.tpr@fpr=0.01", 1.0, (60, 100), "loss finds 60 of 60 members before it errs on more than 1 of 100"),
        ("loss.tpr@fpr=0.001", 0.5, (3000, 3000), "loss finds 1500 of 3000 members before it errs on more than 3 of"),
    ],
)
def test_the_errors_allowed_are_whole_people(metric, value, sizes, words):
    exposure = Exposure(num_members=sizes[0], num_non_members=sizes[1])
    assert people_found(exposure, {metric: figure(metric, value)})[metric].startswith(words)


def test_other_figures_and_changes_say_nothing_of_people():
    names = ("lira.auc", "accuracy", "density", f"{TPR}.rise")
    assert people_found(Exposure(num_members=9, num_non_members=9), {n: figure(n, 0.1) for n in names}) == {}
    assert people_found(Exposure(), {TPR: figure(TPR, 0.1)}) == {}


def telling():
    """A report with a requirement on each of the two figures, beside a weaker attack that nothing bounds."""
    built = report()
    values = {TPR: 0.07, WORST: 0.966, "loss.tpr@fpr=0.01": 0.02}
    people = people_found(
        Exposure(num_members=200, num_non_members=200),
        {name: figure(name, value, 20 if name == WORST else 400) for name, value in values.items()},
    )
    shown = {
        name: {"value": value, "low": value / 2, "high": min(1.0, 1.5 * value), "confidence": 0.95,
               "num_samples": 400, "direction": "lower is better"}
        for name, value in values.items()
    }  # fmt: skip
    required = [
        {"requirement": f"{name} ≤ 0.5", "metric": name, "bound": 0.5, "verdict": "FAIL", "reason": "too many",
         "measurement": shown[name]}
        for name in (TPR, WORST)
    ]  # fmt: skip
    return replace(
        built,
        measurements={**built.measurements, **shown},
        findings=[*built.findings, *required],
        exposure={**built.exposure, "people": people},
        verdict="FAIL",
        exit_code=1,
    )


def test_page_card_markdown_and_terminal_say_it(capsys):
    told = telling()
    show_report(told, None)
    printed = " ".join(capsys.readouterr().out.split())
    for text in (to_markdown(told), to_card(told), to_html(told), printed):
        assert FOUND[1:].replace("(", "").split(" guessing")[0] in text.replace("\\(", "(").replace("(", "")
        assert EXPOSED.split(":")[1] in text


def test_a_pipeline_reads_it_in_the_message_of_the_requirement():
    outcome = GateOutcome.of_report(telling(), "model.safetensors")
    messages = {case.get("name"): case[0].get("message") for case in ET.fromstring(to_junit(outcome)).iter("testcase")}
    assert messages[f"{TPR} ≤ 0.5"].endswith(f"L{FOUND[1:]}.")
    assert EXPOSED[1:] in messages[f"{WORST} ≤ 0.5"]
    assert f"{TPR} ≤ 0.5: FAIL. Measured 0.07, 95 % interval" in messages[f"{TPR} ≤ 0.5"]


def test_without_a_requirement_the_attack_that_finds_most_speaks():
    told = replace(telling(), findings=[])
    assert people_lines(told) == [told.exposure["people"][TPR], told.exposure["people"][WORST]]
    assert people_lines(replace(told, exposure={})) == []


def test_a_real_report_says_it():
    built = report()
    assert built.exposure["people"]["loss.tpr@fpr=0.01"].startswith("loss finds ")
    assert " of 60 members " in built.exposure["people"]["loss.tpr@fpr=0.01"]
