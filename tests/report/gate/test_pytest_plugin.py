"""The pytest plug-in, as a project's own tests use it."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_reports import OPEN, PASSING, REPORTS

from safecompress import api, config  # noqa: F401  (pytester forgets what is imported while it runs)
from safecompress.errors import DataError
from safecompress.pytest_plugin import safety_spec
from safecompress.workflows import audit_file as workflow

pytest_plugins = ["pytester"]

MODULE = """
from safecompress.pytest_plugin import safety_spec

test_model = safety_spec("limits.toml", artifact="model.onnx", members="in.npz", non_members="out.npz")
"""
PLUGINS = ("-p", "safecompress.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
LIMITS = """
[safety]
access = "scores"
attacks = ["lira", "neural", "loss", "quantile"]
"""


def limits(report):
    return LIMITS + "".join(f'[[require]]\nmetric = "{f["metric"]}"\nat_most = {f["bound"]}\n' for f in report.findings)


@pytest.fixture
def run(pytester, monkeypatch):
    """Run MODULE on a spec that fits ``report``, where the audit finds ``found``."""

    def tested(report, *options, found=None, module=MODULE):
        audits = []

        def audit_file(request):
            audits.append((request.artifact_path, request.spec_path, request.members_path))
            if isinstance(found, Exception):
                raise found
            return found or report

        monkeypatch.setattr(workflow, "audit_file", audit_file)
        pytester.makefile(".toml", limits=limits(report))
        pytester.makepyfile(test_privacy=module)
        result = pytester.runpytest_inprocess(*PLUGINS, *options)
        return result, audits

    return tested


def test_each_requirement_is_a_test_and_one_audit_serves_all(run, pytester):
    result, audits = run(PASSING, "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*::test_model::lira.auc ≤ 0.6 PASSED*", "*::artifact.size_bytes ≤ 40000 PASSED*", "*::evidence PASSED*"]
    )
    assert audits == [(pytester.path / "model.onnx", pytester.path / "limits.toml", pytester.path / "in.npz")]


@pytest.mark.slow
def test_what_fails_says_its_interval_and_no_line_of_code(run):
    result, _ = run(REPORTS["FAIL"])
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "loss.auc ≤ 0.6: INCONCLUSIVE. Measured 0.59, 95 % interval 0.55 to 0.63, 400 rows; *",
            "neural.auc ≤ 0.6: FAIL. Measured 0.71, 95 % interval 0.67 to 0.75, 400 rows; *",
        ]
    )
    assert "pytest_plugin.py" not in result.stdout.str()
    assert result.ret == 1


def test_errors_and_doubts_fail(run):
    result, _ = run(REPORTS["ERROR"])
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["quantile.auc ≤ 0.6: ERROR. It met a NaN.", "The attack samia gave no numbers: it crashed.", "ties of gap"]
    )
    result, _ = run(REPORTS["INCONCLUSIVE"], "-k", "evidence")
    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(["no requirement bounds whitebox"])


def test_an_audit_that_is_refused_fails_every_test_and_is_made_once(run):
    result, audits = run(PASSING, found=DataError("in.npz has no array 'x'."))
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*DataError: in.npz has no array 'x'."])
    assert len(audits) == 1


def test_a_verdict_that_does_not_speak_of_a_requirement_is_no_pass(run):
    other = {**PASSING.findings[0], "requirement": "lira.auc ≤ 0.9"}
    result, _ = run(PASSING, found=PASSING.__class__(**{**vars(PASSING), "findings": [other]}))
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["lira.auc ≤ 0.6: the verdict does not speak of it.*"])


def test_a_report_that_contradicts_itself_fails_the_evidence(run):
    result, _ = run(PASSING.__class__(**{**vars(PASSING), "findings": [OPEN]}))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*It was altered*"])


def test_a_faulty_spec_is_an_error_of_collection_with_every_fault(run, pytester):
    faulty = {**PASSING.findings[0], "metric": "lirra.auc"}
    result, audits = run(PASSING.__class__(**{**vars(PASSING), "findings": [faulty, {**faulty, "bound": 60}]}))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*limits.toml: 2 faults*", "*Did you mean 'lira.auc'*"])
    assert audits == []


def test_pytests_own_junit_holds_the_verdict(run, pytester):
    run(REPORTS["FAIL"], "--junitxml=own.xml")
    content = (pytester.path / "own.xml").read_text(encoding="utf-8")
    assert 'name="verdict" value="FAIL"' in content and "95 % interval 0.67 to 0.75" in content


MAKER = """
from safecompress.pytest_plugin import safety_spec

def make():
    print("made once")
    {ending}

test_model = safety_spec("limits.toml", artifact=make, members="in.npz", non_members="out.npz")
"""


def test_a_function_may_make_the_model(run, pytester):
    result, audits = run(PASSING, "-s", module=MAKER.format(ending='return "made/model.onnx"'))
    result.assert_outcomes(passed=3)
    assert result.stdout.str().count("made once") == 1
    assert audits[0][0] == pytester.path / "made" / "model.onnx"


@pytest.mark.slow
def test_a_function_that_breaks_fails_every_test_and_is_called_once(run):
    result, audits = run(PASSING, "-s", module=MAKER.format(ending='raise ValueError("no model")'))
    result.assert_outcomes(failed=3)
    assert result.stdout.str().count("made once\n") == 1
    result.stdout.fnmatch_lines(["*ValueError: no model*"])
    assert audits == []


def test_an_audit_takes_what_a_spec_of_tests_names():
    tests = safety_spec("limits.toml", artifact="run/a.onnx", members="/rows/in.npz", workers=2).located(Path("/here"))
    assert tests.request(tests.artifact) == workflow.AuditRequest(
        artifact_path=Path("/here/run/a.onnx"),
        spec_path=Path("/here/limits.toml"),
        members_path=Path("/rows/in.npz"),
        workers=2,
    )


@pytest.mark.slow
def test_it_costs_nothing_where_no_spec_is_tested(pytester):
    """pytest loads it at every start, in every project beside it."""
    pytester.makepyfile("import sys\ndef test_it():\n    assert not {'torch', 'numpy', 'typer'} & set(sys.modules)")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *PLUGINS],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
