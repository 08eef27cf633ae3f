"""Files are whole or absent, whatever the disk does; what is no safetensors file is refused unread."""

import errno
import os
import pickle
import stat
import struct
from pathlib import Path

import pytest
import torch

from safecompress.errors import ArtifactError, StorageError
from safecompress.storage import PUBLISHED, read_json, read_tensors, write_bytes, write_json, write_tensors

OLD, NEW = b"the old content", b"something new and longer"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "state.bin"
    write_bytes(path, OLD)
    return path


def assert_untouched(path):
    assert path.read_bytes() == OLD
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def fail_with(error):
    def fail(*args, **kwargs):
        raise error

    return fail


class FullFile:
    """A file on a disk that fills up in the middle of a write."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, content):
        self.file.write(content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")


def break_write(monkeypatch, error):
    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *args: FullFile(real(*args)))


STAGES = {
    "write": break_write,
    "fsync": lambda monkeypatch, error: monkeypatch.setattr(os, "fsync", fail_with(error)),
    "replace": lambda monkeypatch, error: monkeypatch.setattr(Path, "replace", fail_with(error)),
    "open": lambda monkeypatch, error: monkeypatch.setattr(os, "open", fail_with(error)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new(stage, path, monkeypatch):
    STAGES[stage](monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StorageError, match=r"No room .*state\.bin.* intact"):
        write_bytes(path, NEW)
    assert_untouched(path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "Permission denied.. Choose"),
        (errno.EROFS, "not be written"),
        (errno.EIO, "Input/output error.. .*intact"),
    ],
)
def test_what_the_system_refused_is_said(code, message, path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(OSError(code, os.strerror(code))))
    with pytest.raises(StorageError, match=message):
        write_bytes(path, NEW)
    assert_untouched(path)


def test_an_interrupted_write_leaves_no_part(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, NEW)
    assert_untouched(path)


def test_a_reader_sees_the_old_file_until_the_new_one_is_on_the_disk(path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            events.append(("folder", path.read_bytes()))
            return
        events.append(("fsync", path.read_bytes()))
        real_fsync(handle)

    def replace(self, target):
        events.append(("replace", path.read_bytes()))
        assert self.read_bytes() == NEW and self.parent == path.parent  # a rename, not a copy between disks
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_bytes(path, NEW)
    assert events == [("fsync", OLD), ("replace", OLD), ("folder", NEW)] and path.read_bytes() == NEW


def test_folders_are_made_and_modes_are_set(tmp_path):
    path = tmp_path / "a" / "b" / "key"
    write_bytes(path, b"k")
    assert path.stat().st_mode & 0o777 == 0o600
    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            write_bytes(path, b"k", mode=PUBLISHED)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == mode
    long = tmp_path / ("n" * 200)
    write_bytes(long, b"x")
    assert long.read_bytes() == b"x"


def test_a_file_in_a_folder_s_place_is_explained(path):
    with pytest.raises(StorageError, match="file stands where"):
        write_bytes(path / "inside", NEW)
    assert_untouched(path)
    with pytest.raises(StorageError):
        write_bytes(path.parent, NEW)
    assert_untouched(path)


def test_json_goes_to_a_file_and_back(tmp_path):
    value = {"z": [1, 2.5, None, "é"], "a": {"deep": True}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert text.index('"z"') < text.index('"a"') and "é" in text and text.endswith("}\n")


def test_json_without_numbers_for_what_is_none(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"auc": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe{}", b"{} {}"])
def test_broken_json_is_an_artifact_error(content, tmp_path):
    if content is not None:
        (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"value\.json (is not JSON|cannot be read)"):
        read_json(tmp_path / "value.json")


TENSORS = {
    "fc.weight": torch.tensor([[1.5, -0.0], [float("inf"), float("nan")]]),
    "mask": torch.tensor([True, False]),
    "count": torch.tensor(7),
    "half": torch.tensor([1.0], dtype=torch.bfloat16),
    "none": torch.empty(0, 3),
}


def test_tensors_go_to_a_file_and_back_to_the_bit(tmp_path):
    write_tensors(tmp_path / "t.safetensors", TENSORS, {"step": "5"})
    tensors, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"step": "5"} and tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype and tensor.shape == TENSORS[name].shape
        same = tensor.reshape(-1).view(torch.uint8), TENSORS[name].reshape(-1).view(torch.uint8)
        assert torch.equal(*same)
    write_tensors(tmp_path / "t.safetensors", {"w": TENSORS["fc.weight"].t().requires_grad_()})
    tensors, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {} and torch.equal(tensors["w"].nan_to_num(), TENSORS["fc.weight"].t().nan_to_num())


def test_a_file_truncated_anywhere_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {"step": "5"})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match="whole safetensors file"):
            read_tensors(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ArtifactError):
        read_tensors(path)


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_is_refused_unread(how, tmp_path):
    path, target = tmp_path / "weights.pt", tmp_path / "exploded"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(target)))
    else:
        torch.save({"weight": Bomb(target)}, path)
    with pytest.raises(ArtifactError, match=r"Pickled checkpoints .* are never opened"):
        read_tensors(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))
    assert target.exists()  # the bomb is live


def with_header(header, body=b""):
    return struct.pack("<Q", len(header)) + header + body


@pytest.mark.parametrize(
    "content",
    [
        with_header(b"[]"),
        with_header(b'{"a": 1}'),
        with_header(b"\xff\xff"),
        with_header(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"\0" * 4),
        struct.pack("<Q", 2**62) + b"{}",
    ],
    ids=["list", "number", "no-utf8", "short-data", "huge-header"],
)
def test_a_header_that_does_not_add_up_is_refused(content, tmp_path):
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"t\.safetensors is not a whole"):
        read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize(("dtype", "num_bytes"), [("F8_E8M0", 2), ("F4", 1)])
def test_a_type_that_pytorch_lacks_is_named(dtype, num_bytes, tmp_path):
    header = f'{{"a": {{"dtype": "{dtype}", "shape": [2], "data_offsets": [0, {num_bytes}]}}}}'
    (tmp_path / "t.safetensors").write_bytes(with_header(header.encode(), b"\0" * num_bytes))
    with pytest.raises(ArtifactError, match=f"holds tensors of type '{dtype}', which PyTorch lacks"):
        read_tensors(tmp_path / "t.safetensors")


def test_metadata_that_is_null_is_empty(tmp_path):
    (tmp_path / "t.safetensors").write_bytes(with_header(b'{"__metadata__": null}'))
    assert read_tensors(tmp_path / "t.safetensors") == ({}, {})


def test_a_missing_file_and_a_folder_are_artifact_errors(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(ArtifactError, match=r"read .*Check the path"):
            read_tensors(path)
