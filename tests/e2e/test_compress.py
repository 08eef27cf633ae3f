"""``safecompress compress``: exit codes, what a run leaves, equal digests, one job per folder, what a seed decides."""

import json
import tomllib
from contextlib import nullcontext

import jsonschema
import pytest
from filelock import FileLock
from safetensors import safe_open

from safecompress import Artifact
from safecompress.config import load_config
from safecompress.report.schema import load_schema
from safecompress.workflows import loading
from whole_runs import contents, digests_of, report_of, run_cli, tiny, write_spec

pytestmark = pytest.mark.slow


def require(metric, **bound):
    return {"metric": metric, **bound}


def test_a_run_that_passes_exits_0_and_says_so(finished_once):
    home, ended = finished_once
    assert ended.code == 0
    report = report_of(home / "run")
    assert (report["verdict"], report["exit_code"], report["ledger"]["opening"]) == ("PASS", 0, 1)
    table = [line for line in ended.out.splitlines() if "PASS" in line]
    for requirement in ("gap.auc ≤ 0.75", "label_only.auc ≤ 0.75", "accuracy ≥ 0.6", "artifact.size_bytes ≤ 40000"):
        assert any(requirement in line for line in table), ended.out
    assert f"Report: {home / 'run' / 'report.html'}" in ended.out
    assert "spec bounds: gap, label_only; alpha 0.05;" in " ".join(ended.out.split())  # never "safe" as such
    assert "Traceback" not in ended.err


def test_stderr_says_before_training_what_can_be_certified(finished_once):
    lines = [line.split("s  ", 1)[1] for line in finished_once[1].err.splitlines()]
    assert lines[0].startswith("gap.auc ≤ 0.75: ")
    assert lines.index("artifact.size_bytes ≤ 40000: counted, not estimated") < lines.index("dense: 180 steps")


@pytest.mark.parametrize(
    ("limit", "code", "verdict"),
    [
        (require("artifact.size_bytes", at_most=100), 1, "FAIL"),
        (require("accuracy", at_least="measured"), 3, "INCONCLUSIVE"),
    ],
)
def test_other_verdicts_have_other_exit_codes_and_the_same_artifact(limit, code, verdict, finished_once, tmp_path):
    """What is required decides the verdict alone: the limits did not shape the artifact."""
    once = finished_once[0] / "run"
    measured = report_of(once)["measurements"]["accuracy"]["value"]
    limit = {key: measured if value == "measured" else value for key, value in limit.items()}
    spec = write_spec(tmp_path / "spec.toml", require=[require("gap.auc", at_most=0.75), limit])
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    report = report_of(tmp_path / "run")
    assert (ended.code, report["exit_code"], report["verdict"]) == (code, code, verdict)
    assert [finding["verdict"] for finding in report["findings"]] == ["PASS", verdict]
    assert f"{verdict}: " in ended.out
    assert report["digests"]["artifact"] == report_of(once)["digests"]["artifact"]


BROKEN_NEURAL = {"name": "neural", "holdout": 0.001}


def test_an_attack_that_breaks_at_the_end_is_an_error_and_exits_3(tmp_path):
    """A holdout of no rows breaks the neural attack; the search itself uses another."""
    spec = write_spec(
        tmp_path / "spec.toml",
        search={"attacks": ["gap"]},
        safety={"attacks": ["gap", {"name": "label_only", "queries": 16}, BROKEN_NEURAL]},
    )
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    report = report_of(tmp_path / "run")
    assert (ended.code, report["verdict"]) == (3, "ERROR")
    assert [finding["verdict"] for finding in report["findings"]] == ["PASS"] * 4  # no requirement names it
    assert "for the neural attack" in report["errors"]["neural"]
    assert "ERROR neural: AttackError" in ended.out
    assert "neural (AttackError" in (tmp_path / "run" / "report.md").read_text()
    assert report["tm_score"] == {"artifact": None, "dense": None}


def test_a_search_whose_attacks_all_break_exits_3_in_words(tmp_path):
    spec = write_spec(
        tmp_path / "spec.toml", safety={"attacks": ["gap", {"name": "label_only", "queries": 16}, BROKEN_NEURAL]}
    )
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 3
    assert "AttackError: No candidate" in ended.err
    assert "for the neural attack" in ended.err
    assert not (tmp_path / "run" / "artifact.safetensors").exists()


