"""The gate as a pipeline uses it: exit codes, files and lines, whatever happens to the command."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree
from made_reports import BROKEN, PASSING, REPORTS

from safecompress.cli._support.output import options_given
from safecompress.errors import SpecError
from whole_runs import run_cli

CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 3}
STALE = "<testsuites><testsuite tests='1' failures='0' errors='0'/></testsuites>"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Run ``audit`` where it finds ``found``: a report, or what it raises. Files of an earlier run lie there."""
    monkeypatch.chdir(tmp_path)
    for name in ("gate.xml", "gate.sarif"):
        Path(name).write_text(STALE)
    Path("limits.toml").touch()

    def run(found, *options):
        def audit_file(*_, **__):
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr("safecompress.workflows.audit_file.audit_file", audit_file)
        files = ("--junit", "gate.xml", "--sarif", "gate.sarif")
        return run_cli("audit", "model.onnx", "--spec", "limits.toml", *files, *options)

    return run


def junit():
    return etree.parse("gate.xml").getroot()


def sarif():
    (run,) = json.loads(Path("gate.sarif").read_text())["runs"]
    return run


@pytest.mark.parametrize("verdict", REPORTS)
def test_each_verdict_has_its_code_and_its_files(verdict, told):
    ended = told(REPORTS[verdict])
    assert ended.code == CODES[verdict]
    assert f"{verdict}: " in ended.out
    tree, run = junit(), sarif()
    not_passed = [case for case in tree.iter("testcase") if case.find("failure") is not None]
    not_passed += [case for case in tree.iter("testcase") if case.find("error") is not None]
    assert (not_passed == []) is (run["results"] == []) is (verdict == "PASS")
    assert run["properties"]["verdict"] == verdict
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": CODES[verdict]}]
    for result in run["results"]:
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "model.onnx"


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (SpecError("limits.toml: 1 fault\n  - no such metric"), 2, "no such metric"),
        (ZeroDivisionError("unforeseen"), 3, "unforeseen"),
        (MemoryError(), 3, "MemoryError"),
        (KeyboardInterrupt(), 130, "stopped (Ctrl-C)"),
        (SystemExit(0), 0, "give a verdict"),
    ],
    ids=["spec", "fault", "memory", "ctrl-c", "quiet exit"],
)
def test_a_command_without_a_verdict_leaves_errors_and_no_earlier_verdict(raised, code, words, told):
    ended = told(raised)
    assert ended.code == code
    (error,) = junit().iter("error")
    assert words in error.text
    run = sarif()
    assert len(run["results"]) == 1 and words in run["results"][0]["message"]["text"]
    assert not run["invocations"][0]["executionSuccessful"]


@pytest.mark.parametrize("slip", [["--worker", "2"], ["--workers", "none"], ["second.onnx"]], ids=str)
def test_a_command_line_that_is_not_understood_does_so_too(slip, told):
    ended = told(PASSING, *slip)
    assert ended.code == 2
    (error,) = junit().iter("error")
    assert "was not understood" in error.text
    assert len(sarif()["results"]) == 1


def test_help_is_no_verdict(told):
    """The command ends in 0, and the files do not pass."""
    assert told(PASSING, "--help", "--github").out.count("::error") == 2
    assert len(list(junit().iter("error"))) == len(sarif()["results"]) == 1


def test_a_verb_that_is_not_understood_does_so_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gate.xml").write_text(STALE)
    assert run_cli("audti", "model.onnx", "--junit=gate.xml").code == 2
    assert len(list(junit().iter("error"))) == 1


def test_what_a_report_contradicts_does_not_pass(told):
    assert told(replace(PASSING, findings=[BROKEN])).code == 1
    assert junit().get("failures") == "1" and junit().get("errors") == "1"


def test_a_file_that_cannot_be_written_stops_the_command_before_its_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    done = []
    monkeypatch.setattr("safecompress.workflows.audit_file.audit_file", lambda *_, **__: done.append(1))
    ended = run_cli("audit", "m.onnx", "--spec", "l.toml", "--junit", "file/gate.xml", "--sarif", "gate.sarif")
    assert (ended.code, done) == (3, [])
    assert "StorageError: file/gate.xml" in ended.err
    assert len(sarif()["results"]) == 1


def test_a_file_that_can_be_written_no_more_is_no_pass(told, monkeypatch):
    from safecompress.report.gate import GateFiles

    def begin_and_break(self, artifact):
        monkeypatch.setattr("os.fsync", full)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GateFiles, "begin", begin_and_break)
    ended = told(PASSING)
    assert ended.code == 3
    assert "left to write gate.xml" in ended.err
    assert not Path("gate.xml").exists() and not Path("gate.sarif").exists()


