"""A private folder: only its owner reads it, its names tell nothing, it keeps its bound, and two may write at once."""

import hashlib
import hmac
import os
import pickle
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.errors import StorageError, UsageError
from safecompress.storage import Seal, read_tensors

NAME = "shadow 3 of something"


def tensors(value=1.0, count=100):
    return {"weight": torch.full((count,), float(value)), "step": torch.tensor(7)}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def keyed(folder, name):
    return hmac.digest((folder / "folder.key").read_bytes(), name.encode(), "sha256").hex()[:40]


def files(folder):
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "some" / "cache"


def test_what_was_saved_is_found_by_another_process_to_the_bit(folder):
    saved = tensors(float("nan")) | {"mask": torch.tensor([True, False]), "none": torch.empty(0, 3)}
    assert not PrivateFolder(folder).has(NAME)
    PrivateFolder(folder).save(NAME, saved)
    assert PrivateFolder(folder).has(NAME)
    loaded = PrivateFolder(folder).load(NAME)
    assert loaded.keys() == saved.keys()
    for key, tensor in saved.items():
        assert (loaded[key].dtype, loaded[key].shape) == (tensor.dtype, tensor.shape)
        assert loaded[key].numpy().tobytes() == tensor.numpy().tobytes()


def test_what_was_never_saved_is_none(folder):
    PrivateFolder(folder).save("another", tensors())
    assert PrivateFolder(folder).load(NAME) is None
    assert not PrivateFolder(folder).has(NAME)


def test_saving_again_replaces(folder):
    for value in (1.0, 2.0):
        PrivateFolder(folder).save(NAME, tensors(value))
    assert PrivateFolder(folder).load(NAME)["weight"][0] == 2.0
    assert len(files(folder)) == 1


# --- who reads it


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_only_the_owner_may_read_it(folder, umask):
    before = os.umask(umask)
    try:
        PrivateFolder(folder).save(NAME, tensors())
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert {mode(file) for file in files(folder)} == {0o600}
    assert mode(folder / "folder.key") == 0o600


