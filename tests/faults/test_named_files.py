"""Files that a user names: links are followed, and what is no regular file is neither read nor written over."""

import os
import socket
import stat
from functools import partial
from pathlib import Path

import pytest

from safecompress.certify import Ledger, Released
from safecompress.config import load_config
from safecompress.data.tabular.files import read_csv, read_npz
from safecompress.data.text.files import read_texts
from safecompress.errors import DataError, SpecError, StorageError, UsageError
from safecompress.report.gate import GateFiles
from safecompress.storage import PUBLISHED, read_json, write_bytes


def pipe(path):
    os.mkfifo(path)


def listener(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def circle(path):
    other = path.with_name("other")
    other.symlink_to(path)
    path.symlink_to(other)


KINDS = {"pipe": pipe, "socket": listener, "circle of links": circle, "folder": os.mkdir}


@pytest.fixture(params=KINDS)
def strange(request, tmp_path, monkeypatch):
    """Something that is no regular file, by a short path: those of sockets have at most 107 letters."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "strange.xml"
    KINDS[request.param](path.relative_to(tmp_path) if request.param == "socket" else path)
    return path


def test_it_is_not_written_over(strange):
    before = os.lstat(strange)
    with pytest.raises(StorageError, match=r"strange\.xml is not written over \(.*Name another file"):
        write_bytes(strange, b"content", mode=PUBLISHED)
    with pytest.raises(StorageError):
        GateFiles(strange).begin("artifact")
    after = os.lstat(strange)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert {path.name for path in strange.parent.iterdir()} <= {"strange.xml", "other"}


def test_it_is_no_ledger_and_no_list(strange):
    names = sorted(strange.parent.iterdir())
    for record in (Ledger, Released):
        with pytest.raises(UsageError, match=r"strange\.xml cannot be the l"):
            record(strange)
    assert sorted(strange.parent.iterdir()) == names


def test_it_is_not_waited_for(tmp_path):
    """Whoever opens a pipe to read waits for somebody who writes."""
    for name in ("spec.toml", "rows.csv", "rows.csv.gz", "texts.jsonl", "rows.npz"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(SpecError, match="it is a pipe"):
        load_config(tmp_path / "spec.toml")
    for name, read in (
        ("rows.csv", partial(read_csv, label="y")),
        ("rows.csv.gz", partial(read_csv, label="y")),
        ("rows.npz", read_npz),
        ("texts.jsonl", partial(read_texts, only=("text",))),
    ):
        with pytest.raises(DataError, match="it is a pipe, and no regular file"):
            read(tmp_path / name)


def test_an_endless_device_is_not_read():
    with pytest.raises(DataError, match="it is a device"):
        read_csv("/dev/zero", label="y")
    with pytest.raises(Exception, match="it is a device"):
        read_json(Path("/dev/zero"))


def test_a_link_stays_a_link_and_what_it_names_is_written(tmp_path):
    real, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    real.parent.mkdir()
    link.symlink_to(real)
    for content in (b"first", b"second"):
        write_bytes(link, content)
        assert link.is_symlink()
        assert (real.read_bytes(), stat.S_ISLNK(os.lstat(link).st_mode)) == (content, True)
    assert [path.name for path in real.parent.iterdir()] == ["real.txt"]


def test_two_users_of_one_ledger_count_together(tmp_path, small_split):
    """Each has a link to it in a folder of their own: the second gets opening 2, the third 3."""
    shared = tmp_path / "shared" / "ledger.jsonl"
    Ledger(shared).open(small_split, artifact_digest="0", spec_digest="s", alpha=0.05)
    numbers = []
    for user in ("ann", "bob"):
        link = tmp_path / user / "book.jsonl"
        link.parent.mkdir()
        link.symlink_to(shared)
        numbers.append(Ledger(link).open(small_split, artifact_digest=user, spec_digest="s", alpha=0.05).number)
        assert [path.name for path in link.parent.iterdir()] == ["book.jsonl"]
    assert numbers == [2, 3]
    assert len(shared.read_bytes().splitlines()) == 3


def test_a_ledger_of_two_names_is_refused(tmp_path, small_split):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    Ledger(first).open(small_split, artifact_digest="0", spec_digest="s", alpha=0.05)
    second.hardlink_to(first)
    for path in (first, second):
        with pytest.raises(UsageError, match="has 2 names"):
            Ledger(path)
