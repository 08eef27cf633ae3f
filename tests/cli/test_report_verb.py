"""``safecompress report``: its schema, its license, its JSON; and the command that has a verdict again."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from safecompress.cli._support.reproduce import reproduce_command
from safecompress.report import load_report
from safecompress.report.schema import schema_text
from said import says
from whole_runs import contents, report_of, run_cli


def test_the_schema_is_printed_and_nothing_else_is_asked_for():
    ended = run_cli("report", "--schema")
    assert (ended.code, ended.out, ended.err) == (0, schema_text(), "")
    assert json.loads(ended.out)["title"] == "safecompress report"


def test_without_a_run_it_asks_which():
    ended = run_cli("report")
    assert ended.code == 2
    assert says(ended.err, "UsageError: ", "report.json", "--schema")


def test_a_license_goes_into_the_card_alone(finished):
    before = (finished / "run" / "report.json").read_bytes()
    assert (
        run_cli("report", finished / "run", "--license", "apache-2.0").code == report_of(finished / "run")["exit_code"]
    )
    assert 'license: "apache-2.0"' in (finished / "run" / "model_card.md").read_text()
    assert (finished / "run" / "report.json").read_bytes() == before
    ended = run_cli("report", finished / "run" / "report.json", "--license", "mit")
    assert ended.code == 2 and "run's folder" in ended.err


def test_json_and_quiet_are_as_everywhere(finished):
    ended = run_cli("report", finished / "run", "--json")
    assert json.loads(ended.out) == report_of(finished / "run")
    assert len(run_cli("report", finished / "run", "--quiet").out.splitlines()) <= 2


def test_a_report_of_version_two_is_shown_and_left_as_it_is(finished):
    file = finished / "run" / "report.json"
    old = report_of(finished / "run")
    for added in ("exposure", "speed", "command"):
        del old[added]
    file.write_text(json.dumps({**old, "schema_version": 2}))
    before = file.read_bytes()
    assert run_cli("report", finished / "run").code == old["exit_code"]
    assert file.read_bytes() == before
    assert "tiny: PASS</title>" in (finished / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    "harm",
    [
        {"split": {}},
        {"findings": [{}]},
        {"ledger": {}},
        {"measurements": {"accuracy": 3}},
        {"verdict": "SAFE"},
        {"health": [{}]},
        {"prospects": [{}]},
        {"speed": {"speeds": [{}]}},
        {"exposure": {"classes": {"apart": [{}]}}},
    ],
)
def test_a_report_whose_parts_are_not_whole_leaves_the_old_pages(harm, finished):
    file = finished / "run" / "report.json"
    file.write_text(json.dumps({**report_of(finished / "run"), **harm}))
    before = contents(finished / "run")
    ended = run_cli("report", finished / "run")
    assert ended.code == 3
    assert ended.err.startswith("ArtifactError: ") and "is not what the schema of reports says" in ended.err
    assert contents(finished / "run") == before


def test_the_command_again_names_no_folder_and_survives_a_shell():
    typed = reproduce_command(
        "audit", Path("/home/me/a b;rm.safetensors"), spec=Path("/secret/limits.toml"), dense=None, threads=2
    )
    assert "home" not in typed and "secret" not in typed
    assert shlex.split(typed) == [
        "safecompress", "audit", "a b;rm.safetensors", "--spec", "limits.toml", "--threads", "2",
    ]  # fmt: skip
    assert "--non-members 'x y.npz'" in reproduce_command("audit", Path("m.onnx"), non_members=Path("x y.npz"))


def test_a_run_that_is_timed_keeps_the_times_and_no_path(finished, monkeypatch):
    """The verdict is the finished run's, so that only the timing is done; its digest stays."""
    before, done = report_of(finished / "run"), load_report(finished / "run")
    monkeypatch.setattr("safecompress.api.run_job", lambda *_, **__: SimpleNamespace(report=done))
    ended = run_cli("compress", finished / "spec.toml", "--out", finished / "run", "--bench")
    assert ended.code == before["exit_code"], ended.err
    after = report_of(finished / "run")
    assert after["digests"] == before["digests"]
    assert before["speed"] is None
    assert [speed["batch_size"] for speed in after["speed"]["speeds"]] == [1, 64]
    assert str(finished) not in json.dumps(after)
    assert "thread here: 1 sample" in ended.out
    assert "times as fast" in (finished / "run" / "report.html").read_text()