@pytest.mark.parametrize("wrong", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused_and_left_as_it_is(folder, wrong):
    folder.mkdir(parents=True)
    folder.chmod(wrong)
    for use in (PrivateFolder(folder).prepare, lambda: PrivateFolder(folder).save(NAME, tensors())):
        with pytest.raises(UsageError, match="may be written to by others"):
            use()
    assert stat.S_IMODE(folder.stat().st_mode) == wrong
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_read_keeps_its_mode(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    PrivateFolder(folder).save(NAME, tensors())
    assert mode(folder) == 0o755
    assert {mode(file) for file in folder.iterdir() if file.name != ".lock"} == {0o600}


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        PrivateFolder(folder).prepare()
    assert list(folder.iterdir()) == []


def test_a_folder_with_other_files_is_refused(folder):
    folder.mkdir(parents=True, mode=0o700)
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files, such as thesis\.tex"):
        PrivateFolder(folder).prepare()
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_one_that_is_ours_is_taken_again_whatever_else_lies_there(folder):
    PrivateFolder(folder).prepare()
    (folder / "notes.txt").write_text("mine")
    PrivateFolder(folder).prepare()
    PrivateFolder(folder).save(NAME, tensors())


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_key_that_is_none_is_said(folder, content):
    PrivateFolder(folder).prepare()
    (folder / "folder.key").write_bytes(content)
    with pytest.raises(UsageError, match=r"folder\.key"):
        PrivateFolder(folder).load(NAME)


def test_names_are_keyed_with_a_secret_of_the_folder(tmp_path):
    """Somebody who guesses the name (which is made of a row's digest) cannot check the guess without the key."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        PrivateFolder(folder).save(NAME, tensors())
    keys = [(folder / "folder.key").read_bytes() for folder in (first, second)]
    names = [files(folder)[0].stem for folder in (first, second)]
    assert [len(key) for key in keys] == [32, 32]
    assert keys[0] != keys[1]
    assert names[0] != names[1]
    for digest in (hashlib.sha256, hashlib.blake2b, hashlib.sha1):
        assert not digest(NAME.encode()).hexdigest().startswith(names[0][:8])
    assert names == [keyed(folder, NAME) for folder in (first, second)]


def test_neither_names_nor_metadata_lie_in_the_files(folder):
    PrivateFolder(folder).save(NAME, tensors())
    content = files(folder)[0].read_bytes()
    assert b"shadow" not in content
    assert re.search(rb'"__metadata__":\{"seal":"[0-9a-f]{64}"\}', content)


# --- room


def size_of_one(folder):
    PrivateFolder(folder / "probe").save(NAME, tensors())
    return files(folder / "probe")[0].stat().st_size


def test_the_bound_is_kept_and_the_oldest_go_first(tmp_path):
    size = size_of_one(tmp_path)
    bounded = PrivateFolder(tmp_path / "cache", max_bytes=3 * size + 1)
    for number in range(5):
        bounded.save(str(number), tensors(number))
        age(bounded, str(number), number)
        assert sum(file.stat().st_size for file in files(tmp_path / "cache")) <= 3 * size + 1
    assert [bounded.has(str(number)) for number in range(5)] == [False, False, True, True, True]


def age(bounded, name, second):
    """Give a file its place in time, whatever the clock's grain."""
    os.utime(bounded.folder / f"{keyed(bounded.folder, name)}.safetensors", (1e9 + second, 1e9 + second))


def test_what_is_written_again_is_young_again(tmp_path):
    size = size_of_one(tmp_path)
    bounded = PrivateFolder(tmp_path / "cache", max_bytes=2 * size)
    for second, name in enumerate(["a", "b", "a"]):
        bounded.save(name, tensors())
        age(bounded, name, second)
    bounded.save("c", tensors())
    assert [bounded.has(name) for name in "abc"] == [True, False, True]


def test_without_a_bound_nothing_goes(folder):
    for number in range(20):
        PrivateFolder(folder).save(str(number), tensors())
    assert len(files(folder)) == 20


def test_what_was_written_last_stays_however_large(folder):
    bounded = PrivateFolder(folder, max_bytes=1)
    for number in range(3):
        bounded.save(str(number), tensors(number, count=1000 * (number + 1)))
        assert bounded.load(str(number))["weight"][0] == number
        assert len(files(folder)) == 1


def test_what_was_written_last_stays_where_the_clock_is_coarse(folder, monkeypatch):
    """Files within one tick of the file system's clock carry one time."""

    def write(self, path, *args):
        real(self, path, *args)
        os.utime(path, (1e9, 1e9))

    real = Seal.write_tensors
    monkeypatch.setattr(Seal, "write_tensors", write)
    bounded = PrivateFolder(folder, max_bytes=1)
    for number in range(12):
        bounded.save(str(number), tensors(number))
        assert bounded.load(str(number))["weight"][0] == number


def test_key_and_strangers_are_not_counted_and_not_deleted(folder):
    bounded = PrivateFolder(folder, max_bytes=1)
    bounded.save("a", tensors())
    (folder / "notes.txt").write_text("mine")
    bounded.save("b", tensors())
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "folder.key").exists()
    assert not bounded.has("a")


# --- several at once


@pytest.mark.parametrize("max_bytes", [None, 2000])
def test_writers_at_once_leave_whole_files_and_one_key(folder, max_bytes):
    """Four begin in an empty folder; every file is one that somebody wrote, and all agree on its name."""

    def write(number):
        for turn in range(8):
            mine = PrivateFolder(folder, max_bytes=max_bytes)
            mine.save(str(turn), tensors(turn))
            found = mine.load(str(turn))
            assert found is None or torch.equal(found["weight"], tensors(turn)["weight"])
        return (folder / "folder.key").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        keys = set(threads.map(write, range(4)))
    assert len(keys) == 1
    reader = PrivateFolder(folder)
    kept = [turn for turn in range(8) if reader.has(str(turn))]
    assert kept == list(range(8)) if max_bytes is None else 0 < len(kept) < 8
    assert all(torch.equal(reader.load(str(turn))["weight"], tensors(turn)["weight"]) for turn in kept)
    assert not list(folder.glob(".*.part"))
    assert {mode(file) for file in files(folder)} == {0o600}


def test_a_file_that_another_process_removes_at_once_is_no_error(folder, monkeypatch):
    def write(self, path, *args):
        real(self, path, *args)
        path.unlink()

    real = Seal.write_tensors
    monkeypatch.setattr(Seal, "write_tensors", write)
    PrivateFolder(folder).save(NAME, tensors())
    assert PrivateFolder(folder).load(NAME) is None


# --- what is broken


def flipped(content, bit):
    """The content with one bit turned."""
    altered = bytearray(content)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


@pytest.mark.parametrize("how", ["cut", "empty", "header", "pickle", "last bit", "without its seal"])
def test_a_broken_file_is_missing_and_is_made_anew(folder, how):
    PrivateFolder(folder).save(NAME, tensors())
    path = files(folder)[0]
    whole = path.read_bytes()
    unsealed = safetensors.torch.save(read_tensors(path)[0])
    broken = {
        "cut": whole[:-5],
        "empty": b"",
        "header": b"\xff" * 8 + whole[8:],
        "pickle": pickle.dumps({"weight": 1}),
        "last bit": flipped(whole, 8 * len(whole) - 1),
        "without its seal": unsealed,
    }
    path.write_bytes(broken[how])
    assert not PrivateFolder(folder).has(NAME)
    assert PrivateFolder(folder).load(NAME) is None
    PrivateFolder(folder).save(NAME, tensors())
    assert path.read_bytes() == whole or PrivateFolder(folder).has(NAME)


def test_no_bit_of_a_file_can_be_turned(folder):
    private = PrivateFolder(folder)
    private.save(NAME, {"w": torch.ones(2)})
    path = files(folder)[0]
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        path.write_bytes(flipped(whole, bit))
        assert private.load(NAME) is None, bit
    path.write_bytes(whole)
    assert private.has(NAME)


def test_a_file_under_another_name_or_from_another_folder_is_missing(folder, tmp_path):
    other = PrivateFolder(tmp_path / "other")
    private = PrivateFolder(folder)
    for where in (private, other):
        where.save("a", tensors(1.0))
        where.save("b", tensors(2.0))
    for source in (keyed(folder, "b"), keyed(tmp_path / "other", "a")):
        found = next(tmp_path.rglob(f"{source}.safetensors")).read_bytes()
        (folder / f"{keyed(folder, 'a')}.safetensors").write_bytes(found)
        assert private.load("a") is None
    assert private.load("b")["weight"][0] == 2.0


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file stands where"):
        PrivateFolder(tmp_path / "file").save(NAME, tensors())


def test_a_disk_that_refuses_leaves_what_was_there(folder, monkeypatch):
    PrivateFolder(folder).save(NAME, tensors(1.0))

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No room left"):
        PrivateFolder(folder).save(NAME, tensors(2.0))
    assert PrivateFolder(folder).load(NAME)["weight"][0] == 1.0
    assert {path.name for path in Path(folder).iterdir()} == {files(folder)[0].name, "folder.key", ".lock"}