def test_all_faults_of_a_spec_are_told_at_once_and_nothing_is_written(tmp_path):
    spec = write_spec(
        tmp_path / "spec.toml",
        model={"name": "mpl"},
        compress={"density": 10},
        safety={"attacks": ["losss"]},
        serch={"rounds": 1},
    )
    before = contents(tmp_path)
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert ended.err.startswith(f"SpecError: {spec}: ")
    faults = ended.err.splitlines()[1:]
    for words in ("Did you mean 'mlp'?", "[compress] density", "Did you mean 'loss'?", "[serch]: unknown table"):
        assert sum(words in fault for fault in faults) == 1, ended.err
    assert contents(tmp_path) == before


def test_the_run_folder_holds_what_was_promised(finished_once):
    run = finished_once[0] / "run"
    names = {
        "report.json",
        "report.html",
        "report.md",
        "model_card.md",
        "artifact.safetensors",
        "dense.safetensors",
        "spec.toml",
        "candidates.jsonl",
    }
    assert names <= {path.name for path in run.iterdir()}
    assert not list(finished_once[0].rglob("*.part"))
    assert list((run / "work" / "candidates").iterdir()) == []  # what was not chosen takes no room
    for file in run.rglob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            assert opened.keys()
    assert (run / "report.md").read_text().startswith("# tiny: PASS\n")
    assert "tiny: PASS</title>" in (run / "report.html").read_text()
    assert "safecompress compress spec.toml --out ../again" in (run / "report.html").read_text()
    checker = jsonschema.Draft202012Validator(load_schema())
    assert [error.message for error in checker.iter_errors(report_of(run))] == []
    layers = report_of(run)["search"]["layers"]
    assert [layer["end"] <= layer["ever"] <= 1 and 0 < layer["start"] < 1 for layer in layers] == [True, True]
    loaded = Artifact.load(run / "artifact.safetensors")
    assert (loaded.digest(), loaded.density) == (report_of(run)["digests"]["artifact"], pytest.approx(0.2, abs=1e-3))
    assert (run / "split.key").stat().st_mode & 0o077 == 0  # who reads it can test guesses at rows


def test_every_candidate_of_every_round_has_numbers_and_a_reason(finished_once):
    run = finished_once[0] / "run"
    lines = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    branches = tiny()["search"]["branches"]
    assert [(line["round"], line["branch"]) for line in lines] == [(r, branch) for r in (0, 1) for branch in branches]
    for line in lines:
        assert line["won"] == line["reason"].startswith("won: TM-score ")
        is_finalist = line["reason"] != "out: no finalist"
        assert line["won"] or line["reason"].startswith("lost: TM-score ") or not is_finalist
        assert 0 < line["accuracy"] == line["metrics"]["accuracy"]["value"] <= 1
        assert 0 < line["tm_score"] <= 2
        for attack in ("gap", "label_only") if is_finalist else ("gap",):  # queries are for finalists
            figure = line["metrics"][f"{attack}.auc"]
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert (line["moved"] == 0) == (line["branch"] == "keep")
    for number in (0, 1):
        of_round = [line for line in lines if line["round"] == number]
        (winner,) = [line for line in of_round if line["won"]]
        finalists = [line for line in of_round if line["reason"] != "out: no finalist"]
        assert len(finalists) in (2, 3)  # the two best, and keep
        assert winner["tm_score"] == max(line["tm_score"] for line in finalists)
    rounds = report_of(run)["search"]["rounds"]
    assert [{"round": e["round"], **c} for e in rounds for c in e["candidates"]] == lines


def test_the_written_spec_gives_the_same_job(finished):
    written = finished / "run" / "spec.toml"
    assert load_config(written).digest() == load_config(finished / "spec.toml").digest()
    before = report_of(finished / "run")
    again = run_cli("compress", written, "--out", finished / "run")  # the folder refuses any other job
    assert again.code == 0
    assert digests_of(finished / "run") == {name: before["digests"][name] for name in digests_of(finished / "run")}
    assert tomllib.loads(written.read_text())["search"]["recovery"] == 0.25  # defaults are written out


def test_workers_end_in_the_same_digests(finished_once, tmp_path, monkeypatch, worker_pool):
    asked = []
    monkeypatch.setattr(loading, "ProcessExecutor", lambda workers: asked.append(workers) or nullcontext(worker_pool))
    ended = run_cli("compress", finished_once[0] / "spec.toml", "--out", tmp_path / "run", "--workers", 2)
    assert (ended.code, asked) == (0, [2])
    assert digests_of(tmp_path / "run") == digests_of(finished_once[0] / "run")


