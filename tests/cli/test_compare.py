"""``safecompress compare``: the table, the page, exit codes, and what goes on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tomli_w

import safecompress.cli.verbs.compare  # noqa: F401  (it registers its verb)
from patience import patience
from whole_runs import SIZES, run_cli

SPEC = {
    "name": "small",
    "data": {"source": "digits", **SIZES, "test": 100},
    "model": {"name": "mlp", "hidden": [16]},
    "recipe": {"epochs": 2, "optimizer": "adam", "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.0},
    "compare": {"methods": ["dense", "static"], "densities": [0.2], "seeds": [0, 1], "attacks": ["gap", "loss"]},
}


@pytest.fixture
def write(tmp_path):
    def written(**compare):
        path = tmp_path / "spec.toml"
        path.write_text(tomli_w.dumps({**SPEC, "compare": {**SPEC["compare"], **compare}}))
        return path

    return written


@pytest.mark.slow
def test_a_comparison_ends_with_its_table_and_the_path_of_its_page(write, tmp_path):
    ended = run_cli("compare", write(), "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert ended.code == 0
    assert "exploratory, no release" in ended.out
    assert ended.out.splitlines()[-1] == f"Page: {tmp_path / 'out' / 'compare.md'}"
    assert "dense, density 1, seed 0:" in ended.err
    assert (tmp_path / "out" / "compare.md").read_text().startswith("# Comparison: small\n")
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["spec"]["compare"]["methods"] == ["dense", "static"] and len(document["cells"]) == 4
    assert (tmp_path / "cache").is_dir() and not (tmp_path / "out" / "cache").exists()


@pytest.mark.slow
def test_without_out_it_lies_under_runs(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli("compare", write(methods=["dense"], seeds=[0])).code == 0
    assert (tmp_path / "runs" / "small" / "compare.md").exists()


@pytest.mark.slow
def test_a_method_that_fails_ends_in_3_and_the_others_are_shown(write, tmp_path):
    spec = write(methods=["dense", "static"], densities=[1e-5], seeds=[0])
    ended = run_cli("compare", spec, "--out", tmp_path / "out")
    assert ended.code == 3
    assert "FAILED static, density 1e-05, seed" in ended.out
    assert "static ✗" in ended.out and "dense, density 1, seed 0:" in ended.err


def test_a_faulty_spec_ends_in_2_with_every_fault(write, tmp_path):
    ended = run_cli("compare", write(methods=["dens"], seeds=[0, 0], num_shadows=1), "--out", tmp_path / "out")
    assert ended.code == 2
    assert "mean 'dense'?" in ended.err and "num_shadows: must be" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_threads_are_part_of_what_results_depend_on(write, tmp_path):
    spec = write(methods=["dense"], seeds=[0])
    assert run_cli("compare", spec, "--out", tmp_path / "out").code == 0
    run_cli("compare", spec, "--out", tmp_path / "out", "--threads", 2)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 2


@pytest.mark.slow
def test_a_killed_comparison_goes_on(write, tmp_path):
    spec, out = write(seeds=list(range(40))), tmp_path / "out"
    command = "import sys; import safecompress.cli.verbs.compare; from safecompress.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "compare", str(spec), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + patience(30)
    while time.monotonic() < until and len(list(out.glob("cells/*.json"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*.json")}
    assert 2 <= len(before) < 80 and not (out / "compare.md").exists()
    few = sorted({json.loads(path.read_text())["content"]["cell"]["seed"] for path in before})
    ended = run_cli("compare", write(seeds=few), "--out", out)
    assert ended.code == 0
    assert f"{len(before)} of {2 * len(few)} cells are there already" in ended.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
