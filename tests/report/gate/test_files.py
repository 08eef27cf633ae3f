"""The files say "not finished" first, are whole or gone, and never an earlier run's."""

import json
import subprocess
import sys

import pytest
from lxml import etree
from made_reports import REPORTS

from safecompress.errors import StorageError, UsageError
from safecompress.report.gate import GateFiles, GateOutcome

PASSES = GateOutcome.of_report(REPORTS["PASS"], "a.onnx")


def both(folder):
    return GateFiles(folder / "out" / "gate.xml", folder / "out" / "gate.sarif")


def test_they_begin_with_an_error_in_place_of_an_earlier_verdict(tmp_path):
    files = both(tmp_path)
    files.write(PASSES)
    assert etree.parse(files.junit).getroot().get("errors") == "0"
    files.begin("a.onnx")
    (error,) = etree.parse(files.junit).iter("error")
    assert "has not finished" in error.get("message")
    (run,) = json.loads(files.sarif.read_text())["runs"]
    assert len(run["results"]) == 1 and not run["invocations"][0]["executionSuccessful"]


def test_where_one_cannot_be_written_the_other_does_not_pass(tmp_path):
    (tmp_path / "file").write_text("")
    files = GateFiles(tmp_path / "gate.xml", tmp_path / "file" / "gate.sarif")
    with pytest.raises(StorageError, match=r"gate\.sarif"):
        files.write(PASSES)
    (error,) = etree.parse(files.junit).iter("error")
    assert "StorageError" in error.get("message")


def test_what_cannot_be_written_anew_is_not_left_as_it_was(tmp_path, monkeypatch):
    files = GateFiles(tmp_path / "gate.xml")
    files.write(PASSES)

    def full(path, content, **mode):
        raise StorageError("No room left")

    monkeypatch.setattr("safecompress.report.gate.files.write_bytes", full)
    with pytest.raises(StorageError, match="No room left"):
        files.begin("a.onnx")
    assert not files.junit.exists()


@pytest.mark.parametrize(
    ("option", "name"),
    [("junit", "model.safetensors"), ("junit", "spec.toml"), ("junit", ".xml.onnx"), ("sarif", "report.json")],
)
def test_a_slip_of_the_keyboard_writes_over_nothing(option, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="never written over"):
        GateFiles(**{option: path})
    assert path.read_bytes() == b"precious"


def test_no_file_is_asked_for_and_none_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GateFiles().begin("a")
    GateFiles().write(PASSES)
    assert list(tmp_path.iterdir()) == []


def test_they_are_written_without_pytorch(tmp_path):
    """So they can say "not finished" at once, and a machine that cannot load it still says so."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom safecompress.report.gate import GateFiles\nimport safecompress.cli.main\n"
        f"GateFiles(Path({str(tmp_path / 'gate.xml')!r})).begin('a')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "gate.xml").is_file()