def test_a_finished_run_is_reused_as_a_whole(finished):
    run = finished / "run"
    work, before = contents(run / "work"), report_of(run)
    ended = run_cli("compress", finished / "spec.toml", "--out", run)
    after = report_of(run)
    assert ended.code == 0
    assert "dense:" not in ended.err
    assert "round" not in ended.err
    assert {name for name, file in contents(run / "work").items() if file != work[name]} == {"seconds.json"}
    assert after["digests"] == before["digests"]  # the keyed ones too: it is the same folder
    assert after["ledger"] == before["ledger"]
    assert after["search"]["rounds"] == before["search"]["rounds"]
    assert len((finished / "ledger.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data": {"validation": 90}},
        {"model": {"hidden": [16]}},
        {"model": {"dropout": 0.5}},  # the same weights: only the network itself differs
        {"recipe": {"epochs": 13}},
        {"dense_recipe": {"epochs": 13}},
        {"compress": {"density": 0.3}},
        {"search": {"recovery": 0.5}},
        {"require": [require("accuracy", at_least=0.61)]},
    ],
    ids=str,
)
def test_another_job_in_the_same_folder_is_refused_and_changes_nothing(change, finished):
    spec = write_spec(finished / "other.toml", **change)
    before = contents(finished)
    ended = run_cli("compress", spec, "--out", finished / "run")
    assert ended.code == 2
    assert "RunFolderError" in ended.err
    assert "another job ('tiny')" in ended.err
    assert "--out" in ended.err
    assert contents(finished) == before


def test_the_name_of_a_run_is_no_other_job(finished):
    spec = write_spec(finished / "other.toml", name="renamed")
    assert run_cli("compress", spec, "--out", finished / "run").code == 0
    assert report_of(finished / "run")["name"] == "renamed"


def test_two_processes_never_work_in_one_folder(finished):
    before = contents(finished)
    with FileLock(finished / "run" / ".lock"):
        ended = run_cli("compress", finished / "spec.toml", "--out", finished / "run")
    assert ended.code == 2
    assert f"Another process is working in {finished / 'run'}" in ended.err
    assert contents(finished) == before
    assert run_cli("compress", finished / "spec.toml", "--out", finished / "run").code == 0  # the lock is free again


def test_the_default_folder_is_runs_and_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write_spec(tmp_path / "elsewhere" / "spec.toml", recipe={"epochs": 2})
    run_cli("compress", spec)
    assert report_of(tmp_path / "runs" / "tiny")["name"] == "tiny"
    assert (tmp_path / "runs" / "ledger.jsonl").exists()


def test_the_same_job_on_another_day_ends_in_the_same_digests(finished_once, tmp_path):
    ended = run_cli("compress", finished_once[0] / "spec.toml", "--out", tmp_path / "run")
    assert ended.code == 0
    assert digests_of(tmp_path / "run") == digests_of(finished_once[0] / "run")
    keyed = [report_of(folder)["digests"] for folder in (tmp_path / "run", finished_once[0] / "run")]
    assert keyed[0]["job"] != keyed[1]["job"]  # another key: nobody tests guesses at rows across runs
    assert keyed[0]["split"]["train"] != keyed[1]["split"]["train"]


def test_another_seed_draws_another_split_and_ends_in_another_artifact(finished_once, tmp_path):
    spec = write_spec(tmp_path / "spec.toml", seed=1)
    run_cli("compress", spec, "--out", tmp_path / "run")
    ours, theirs = digests_of(tmp_path / "run"), digests_of(finished_once[0] / "run")
    assert not [name for name in ours if ours[name] == theirs[name]]
    classes = [report_of(f)["split"]["parts"]["train"]["classes"] for f in (tmp_path / "run", finished_once[0] / "run")]
    assert classes[0] != classes[1]
    assert sum(classes[0].values()) == sum(classes[1].values()) == 450


def test_a_ledger_shared_by_two_jobs_counts_their_openings(finished):
    spec = write_spec(finished / "other.toml", compress={"density": 0.3})
    assert run_cli("compress", spec, "--out", finished / "second").code == 0
    reports = [report_of(finished / name)["ledger"] for name in ("run", "second")]
    assert [entry["opening"] for entry in reports] == [1, 2]
    assert reports[1]["alpha"] == reports[0]["alpha"] / 2
    apart = run_cli("compress", spec, "--out", finished / "third", "--ledger", finished / "mine.jsonl")
    assert apart.code == 0
    assert report_of(finished / "third")["ledger"] == reports[0]
