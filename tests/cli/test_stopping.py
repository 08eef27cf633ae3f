"""Ctrl-C as a terminal sends it: while the program still loads, twice, and where it is to be ignored."""

import os
import signal
import subprocess
import sys
import time

import pytest

from patience import patience
from safecompress.cli._support.interrupt import how_to_resume, listening
from safecompress.compression.search import ProcessExecutor
from whole_runs import start_cli, write_spec


@pytest.mark.slow
def test_while_it_loads(tmp_path):
    """The gate speaks before PyTorch loads, and an interrupted import is no fault of ours and no FAIL."""
    gate = tmp_path / "gate.xml"
    process = start_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run", "--junit", gate)
    until = time.monotonic() + patience(30)
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.005)
    assert "has not finished" in gate.read_text()
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped (Ctrl-C)" in gate.read_text()


SLOW_TO_STOP = """
import sys, time
from safecompress.cli._support.interrupt import listening
with listening():
    try:
        print("ready", flush=True)
        time.sleep(9000)
    except KeyboardInterrupt:
        print("stopping", flush=True)
        time.sleep(9000)
"""


def test_the_second_ends_it_at_once():
    process = subprocess.Popen([sys.executable, "-c", SLOW_TO_STOP], stdout=subprocess.PIPE, text=True)
    for word in ("ready", "stopping"):
        assert process.stdout.readline().strip() == word
        process.send_signal(signal.SIGINT)
    assert process.wait(patience(20)) == 130
    process.stdout.close()


def test_an_error_that_a_library_made_of_it_is_told_from_others():
    with pytest.raises(KeyboardInterrupt), listening() as stop:
        assert not stop.was_asked
        signal.raise_signal(signal.SIGINT)
    assert stop.was_asked


def test_where_it_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening() as stop:
            signal.raise_signal(signal.SIGINT)
        assert not stop.was_asked
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_workers_are_not_waited_for():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ProcessExecutor(1) as pool:
        for _ in pool.map(time.sleep, [0, 2 * patience(30)]):
            raise KeyboardInterrupt
    assert time.monotonic() - began < patience(30)


def test_what_to_type_is_as_it_was_typed():
    assert how_to_resume(["compress", "my spec.toml"]).endswith("resume.\n  safecompress compress 'my spec.toml'")
    assert "start over" in how_to_resume(["audit", "a.onnx"])
