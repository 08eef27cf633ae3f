"""``python -m safecompress`` is the command ``safecompress``: the same words, exit codes, gate files and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import safecompress
from whole_runs import write_spec

SCRIPT = [str(Path(sys.executable).with_name("safecompress"))]
MODULE = [sys.executable, "-m", "safecompress"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def ended(command, *arguments, folder):
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_its_version(tmp_path):
    assert ended(MODULE, "--version", folder=tmp_path).stdout == f"safecompress {safecompress.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"), [(["audit", "--help"], 0), (["audti"], 2)], ids=["help", "no such verb"]
)
def test_it_says_and_returns_what_the_script_does(arguments, code, tmp_path):
    script, module = (ended(command, *arguments, folder=tmp_path) for command in (SCRIPT, MODULE))
    assert module.returncode == code
    assert "safecompress" in module.stdout + module.stderr and "__main__" not in module.stdout + module.stderr
    assert (module.returncode, module.stdout, module.stderr) == (script.returncode, script.stdout, script.stderr)


@pytest.mark.slow
def test_it_leaves_the_same_gate_file(tmp_path):
    arguments = ("compress", "nowhere.toml", "--junit", "gate.xml", "--worker")  # refused before PyTorch loads
    files = []
    for command in (SCRIPT, MODULE):
        assert ended(command, *arguments, folder=tmp_path).returncode == 2
        files.append((tmp_path / "gate.xml").read_text(encoding="utf-8"))
        (tmp_path / "gate.xml").unlink()
    script, module = (re.sub(r'timestamp="[^"]*"', "", file) for file in files)
    assert module == script
    assert "No such option: --worker" in module


def test_ctrl_c_stops_it_and_says_how_to_resume(tmp_path):
    """The gate file appears once the program listens; a command of the module is to be typed as that of the script."""
    spec, gate = write_spec(tmp_path / "spec.toml"), tmp_path / "gate.xml"
    process = subprocess.Popen(
        [*MODULE, "compress", spec.name, "--junit", str(gate)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"safecompress compress spec.toml --junit {gate}" in err
    assert "stopped (Ctrl-C)" in gate.read_text(encoding="utf-8")
