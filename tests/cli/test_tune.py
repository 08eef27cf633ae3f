"""``safecompress tune``: the front, its specs that compress takes, exit codes, and what goes on after a kill."""

import json

import pytest
import tomli_w

import safecompress.cli.verbs.tune  # noqa: F401  (it registers its verb)
from whole_runs import report_of, run_cli, tiny

pytest.importorskip("optuna")

TUNE = {
    "trials": 3,
    "batch": 2,
    "densities": [0.1, 0.5],
    "objectives": ["cross_entropy", "label_smoothing"],
    "branches": [["magnitude+random", "keep"]],
}


@pytest.fixture
def write(tmp_path):
    def written(tune=None, **changes):
        path = tmp_path / "spec.toml"
        path.write_text(tomli_w.dumps(tiny(recipe={"epochs": 4}, tune=TUNE | (tune or {}), **changes)))
        return path

    return written


@pytest.mark.slow
def test_a_point_of_the_front_is_certified_as_the_model_that_was_tried(write, tmp_path):
    """compress makes from the front's spec the very pattern that the trial had, and judges it on fresh rows."""
    out = tmp_path / "out"
    ended = run_cli("tune", write(), "--out", out)
    assert ended.code == 0, ended.err
    assert "tiny: the front" in ended.out
    assert ended.out.splitlines()[-1] == f"Page: {out / 'tune.md'}"
    assert "trial 3: density " in ended.err
    document = json.loads((out / "tune.json").read_text())
    assert document["spec"]["tune"]["trials"] == 3 and len(document["trials"]) == 3
    assert len(list(out.glob("front-*.toml"))) == len(document["front"]) > 0
    assert f"safecompress compress {out / 'front-'}" in ended.out
    tried = document["trials"][document["front"][0] - 1]
    ended = run_cli("compress", out / "front-1.toml", "--out", tmp_path / "certified", "--ledger", tmp_path / "book")
    assert ended.code in (0, 1, 3), ended.err
    report = report_of(tmp_path / "certified")
    assert report["digests"]["pattern"] == tried["pattern"]
    assert report["artifact"]["size_bytes"] == pytest.approx(
        tried["num_bytes"], abs=150
    )  # the file holds its name and training
    assert report["name"] == "tiny-front-1"


@pytest.mark.slow
def test_without_out_it_lies_under_runs_and_goes_on(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli("tune", write({"trials": 1})).code == 0
    (trial,) = (tmp_path / "runs" / "tiny" / "trials").iterdir()
    before = trial.stat().st_mtime_ns
    assert run_cli("tune", write({"trials": 2})).code == 0
    assert trial.stat().st_mtime_ns == before
    assert len(list(trial.parent.iterdir())) == 2


def test_a_search_without_any_number_ends_in_3(write, tmp_path):
    spec = write({"trials": 1, "learning_rates": [1e30]})
    ended = run_cli("tune", spec, "--out", tmp_path / "out")
    assert ended.code == 3
    assert "FAILED trial 1: TrainingError" in ended.out and "Certify" not in ended.out
    assert (tmp_path / "out" / "tune.md").exists()


def test_a_faulty_spec_ends_in_2_with_every_fault(write, tmp_path):
    ended = run_cli("tune", write({"trials": 0, "objectives": ["relax_los"]}), "--out", tmp_path / "out")
    assert ended.code == 2
    assert "Did you mean 'relax_loss'?" in ended.err and "[tune] trials: must be" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_threads_are_part_of_what_results_depend_on(write, tmp_path):
    spec = write({"trials": 1})
    assert run_cli("tune", spec, "--out", tmp_path / "out").code == 0
    ended = run_cli("tune", spec, "--out", tmp_path / "out", "--threads", 2)
    assert ended.code == 2 and "holds a run of another job" in ended.err


@pytest.mark.slow
def test_the_former_verb_says_the_new_one_and_does_the_same(write, tmp_path):
    spec = write({"trials": 1})
    ended = run_cli("search", spec, "--out", tmp_path / "out", "--quiet")
    assert ended.code == 0 and ended.out == f"Page: {tmp_path / 'out' / 'tune.md'}\n"
    assert ended.err.splitlines()[0] == "`safecompress search` is now called `safecompress tune`."
    assert "search" not in run_cli("--help").out.split("Commands")[1].split()
