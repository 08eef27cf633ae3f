"""What a report comes to as cases: nothing that is no whole PASS can read as one."""

from dataclasses import replace

import pytest
from made_reports import BROKEN, HOLDS, OPEN, PASSING, REPORTS

from safecompress.errors import SpecError, StorageError
from safecompress.report.gate import Case, GateOutcome
from said import says

EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 3}


@pytest.mark.parametrize("verdict", REPORTS)
def test_the_verdict_and_the_exit_code_are_the_reports(verdict):
    outcome = GateOutcome.of_report(REPORTS[verdict], "a.onnx")
    assert (outcome.verdict, outcome.exit_code) == (verdict, EXIT_CODES[verdict])
    assert (outcome.unmet == ()) is (verdict == "PASS")


def test_each_requirement_broken_attack_and_doubt_is_a_case():
    outcome = GateOutcome.of_report(REPORTS["ERROR"], "a.onnx")
    assert [(case.kind, case.rule, case.verdict) for case in outcome.cases] == [
        ("requirement", "lira.auc ≤ 0.6", "PASS"),
        ("requirement", "quantile.auc ≤ 0.6", "ERROR"),  # and not once more as an attack
        ("attack", "attack samia", "ERROR"),
        ("evidence", "evidence 1", "ERROR"),
    ]


def test_the_message_holds_the_interval():
    (fail,) = [case for case in GateOutcome.of_report(REPORTS["FAIL"], "a").cases if case.verdict == "FAIL"]
    assert fail.message.startswith("neural.auc ≤ 0.6: FAIL. ")
    assert says(fail.message, " 0.71,", "95 %", " 0.67 to 0.75,", "400 rows", " 0.66 ", " 0.6.")
    counted = GateOutcome.of_report(PASSING, "a").cases[1]
    assert says(counted.message, "artifact.size_bytes ≤ 40000: PASS. ", " 12,345", "counted")


def test_the_worst_comes_first():
    outcome = GateOutcome.of_report(REPORTS["FAIL"], "a")
    assert [case.verdict for case in outcome.unmet] == ["FAIL", "INCONCLUSIVE"]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"verdict": "PASS", "exit_code": 0, "findings": [HOLDS, BROKEN]}, "FAIL"),
        ({"verdict": "PASS", "exit_code": 0, "findings": [HOLDS, OPEN]}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 0, "findings": []}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 0, "doubts": ["INCONCLUSIVE: no lira"]}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 0, "doubts": ["PASS: trust me"]}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 0, "errors": {"neural": "crashed"}}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 0, "findings": [{**HOLDS, "verdict": "pass"}]}, "ERROR"),
        ({"verdict": "PASS", "exit_code": 1}, "ERROR"),
        ({"verdict": "FAIL", "exit_code": 0}, "ERROR"),
        ({"verdict": "GOOD", "exit_code": 0}, "ERROR"),
    ],
)
def test_a_report_that_contradicts_itself_does_not_pass(changes, verdict):
    outcome = GateOutcome.of_report(replace(PASSING, **changes), "a")
    assert outcome.verdict == verdict
    assert outcome.exit_code == EXIT_CODES[verdict] != 0
    assert any("it was altered" in case.message.lower() for case in outcome.cases)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SpecError("no such metric"), 2, "SpecError: no such"),
        (StorageError("full"), 3, "StorageError: full"),
        (ZeroDivisionError("x"), 3, "ZeroDivisionError: x"),
        (KeyboardInterrupt(), 130, "stopped (Ctrl-C)"),
        (KeyboardInterrupt(2), 130, "stopped (Ctrl-C)"),
        (KeyboardInterrupt(15), 143, "stopped (SIGTERM)"),
        ("still runs", 3, "still runs"),
    ],
)
def test_a_command_without_a_verdict_is_an_error(error, code, words):
    outcome = GateOutcome.of_failure(error, "a")
    assert (outcome.verdict, outcome.exit_code, len(outcome.cases)) == ("ERROR", code, 1)
    assert words in outcome.cases[0].message


def test_no_case_at_all_is_no_pass():
    assert GateOutcome("n", "a", ()).verdict == "ERROR"
    assert GateOutcome("n", "a", (Case("requirement", "r", "PASS", "m"),)).verdict == "PASS"
