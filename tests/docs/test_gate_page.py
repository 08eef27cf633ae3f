"""The page on the gate: its commands and code run in an empty folder, its pipelines name what exists."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safecompress import api, config  # noqa: F401  (pytester forgets what is imported while it runs)
from safecompress.cli.app import app
from safecompress.cli.main import register
from safecompress.config import load_limits
from safecompress.workflows import audit_file  # noqa: F401
from whole_runs import run_cli, run_code

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def commands():
    """Every command of the page, in any language, as words."""
    flowing = re.sub(r"\n +", " ", PAGE)
    return [
        shlex.split(line) for line in re.findall(r"safecompress (?:init|compress|audit) [^`\n]*?--[^`\n]*", flowing)
    ]


@pytest.mark.slow
def test_its_commands_and_its_code_run_in_an_empty_folder(pytester, monkeypatch):
    (lines,), (reading, module) = blocks("sh"), blocks("python")
    monkeypatch.chdir(pytester.path)
    codes = []
    for line in lines.splitlines():
        typed, _, file = line.partition(" > ")
        ended = run_cli(*shlex.split(typed)[1:])
        assert ended.code in (0, 1, 3), ended.err
        codes.append(ended.code)
        if file:
            Path(file).write_text(ended.out)
    assert codes[0] == 0 and len({*codes[1:]}) == 1
    report = json.loads(Path("gate.json").read_text())
    assert report["exit_code"] == codes[-1]
    results = json.loads(Path("gate.sarif").read_text())["runs"][0]["results"]
    assert (results == []) is (codes[-1] == 0)
    read = run_code(reading, pytester.path)
    assert [line.split(" ")[0] for line in read.splitlines()] == [f["metric"] for f in report["findings"]]
    pytester.makepyfile(test_privacy=module)
    options = ["-p", "safecompress.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    outcomes = pytester.runpytest_inprocess(*options).parseoutcomes()
    unmet = sum(finding["verdict"] != "PASS" for finding in report["findings"]) + bool(report["doubts"])
    assert outcomes.get("failed", 0) == unmet
    assert outcomes.get("passed", 0) == len(report["findings"]) + 1 - unmet


def test_the_limits_are_read_without_a_fault(tmp_path):
    (limits,) = blocks("toml")
    (tmp_path / "limits.toml").write_text(limits)
    assert load_limits(tmp_path / "limits.toml").spec.missing_reference_attacks() == ()


def test_every_option_that_a_command_gives_exists():
    register()
    found = commands()
    assert len(found) >= 8
    for verb in {words[1] for words in found}:
        told = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).stdout
        for words in found:
            for option in words[2:] if words[1] == verb else ():
                assert not option.startswith("--") or option in told, (verb, option)


def test_the_pipelines_are_yaml_and_fail_closed():
    yaml = pytest.importorskip("yaml")
    workflow, hooks = map(yaml.safe_load, blocks("yaml"))
    steps = workflow["jobs"]["gate"]["steps"]
    judged = next(place for place, step in enumerate(steps) if "safecompress audit" in step.get("run", ""))
    assert "continue-on-error" not in steps[judged] and "||" not in steps[judged]["run"]
    assert "\n" not in steps[judged]["run"].strip()  # one command, whose code is the step's
    assert [step["if"] for step in steps[judged + 1 :]] == ["always()", "always()"]
    (hook,) = hooks["repos"][0]["hooks"]
    assert hook["pass_filenames"] is False
    assert re.match(hook["files"], "runs/model/artifact.safetensors") and re.match(hook["files"], "limits.toml")


def test_what_an_audit_of_pytest_takes_is_named():
    from safecompress.pytest_plugin import SafetyTests

    for name in set(SafetyTests.__annotations__) - {"spec", "artifact"}:
        assert f"`{name}`" in PAGE, name
