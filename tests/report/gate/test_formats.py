"""JUnit against a schema, SARIF against a schema, annotations as GitHub reads them; hostile names in all three."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from made_reports import HOLDS, PASSING, REPORTS
from sarif_subset import SCHEMA

from safecompress.errors import SpecError
from safecompress.report.gate import GateOutcome, annotation_lines, to_junit, to_sarif
from safecompress.report.gate.sarif import uri

XSD = etree.XMLSchema(etree.parse(Path(__file__).with_name("junit.xsd")))
SARIF = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

HOSTILE = "a\x00b\x1b[31m\x07\ud800‮</failure><script>alert(1)</script>&amp;]]>\"'\r\n::error::no%0A\t[x](http://e) {0}￾"
OUTCOMES = {
    **{verdict: GateOutcome.of_report(report, "runs/x/artifact.safetensors") for verdict, report in REPORTS.items()},
    "refused": GateOutcome.of_failure(SpecError("spec.toml: 2 faults\n  - one\n  - two"), "model.onnx"),
    "unknown file": GateOutcome.of_failure("It has not finished.", ""),
    "hostile": GateOutcome.of_report(
        replace(
            REPORTS["ERROR"],
            name=HOSTILE,
            claim=HOSTILE,
            findings=[{**HOLDS, "requirement": HOSTILE, "verdict": "FAIL", "reason": HOSTILE}],
            errors={HOSTILE: HOSTILE},
            doubts=[f"ERROR: {HOSTILE}"],
        ),
        f"runs/{HOSTILE}",
    ),
}


@pytest.fixture(params=OUTCOMES)
def outcome(request):
    return OUTCOMES[request.param]


def test_junit_is_valid_and_counts_what_it_holds(outcome):
    tree = etree.fromstring(to_junit(outcome))
    XSD.assertValid(tree)
    for top in (tree, tree.find("testsuite")):
        assert int(top.get("tests")) == len(tree.findall(".//testcase")) == len(outcome.cases)
        assert int(top.get("failures")) == len(tree.findall(".//failure"))
        assert int(top.get("errors")) == len(tree.findall(".//error"))
    passed = [case for case in tree.iter("testcase") if case.find("failure") is None and case.find("error") is None]
    assert len(passed) == sum(case.is_pass for case in outcome.cases)
    told = {entry.get("name"): entry.get("value") for entry in tree.iter("property")}
    assert (told["verdict"], told["exit_code"]) == (outcome.verdict, str(outcome.exit_code))


def test_junit_says_the_interval_and_when():
    content = to_junit(OUTCOMES["FAIL"], when=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert b"encoding='utf-8'" in content.splitlines()[0]
    (failure, *_) = [f for f in etree.fromstring(content).iter("failure") if f.get("type") == "FAIL"]
    assert "95 % interval 0.67 to 0.75" in failure.get("message") == failure.text
    assert b'timestamp="2026-01-02T03:04:05"' in content


def test_inconclusive_is_a_failure_and_error_an_error():
    inconclusive, error = (etree.fromstring(to_junit(OUTCOMES[verdict])) for verdict in ("INCONCLUSIVE", "ERROR"))
    assert {f.get("type") for f in inconclusive.iter("failure")} == {"INCONCLUSIVE"}
    assert inconclusive.get("errors") == "0" and error.get("errors") == "3"


def test_sarif_is_valid_and_says_what_does_not_pass(outcome):
    log = json.loads(json.dumps(to_sarif(outcome), allow_nan=False))
    SARIF.validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [case.rule for case in outcome.cases]
    assert [result["ruleId"] for result in run["results"]] == [c.rule for c in outcome.cases if not c.is_pass]
    for result in run["results"]:
        assert result["ruleId"] == rules[result["ruleIndex"]]["id"]
        assert result["level"] == "error"
    assert (run["results"] == []) is (outcome.verdict == "PASS")
    assert run["invocations"][0]["exitCode"] == outcome.exit_code


def test_sarif_names_the_artifact_and_whether_there_was_a_verdict():
    (result, *_) = to_sarif(OUTCOMES["FAIL"])["runs"][0]["results"]
    (place,) = result["locations"]
    assert place["physicalLocation"]["artifactLocation"] == {"uri": "runs/x/artifact.safetensors"}
    successful = {name: to_sarif(o)["runs"][0]["invocations"][0]["executionSuccessful"] for name, o in OUTCOMES.items()}
    assert successful["PASS"] and successful["FAIL"] and successful["INCONCLUSIVE"] and successful["ERROR"]
    assert not successful["refused"] and not successful["unknown file"]


def test_where_a_file_lies_is_a_reference_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert uri(str(tmp_path / "a b" / "m.onnx")) == "a%20b/m.onnx"
    assert uri("/elsewhere/m#1?.onnx") == "file:///elsewhere/m%231%3F.onnx"
    assert uri("javascript:alert(1)") == "javascript%3Aalert%281%29"


def unescape(text):
    return text.replace("%2C", ",").replace("%3A", ":").replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def test_annotations_are_lines_that_github_reads_back(outcome):
    """Each is one line, its level and properties are ours, and unescaping gives the message."""
    lines = annotation_lines(outcome)
    for line in lines:
        assert "\n" not in line and "\r" not in line
        level, title, message = re.fullmatch(r"::(\w+) file=[^:,]*,title=([^:,]*)::(.*)", line).groups()
        assert level in ("error", "warning", "notice")
        assert "%" not in re.sub("%25|%0A|%3A|%2C", "", title + message)
    if outcome.verdict == "PASS":
        assert [line.split(" ")[0] for line in lines] == ["::notice"]
    else:
        assert lines[0].startswith("::error ")
        told = [unescape(line.split("::", 2)[2]) for line in lines[1:]]
        assert told == [case.message for case in outcome.unmet]


def test_inconclusive_is_a_warning_beside_an_error():
    levels = [line.split(" ")[0] for line in annotation_lines(OUTCOMES["INCONCLUSIVE"])]
    assert levels == ["::error", "::warning", "::warning"]


def test_a_hostile_name_is_inert():
    outcome = OUTCOMES["hostile"]
    junit = to_junit(outcome)
    text = "".join(etree.fromstring(junit).itertext())
    assert b"<script" not in junit and "<script>alert(1)</script>" in text  # as text, and only as text
    for words in (junit.decode(), json.dumps(to_sarif(outcome), ensure_ascii=False), *annotation_lines(outcome)):
        assert not any(c in words for c in "\x00\x1b\x07\r\ud800‮￾")
    messages = [result["message"]["text"] for result in to_sarif(outcome)["runs"][0]["results"]]
    assert not any("](" in message for message in messages)
    assert sum("{{0}}" in message for message in messages) == 4


@given(st.text(st.characters(exclude_categories=()), min_size=1))
def test_any_text_at_all_is_inert(text):
    outcome = GateOutcome.of_failure(text, text, name=text)
    (error,) = etree.fromstring(to_junit(outcome)).iter("error")
    assert (error.text or "") == outcome.cases[0].message
    json.dumps(to_sarif(outcome)).encode("ascii")
    for line in annotation_lines(outcome):
        assert len(line.splitlines()) == 1 and line.startswith("::error file=")
        line.encode("utf-8")


def test_the_schemas_can_refuse():
    tree = etree.fromstring(to_junit(OUTCOMES["FAIL"]))
    tree.find("testsuite").append(etree.Element("verdict"))
    assert not XSD.validate(tree)
    log = to_sarif(OUTCOMES["FAIL"])
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not SARIF.is_valid(log)
    assert PASSING.verdict == "PASS"
