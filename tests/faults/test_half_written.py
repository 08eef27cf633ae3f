"""What a killed process left half written: the next write of the same file deletes it, that of a living one stays."""

import os
import signal
import subprocess
import sys

import pytest

from patience import patience
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.certify import Ledger, Released
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.report.gate import GateFiles
from safecompress.storage import sweep_parts, write_bytes, write_json

PART = ".{}.0123456789abcdef.part"

WRITER = """
import os, sys, time
from pathlib import Path
from safecompress.storage import write_bytes
os.fsync = lambda handle: (print("half written", flush=True), time.sleep(9000))
write_bytes(Path(sys.argv[1]), b"new")
"""


def artifact():
    model = ModelSpec("mlp", {"hidden": (4,)}, (3,), 2)
    return Artifact(model.fresh(0).state_dict(), {}, model, TaskInfo(2, ("a", "b"), (3,)))


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing the file ``verdict.xml``."""
    command = [sys.executable, "-c", WRITER, tmp_path / "verdict.xml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half written\n"
        yield process
        process.kill()


def test_a_living_writer_keeps_its_file_and_a_killed_one_does_not(tmp_path, writer):
    (part,) = names(tmp_path)
    sweep_parts([tmp_path])
    write_bytes(tmp_path / "verdict.xml", b"another's")
    assert names(tmp_path) == sorted([part, "verdict.xml"])
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(patience(20))
    write_bytes(tmp_path / "verdict.xml", b"the next run's")
    assert names(tmp_path) == ["verdict.xml"]


def test_the_gate_sweeps_its_files_and_no_others(tmp_path):
    for name in ("gate.xml", "gate.sarif", "other.xml"):
        (tmp_path / PART.format(name)).write_text("half")
    for name in (".download.part", ".gate.xml.part", ".gate.xml.0123.part", "gate.xml.0123456789abcdef.part"):
        (tmp_path / name).write_text("theirs")
    GateFiles(tmp_path / "gate.xml", tmp_path / "gate.sarif").begin("artifact")
    assert PART.format("gate.xml") not in names(tmp_path) and PART.format("gate.sarif") not in names(tmp_path)
    assert len(names(tmp_path)) == 2 + 1 + 4


def test_an_opening_sweeps_beside_ledger_key_and_head(tmp_path, small_split):
    Ledger(tmp_path / "book.jsonl").open(small_split, artifact_digest="a", spec_digest="s", alpha=0.05)
    for name in ("book.jsonl", "book.head"):
        (tmp_path / PART.format(name)).write_text("half")
    Ledger(tmp_path / "book.jsonl").open(small_split, artifact_digest="b", spec_digest="s", alpha=0.05)
    assert names(tmp_path) == ["book.head", "book.jsonl", "book.key", "book.lock"]


def test_a_ledger_whose_key_was_half_written_begins_anew_and_clean(tmp_path, small_split):
    for name in ("book.jsonl", "book.head", "book.key"):
        (tmp_path / PART.format(name)).write_text("half")
    use = Ledger(tmp_path / "book.jsonl").open(small_split, artifact_digest="a", spec_digest="s", alpha=0.05)
    assert use.number == 1
    assert names(tmp_path) == ["book.head", "book.jsonl", "book.key", "book.lock"]


def test_a_release_sweeps_beside_its_list(tmp_path):
    artifact().save(tmp_path / "model.safetensors")
    (tmp_path / PART.format("list.jsonl")).write_text("half")
    Released(tmp_path / "list.jsonl").add(tmp_path / "model.safetensors")
    assert not list(tmp_path.glob("*.part")) and (tmp_path / "list.jsonl").exists()


def test_a_cache_that_is_named_is_swept(tmp_path):
    cache = PrivateFolder(tmp_path / "cache")
    cache.prepare()
    (tmp_path / "cache" / PART.format("0123.safetensors")).write_text("half of a shadow model")
    cache.prepare()
    assert names(tmp_path / "cache") == [".lock", "folder.key"]


def test_a_file_that_is_swept_before_it_is_held_is_begun_again(tmp_path, monkeypatch):
    """Another process may look between the making of the file and its lock."""
    real, swept = os.open, []

    def opened(path, flags, *mode):
        handle = real(path, flags, *mode)
        if flags & os.O_EXCL and not swept:
            swept.append(path)
            path.unlink()
        return handle

    monkeypatch.setattr(os, "open", opened)
    write_json(tmp_path / "a.json", [1])
    assert len(swept) == 1 and names(tmp_path) == ["a.json"]


def test_a_link_with_the_name_of_a_half_written_file_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / PART.format("a.json")).symlink_to(tmp_path / "theirs")
    write_json(tmp_path / "a.json", [1])
    assert (tmp_path / "theirs").read_text() == "precious"


@pytest.mark.parametrize("letters", ["x" * 240, "\N{SNOWMAN}" * 80, "\N{GRINNING FACE}" * 60])
def test_names_as_long_as_the_system_allows_can_be_written(tmp_path, letters):
    write_bytes(tmp_path / f"{letters}.xml", b"content")
    assert (tmp_path / f"{letters}.xml").read_bytes() == b"content"