def test_other_files_are_not_written_over_and_the_gate_says_why(told, tmp_path):
    Path("model.onnx").write_bytes(b"precious")
    ended = told(PASSING, "--junit", "model.onnx")  # the last one counts
    assert ended.code == 2
    assert Path("model.onnx").read_bytes() == b"precious"
    assert "--junit takes a file" in sarif()["results"][0]["message"]["text"]


def test_json_is_the_report_and_nothing_else(told):
    ended = told(REPORTS["FAIL"], "--json", "--github")
    assert ended.code == 1
    told_again = {**json.loads(ended.out), "command": None}  # which says how to have it again
    assert told_again == json.loads(json.dumps(REPORTS["FAIL"].to_json()))
    assert len(ended.out.splitlines()) == 1
    assert "::error file=model.onnx" in ended.err
    assert junit().get("failures") == "2"


@pytest.mark.parametrize(("raised", "code"), [(SpecError("no"), 2), (KeyboardInterrupt(), 130), (ValueError("x"), 3)])
def test_json_of_an_error_is_an_object_too(raised, code, told):
    ended = told(raised, "--json")
    assert json.loads(ended.out)["exit_code"] == ended.code == code
    assert json.loads(ended.out)["error"] == type(raised).__name__


def test_json_of_a_slip_of_the_keyboard_is_an_object_too():
    ended = run_cli("list", "--jsn", "--json")
    assert ended.code == 2
    assert json.loads(ended.out)["error"] == "UsageError"
    assert "--jsn" in json.loads(ended.out)["message"]


def test_quiet_is_the_verdict_in_one_line(told):
    for verdict, report in REPORTS.items():
        ended = told(report, "--quiet")
        (line,) = ended.out.splitlines()
        assert line.startswith(f"{verdict}: ")
        assert ended.err == ""


def test_github_takes_nothing_for_a_command_but_the_annotations(told):
    """All that is printed in between, whatever names it holds, lies in a part where GitHub obeys nothing."""
    ended = told(replace(REPORTS["FAIL"], name="::stop-commands::forever"), "--github")
    lines = ended.out.splitlines()
    word, token = lines[0].removeprefix("::").split("::")
    assert word == "stop-commands" and len(token) == 32
    end = lines.index(f"::{token}::")
    assert any("FAIL" in line for line in lines[1:end])
    assert [line.split(" ")[0] for line in lines[end + 1 :]] == ["::error", "::error", "::warning"]


def test_github_hears_of_a_crash_and_of_a_slip(told):
    for found, option in ((ValueError("x"), ()), (PASSING, ("--no-such-option",))):
        lines = told(found, "--github", *option).out.splitlines()
        (token,) = [line.removeprefix("::stop-commands::") for line in lines if line.startswith("::stop-commands::")]
        rest = lines[lines.index(f"::{token}::") + 1 :]
        assert [line.split(" ")[0] for line in rest if line.startswith("::")] == ["::error", "::error"]


def test_a_reader_that_goes_away_is_no_pass(told, monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("safecompress.cli._support.console.show_report", gone)
    assert told(PASSING).code == 141
    assert len(list(junit().iter("error"))) == 1


@pytest.mark.slow
def test_one_real_command(finished):
    """Another process audits the file of a run; JUnit has its requirements and SARIF nothing to say."""
    command = [Path(sys.executable).with_name("safecompress"), "audit", "run/artifact.safetensors"]
    options = ["--spec", "spec.toml", "--junit", "out/gate.xml", "--sarif", "out/gate.sarif", "--json", "--quiet"]
    done = subprocess.run([*command, *options], cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "PASS"
    tree = etree.parse(finished / "out" / "gate.xml").getroot()
    names = [case.get("name") for case in tree.iter("testcase")]
    assert names == ["gap.auc ≤ 0.75", "label_only.auc ≤ 0.75", "accuracy ≥ 0.6", "artifact.size_bytes ≤ 40000"]
    assert (tree.get("failures"), tree.get("errors")) == ("0", "0")
    assert json.loads((finished / "out" / "gate.sarif").read_text())["runs"][0]["results"] == []


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["audit", "--junit", "a.xml"], {"--junit": "a.xml"}),
        (["--junit=a.xml", "--json"], {"--junit": "a.xml", "--json": None}),
        (["--junit"], {"--junit": None}),
        (["--junit", "--json"], {"--junit": None, "--json": None}),
        (["--junit", "a.xml", "--junit", "b.xml"], {"--junit": "b.xml"}),
        (["--", "--junit", "a.xml"], {}),
        (["--junitx", "a.xml"], {}),
    ],
)
def test_options_are_found_in_a_line_that_is_not_understood(arguments, given):
    assert options_given(arguments, "--junit", "--json") == given
