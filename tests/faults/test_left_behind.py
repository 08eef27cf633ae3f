"""What a killed command leaves, and folders that vanish or go round in a circle while they are used."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from patience import patience
from safecompress.compression.run_folder import PhaseTimer, open_run_folder
from safecompress.compression.search import MemoryStore, RunStore
from safecompress.errors import StorageError
from safecompress.training import TrainingState
from whole_runs import run_cli, write_spec

POOL = """
import sys, time
from safecompress.compression.search import ProcessExecutor
import torch
if __name__ == "__main__":
    with ProcessExecutor(2) as executor:
        list(executor.map(abs, [1, 2]))
        list(executor.map(torch.neg, [torch.ones(3)] * 4))
        print("ready", flush=True)
        list(executor.map(time.sleep, [60, 60]))
"""


@pytest.mark.slow
def test_a_killed_pool_leaves_no_process_and_no_socket(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    place = Path(tempfile.mkdtemp(prefix="sc"))  # short: a socket's path has a hundred letters at most
    with subprocess.Popen(
        [sys.executable, tmp_path / "pool.py"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(place)},
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + patience(20)
    while list(place.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    assert list(place.iterdir()) == []
    place.rmdir()


def test_a_search_in_memory_touches_no_disk(monkeypatch):
    import torch

    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("a file was opened"))
    store, weights = MemoryStore(), {"w": torch.ones(3)}
    store.save_state("a", TrainingState(3, weights))
    weights["w"].zero_()
    loaded = store.load_state("a")
    assert (loaded.step, loaded.model["w"].tolist()) == (3, [1.0, 1.0, 1.0])
    loaded.model["w"].zero_()
    assert store.load_state("a").model["w"].tolist() == [1.0, 1.0, 1.0]
    store.forget("a")
    assert not store.has("a") and store.load_state("a") is None


def test_a_run_folder_that_is_removed_is_an_error_and_stays_away(tmp_path):
    with open_run_folder(tmp_path / "run", "job", lambda key: "digest") as folder:
        timer, store = PhaseTimer(folder), RunStore(folder.work, key=folder.work_key)
        shutil.rmtree(tmp_path / "run")
        for write in (
            lambda: timer.add_all({"dense": 1.0}),
            lambda: store.save_state("dense", TrainingState(0, {})),
            folder.check_there,
        ):
            with pytest.raises(StorageError, match="was removed while the run needed it"):
                write()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--out", "--ledger", "--cache", "--released"])
def test_paths_that_go_round_in_a_circle_are_refused_in_words(tmp_path, option):
    here, there = tmp_path / "here", tmp_path / "there"
    here.symlink_to(there)
    there.symlink_to(here)
    spec = write_spec(tmp_path / "spec.toml")
    out = [] if option == "--out" else ["--out", tmp_path / "run"]
    ended = run_cli("compress", spec, *out, option, here)
    assert ended.code in (2, 3)
    assert "Traceback" not in ended.err and "here" in ended.err
