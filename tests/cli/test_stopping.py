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

STOPS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
def test_while_it_loads(tmp_path, number):
    """The gate speaks before PyTorch loads, and an interrupted import is no fault of ours and no FAIL."""
    gate = tmp_path / "gate.xml"
    process = start_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run", "--junit", gate)
    until = time.monotonic() + patience(30)
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.005)
    assert "has not finished" in gate.read_text()
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "run the same command again to resume" in err
    assert f"stopped ({STOPS[number]})" in gate.read_text()


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


@pytest.mark.parametrize("number", STOPS)
def test_the_second_ends_it_at_once(number):
    process = subprocess.Popen([sys.executable, "-c", SLOW_TO_STOP], stdout=subprocess.PIPE, text=True)
    for word in ("ready", "stopping"):
        assert process.stdout.readline().strip() == word
        process.send_signal(number)
    assert process.wait(patience(20)) == 128 + number
    process.stdout.close()


@pytest.mark.parametrize("number", STOPS)
def test_an_error_that_a_library_made_of_it_is_told_from_others(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), listening() as stop:
        assert not stop.was_asked
        signal.raise_signal(number)
    assert stop.was_asked
    assert stop.exit_code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", STOPS)
def test_where_it_is_ignored_it_stays_so(number):
    """As Ctrl-C is in a shell's background job, and SIGHUP under ``nohup``."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with listening() as stop:
            signal.raise_signal(number)
        assert not stop.was_asked
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_terminal_that_was_closed_hides_neither_the_code_nor_the_gate(tmp_path):
    """After SIGHUP nobody reads what is printed, and printing is refused."""
    gate = tmp_path / "gate.xml"
    code = f"""
import os, signal, sys
from safecompress.cli import main as entry
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
entry.register = lambda: signal.raise_signal(signal.SIGHUP)
sys.argv = ["safecompress", "compress", "x.toml", "--junit", {str(gate)!r}]
entry.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 129
    assert "stopped (SIGHUP)" in gate.read_text()


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
