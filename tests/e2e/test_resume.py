"""A run that is killed, crashes or finds the disk full goes on with the same command and ends in the same digests."""

import errno
import functools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from safecompress.compression import phases
from safecompress.compression.search import RunStore
from safecompress.storage import read_tensors
from safecompress.training import Watch
from whole_runs import SIZES, digests_of, report_of, run_cli, start_cli, write_spec

pytestmark = pytest.mark.slow

SHORT = {"recipe": {"epochs": 4}, "search": {"branches": ["magnitude+random", "keep"]}}
BRIEF = {
    **SHORT,
    "data": {name: size // 5 for name, size in SIZES.items()},
    "safety": {"attacks": ["gap"], "access": "labels"},
    "require": [{"metric": "gap.auc", "at_most": 0.99}],
}
"""SHORT on few rows: every write of a run, and little else."""

LONG = {
    "recipe": {"epochs": 24},
    "search": {"rounds": 3, "attacks": ["loss"]},
    "safety": {"attacks": ["loss"]},
    "require": [{"metric": "loss.auc", "at_most": 0.9}],
}
"""Some seconds, one of them in certification, where another process trains the product's own control."""


class Crash(BaseException):
    """The process dies: nothing catches this."""


class Hook:
    """Calls ``strike`` with the number of each event before it takes place; counts all events that it is told of."""

    def __init__(self, strike):
        self.strike, self.count = strike, 0

    def around(self, function):
        @functools.wraps(function)
        def hooked(*args, **kwargs):
            self.count += 1
            self.strike(self.count)
            return function(*args, **kwargs)

        return hooked


def fill_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def found_by(run):
    """Digests, opening, layers, and every candidate of every round, as the log has them; not the seconds."""
    lines = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    rounds = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    assert [entry["round"] for entry in report_of(run)["search"]["rounds"]] == sorted({r["round"] for r in rounds})
    return digests_of(run), report_of(run)["ledger"]["opening"], report_of(run)["search"]["layers"], rounds


def assert_whole(folder):
    """Every file under a final name is whole."""
    for file in folder.rglob("*.safetensors"):
        assert read_tensors(file)[0]
    for file in folder.rglob("*.json"):
        json.loads(file.read_text())


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    """An undisturbed run of BRIEF: its spec, what it found, and copies of its folder at every moment.

    A copy is what SIGKILL would have left before the first write or deletion, the second, and so on.
    """
    home, moments = tmp_path_factory.mktemp("brief"), tmp_path_factory.mktemp("moments")
    spec = write_spec(home / "spec.toml", **BRIEF)
    hook = Hook(lambda number: shutil.copytree(home, moments / str(number)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", hook.around(Path.replace))
        patched.setattr(RunStore, "forget", hook.around(RunStore.forget))
        run_cli("compress", spec, "--out", home / "run")
    return spec, found_by(home / "run"), [moments / str(number + 1) for number in range(hook.count)]


def test_a_crash_at_any_write_changes_no_digest_and_no_opening(brief):
    """The same command goes on with what is left."""
    spec, undisturbed, moments = brief
    assert len(moments) > 45
    assert any(list(home.rglob(".*.part")) for home in moments)  # there are half-written files to be swept up
    for home in moments:
        assert_whole(home)
        run_cli("compress", spec, "--out", home / "run")
        assert found_by(home / "run") == undisturbed, home.name
        assert not list((home / "run").rglob(".*.part")), home.name


def test_a_full_disk_is_said_in_words_and_the_run_goes_on_when_there_is_room(brief, tmp_path, monkeypatch):
    spec, undisturbed, _ = brief
    for number in random.Random(0).sample(range(1, 34), 4):
        home = tmp_path / str(number)
        hook = Hook(lambda count, number=number: fill_disk() if count == number else None)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", hook.around(os.fsync))
            ended = run_cli("compress", spec, "--out", home / "run")
        assert hook.count == number, "it went on writing after a write had failed"
        assert ended.code == 3
        assert ended.err.splitlines()[-1].startswith("StorageError: No room left to write /"), ended.err
        assert "same command again" in ended.err
        assert "Traceback" not in ended.err
        assert not list(home.rglob(".*.part"))
        assert_whole(home)
        again = run_cli("compress", spec, "--out", home / "run")
        assert again.code == report_of(home / "run")["exit_code"]
        assert found_by(home / "run") == undisturbed


def test_a_full_disk_after_long_training_costs_none_of_it(tmp_path, monkeypatch):
    """The last checkpoint is deleted only after what it led to was saved."""
    spec, run = write_spec(tmp_path / "spec.toml", **SHORT), tmp_path / "run"
    save = RunStore.save_state

    def refuse(store, name, state):
        if name == "dense":
            fill_disk()
        save(store, name, state)

    with monkeypatch.context() as patched:
        patched.setattr(phases, "Watch", functools.partial(Watch, checkpoint_every_s=0.0))
        patched.setattr(RunStore, "save_state", refuse)
        ended = run_cli("compress", spec, "--out", run)
    assert ended.code == 3 and "No space left" in ended.err
    assert (run / "work" / "checkpoint-dense.safetensors").exists()
    ended = run_cli("compress", spec, "--out", run)
    assert "dense: 28 steps" in ended.err  # of 60: a checkpoint is made every 32
    assert not list((run / "work").glob("checkpoint-*"))


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """An undisturbed run of some hundred steps: its spec and its digests."""
    home = tmp_path_factory.mktemp("longer")
    spec = write_spec(home / "spec.toml", recipe={"epochs": 24}, search={"branches": ["magnitude+random", "keep"]})
    run_cli("compress", spec, "--out", home / "run")
    return spec, digests_of(home / "run")


@pytest.mark.parametrize("phase", ["dense", "round 2 of 2", "final"])
def test_a_phase_goes_on_from_its_checkpoint(phase, longer, tmp_path, monkeypatch):
    """Steps and digests: the checkpoint is read, and it leads to where the undisturbed run got."""
    spec, undisturbed = longer
    monkeypatch.setattr(phases, "Watch", functools.partial(Watch, checkpoint_every_s=0.0))
    name, save = "checkpoint-" + phase.replace(" ", "-"), RunStore.save_state

    def save_and_die(store, saved, state):
        save(store, saved, state)
        if saved == name:
            raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "save_state", save_and_die)
        with pytest.raises(Crash):
            run_cli("compress", spec, "--out", tmp_path / "run")
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    announced = {line.split("s  ", 1)[1] for line in ended.err.splitlines()}
    whole = {"dense": 360, "round 2 of 2": 101, "final": 90}[phase]
    (resumed,) = [line for line in announced if line.startswith(f"{phase}: ")]
    steps = int(resumed.split()[-2])
    assert 0 < steps < whole
    assert steps > whole - 65
    assert digests_of(tmp_path / "run") == undisturbed
    assert not list((tmp_path / "run" / "work").glob("checkpoint-*"))


def test_a_run_killed_again_and_again_ends_in_the_same_digests(tmp_path):
    """SIGKILL in a round, and between the opening of the ledger and the report."""
    spec, run = write_spec(tmp_path / "spec.toml", **LONG), tmp_path / "run"
    delays = random.Random(7)
    for marker in ("round 2 of", "certify:"):
        process = start_cli("compress", spec, "--out", run)
        for line in process.stderr:
            if marker in line:
                break
        time.sleep(delays.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{marker} was not hit: the run ended"
        assert_whole(tmp_path)
        assert not (run / "report.json").exists()
    last = run_cli("compress", spec, "--out", run)
    assert last.code == report_of(run)["exit_code"], last.err
    assert "round" not in last.err
    assert "dense:" not in last.err
    assert not list(run.rglob(".*.part"))
    run_cli("compress", spec, "--out", tmp_path / "undisturbed", "--ledger", tmp_path / "other.jsonl")
    assert found_by(run) == found_by(tmp_path / "undisturbed")
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 1


def test_ctrl_c_exits_130_and_says_that_the_run_can_go_on(tmp_path):
    spec, run = write_spec(tmp_path / "spec.toml", recipe={"epochs": 20}, search={"rounds": 3}), tmp_path / "run"
    process = start_cli("compress", spec, "--out", run, "--workers", "2", "--junit", tmp_path / "gate.xml")
    for line in process.stderr:
        if "round 2 of 3:" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # workers get it, too, as from a terminal
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Stopped. Finished work is kept: run the same command again to resume." in err
    assert f"\n  safecompress compress {spec} --out {run} --workers 2" in err
    assert "Traceback" not in err
    assert "command was stopped" in (tmp_path / "gate.xml").read_text()
    assert "round 1 of 3" not in run_cli("compress", spec, "--out", run).err
