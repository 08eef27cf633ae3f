"""CIFAR-10 from either of two layouts on disk: the same images, and files that are missing, broken or pickled."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.data import cifar10
from safecompress.data.vision import CLASSES
from safecompress.errors import DataError, UsageError

CIFAR10 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10"
TRAIN, TEST = [f"data_batch_{n}.bin" for n in range(1, 6)], ["test_batch.bin"]


def images(seed, count=100):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10


def write_binary(folder, names=(*TRAIN, *TEST)):
    for seed, name in enumerate(names):
        pixels, labels = images(seed)
        np.concatenate([labels[:, None], pixels.reshape(100, -1)], axis=1).tofile(folder / name)
    return folder


def write_sheets(folder):
    image = pytest.importorskip("PIL.Image")
    for seed, name in enumerate([*(f"train_{n}.npz" for n in range(5)), "test.npz"]):
        pixels, labels = images(seed)
        sheet = pixels.reshape(10, 10, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(320, 320, 3)
        content = io.BytesIO()
        image.fromarray(sheet).save(content, format="png")
        blob = np.frombuffer(content.getvalue(), dtype=np.uint8)
        np.savez(folder / name, blob=blob, off=np.array([0, len(blob)]), y=labels)
    return folder


@pytest.mark.parametrize("write", [write_binary, write_sheets])
@pytest.mark.parametrize(("part", "seeds"), [("train", range(5)), ("test", [5]), ("all", range(6))])
def test_both_layouts_give_the_images(tmp_path, write, part, seeds):
    data = cifar10(write(tmp_path), part=part)
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*map(images, seeds), strict=True))
    assert data.class_names == CLASSES and data.name == "cifar10"
    assert torch.equal(data.features, torch.from_numpy(pixels.astype(np.float32) / 255))
    assert data.labels.tolist() == labels.tolist()


def test_the_first_of_each_class(tmp_path):
    data = cifar10(write_binary(tmp_path), per_class=12)
    whole = cifar10(tmp_path)
    assert torch.bincount(data.labels).tolist() == [12] * 10
    rows = [row for label in range(10) for row in torch.nonzero(whole.labels == label)[:12, 0].tolist()]
    assert torch.equal(data.features, whole.features[sorted(rows)])
    for count in (0, 51):
        with pytest.raises(DataError, match=rf"per_class = {count} is out of range.*at least 50 images"):
            cifar10(tmp_path, per_class=count)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data_batch_1\.bin .* neither is there\. Nothing is downloaded\.$"):
        cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="pickled: take the binary one"):
        cifar10(tmp_path)
    write_binary(tmp_path, [name for name in TRAIN if name != "data_batch_3.bin"])
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin: copy the whole release"):
        cifar10(tmp_path)
    with pytest.raises(UsageError, match=r"part 'tran' is unknown\. Did you mean 'train'"):
        cifar10(tmp_path, part="tran")


def test_broken_files_are_named(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin has 307299 bytes.*cut short"):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blob": np.frombuffer(b"GIF89a of no kind", dtype=np.uint8), "off": np.array([0, 17])}, "no image"),
        ({"y": np.zeros(99, np.uint8)}, "100 images and 99 labels"),
    ],
)
def test_broken_sheets_are_named(tmp_path, change, message):
    write_sheets(tmp_path)
    with np.load(tmp_path / "test.npz") as stored:
        arrays = {**stored, **change}
    np.savez(tmp_path / "test.npz", **arrays)
    with pytest.raises(DataError, match=message):
        cifar10(tmp_path, part="test")


@pytest.mark.parametrize("name", ["y", "off", "blob"])
@pytest.mark.parametrize("change", [lambda a: a.astype(float), lambda a: a[None], lambda a: a.astype(str)])
def test_sheets_of_another_kind_are_named(tmp_path, name, change):
    write_sheets(tmp_path)
    arrays = dict(np.load(tmp_path / "test.npz"))
    np.savez(tmp_path / "test.npz", **{**arrays, name: change(arrays[name])})
    with pytest.raises(DataError, match=f"{name} is otherwise"):
        cifar10(tmp_path, part="test")


def test_labels_beyond_a_byte_do_not_come_round_again(tmp_path):
    write_sheets(tmp_path)
    arrays = dict(np.load(tmp_path / "test.npz"))
    np.savez(tmp_path / "test.npz", **{**arrays, "y": arrays["y"].astype(int) + 256})
    with pytest.raises(DataError, match="labels y from 0 to 9"):
        cifar10(tmp_path, part="test")


@pytest.mark.skipif(not (CIFAR10 / "test.npz").is_file(), reason=f"no test.npz in {CIFAR10}")
def test_cifar10_as_published():
    pytest.importorskip("PIL")
    data = cifar10(CIFAR10, part="test")
    assert (data.num_rows, data.input_shape) == (10000, (3, 32, 32))
    assert torch.bincount(data.labels).tolist() == [1000] * 10
    assert data.features.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.494, 0.485, 0.450], abs=0.001)
