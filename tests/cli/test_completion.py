"""What the shell is offered after TAB."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safecompress.cli._support.complete import artifacts, dataset_names, model_names, spec_files


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("people.toml", "pets.toml", "people.csv", "model.onnx", ".hidden.toml", "specs/deep.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def test_specs_artifacts_and_folders_are_offered(home):
    assert spec_files("") == ["people.toml", "pets.toml", "specs/"]
    assert spec_files("pe") == ["people.toml", "pets.toml"]
    assert spec_files("specs") == ["specs/"]
    assert spec_files("specs/") == spec_files("specs/d") == ["specs/deep.toml"]
    assert spec_files(f"{home}/peo") == [f"{home}/people.toml"]
    assert spec_files(".h") == [".hidden.toml"]
    assert spec_files("nowhere/x") == spec_files("people.csv/") == []
    assert artifacts("m") == ["model.onnx"]


def test_names_are_offered(home):
    assert dataset_names("dig") == ["digits"]
    assert "people.csv" in dataset_names("peo")
    assert "mlp" in model_names("") and model_names("ml") == ["mlp"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("safecompress comp", {"compress", "compare"}),
        ("safecompress s", set()),  # "search" is the hidden former name of "tune"
        ("safecompress compress pe", {"people.toml", "pets.toml"}),
        ("safecompress audit model.onnx --spec peo", {"people.toml"}),
        ("safecompress audit --ju", {"--junit"}),
    ],
)
def test_a_shell_is_answered(line, offered, home):
    """As bash asks: the program itself, with the line in the environment."""
    words = line.split(" ")
    asked = {"_SAFECOMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("safecompress")],
        env={**os.environ, **asked},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.slow
def test_completion_is_turned_on(home):
    done = subprocess.run(
        [Path(sys.executable).with_name("safecompress"), "--show-completion", "bash"],
        env={**os.environ, "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_SAFECOMPRESS_COMPLETE=complete_bash" in done.stdout
