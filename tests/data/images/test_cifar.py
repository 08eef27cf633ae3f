"""CIFAR-10 and CIFAR-100 from any of three layouts: the same images, and files that are missing, broken or pickled."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.data import cifar10, cifar100
from safecompress.data.images.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES, COARSE_OF_FINE, SUPERCLASSES
from safecompress.errors import DataError, UsageError

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
CIFAR10, CIFAR100 = DATA / "cifar10", DATA / "cifar100"
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


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_binary, write_sheets])
@pytest.mark.parametrize(("part", "seeds"), [("train", range(5)), ("test", [5]), ("all", range(6))])
def test_the_layouts_give_the_images(tmp_path, write, part, seeds):
    data = cifar10(write(tmp_path), part=part)
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*map(images, seeds), strict=True))
    assert data.class_names == CIFAR10_CLASSES and data.name == "cifar10"
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
    with pytest.raises(DataError, match=r"data_batch_1\.bin .*empty\..*downloaded\.$"):
        cifar10(tmp_path)
    with pytest.raises(DataError, match=r"listed \(No such"):
        cifar10(tmp_path / "nowhere")
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match=r"holds 1 name \('data_batch_1'\).*pickled:"):
        cifar10(tmp_path)
    write_binary(tmp_path, [name for name in TRAIN if name != "data_batch_3.bin"])
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin:"):
        cifar10(tmp_path)
    with pytest.raises(UsageError, match=r"part 'tran'.*'train'"):
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


@pytest.mark.slow
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
    with pytest.raises(DataError, match="y from 0 to 9"):
        cifar10(tmp_path, part="test")


def write_folders(root, part, classes, side=32, name=str):
    image = pytest.importorskip("PIL.Image")
    pixels, _ = images(len(part), count=len(classes) * 2)
    for row, (picture, label) in enumerate(zip(pixels, np.arange(len(pixels)) % len(classes), strict=True)):
        folder = root / part / name(classes[label])
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(picture.transpose(1, 2, 0)[:side, :side]).save(folder / f"{row:03}.png")
    return root


@pytest.mark.parametrize("name", [str, lambda c: str(CIFAR10_CLASSES.index(c))], ids=["names", "numbers"])
def test_folders_of_png(tmp_path, name):
    write_folders(tmp_path, "train", CIFAR10_CLASSES, name=name)
    write_folders(tmp_path, "test", CIFAR10_CLASSES, name=name)
    data = cifar10(tmp_path, part="all")
    assert torch.bincount(data.labels).tolist() == [4] * 10
    pixels, _ = images(len("train"), count=20)
    row = int((data.labels == 3).nonzero()[0])  # cat: the files 003.png and 013.png
    assert torch.equal(data.features[row], torch.from_numpy(pixels[3].astype(np.float32) / 255))
    assert cifar10(tmp_path, part="test", per_class=1).num_rows == 10


def test_every_fault_of_png_folders_is_named_at_once(tmp_path):
    write_folders(tmp_path, "train", [*CIFAR10_CLASSES[:8], "lorry"])
    (tmp_path / "train" / "cat" / "notes.txt").write_text("meow")
    with pytest.raises(DataError) as caught:
        cifar10(tmp_path)
    for words in ("2 of 10 class folders are missing: ship, truck", "no classes of CIFAR-10: 'lorry'", "notes.txt"):
        assert words in str(caught.value)


def test_png_of_another_size_is_no_cifar(tmp_path):
    write_folders(tmp_path, "train", CIFAR10_CLASSES, side=28)
    with pytest.raises(DataError, match=r"32 x 32 pixels,.*20.*28 x 28 \('airplane/000.*no images.*CIFAR"):
        cifar10(tmp_path)


def test_a_label_that_no_class_has_is_named(tmp_path):
    write_binary(tmp_path)
    content = np.fromfile(tmp_path / "test_batch.bin", dtype=np.uint8)
    content[3073 * 7] = 10
    content.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(DataError, match=r"under 10,.*1.*100 images.*\(image 7: \[10\]\)"):
        cifar10(tmp_path, part="test")


def test_the_folder_of_the_archive_is_found(tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    write_binary(tmp_path / "cifar-10-batches-bin")
    assert cifar10(tmp_path).num_rows == 500


def test_sheets_that_claim_to_unpack_without_end_are_not_unpacked(tmp_path, monkeypatch):
    write_sheets(tmp_path)
    monkeypatch.setattr("safecompress.data.images.sheets.MAX_BYTES", 1000)
    with pytest.raises(DataError, match=r"unpack to [0-9,]+ bytes.* 1,000 "):
        cifar10(tmp_path, part="test")


# --- CIFAR-100 ---


def hundred(seed, count=200):
    """Images and fine labels; two images are equal within a part, and one is in both parts."""
    pixels, _ = images(seed, count)
    pixels[1], pixels[3] = pixels[0], images(999, 1)[0][0]
    return pixels, (np.arange(count) % 100).astype(np.uint8)


def write_hundred(folder, change=lambda records: records):
    for seed, name in enumerate(["train.bin", "test.bin"]):
        pixels, fine = hundred(seed)
        coarse = np.array(COARSE_OF_FINE, dtype=np.uint8)[fine]
        change(np.concatenate([coarse[:, None], fine[:, None], pixels.reshape(200, -1)], axis=1)).tofile(folder / name)
    return folder


def test_cifar100_fine_and_coarse(tmp_path):
    fine = cifar100(write_hundred(tmp_path), part="all", duplicates=True)
    pixels, labels = hundred(0)
    assert (fine.num_rows, fine.class_names) == (400, CIFAR100_CLASSES)
    assert torch.equal(fine.features[:200], torch.from_numpy(pixels.astype(np.float32) / 255))
    assert fine.labels[:200].tolist() == labels.tolist()
    coarse = cifar100(tmp_path, part="all", duplicates=True, labels="coarse")
    assert coarse.class_names == tuple(SUPERCLASSES)
    for row in (0, 7, 399):
        assert CIFAR100_CLASSES[fine.labels[row]] in SUPERCLASSES[coarse.class_names[coarse.labels[row]]]


@pytest.mark.parametrize(("part", "lost"), [("train", [0, 1]), ("all", [0, 1, 3, 200, 201, 203])])
def test_no_copy_stays_of_images_that_occur_twice(tmp_path, part, lost):
    whole = cifar100(write_hundred(tmp_path), part=part, duplicates=True)
    kept = [row for row in range(whole.num_rows) if row not in lost]
    assert torch.equal(cifar100(tmp_path, part=part).features, whole.features[kept])


def test_cifar100_refuses_what_it_is_not(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR-100 is expected .* as train\.bin \.\. test\.bin"):
        cifar100(tmp_path)
    (tmp_path / "test").mkdir()  # of PNG, and no pickle
    with pytest.raises(DataError, match=r"Nothing is downloaded\.$"):
        cifar100(tmp_path)
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(DataError, match="pickled: take"):
        cifar100(tmp_path)
    write_hundred(tmp_path, change=lambda records: records[:, [1, 0, *range(2, 3074)]])
    with pytest.raises(DataError, match=r"under 20.*100,.*160.*200"):
        cifar100(tmp_path)
    with pytest.raises(UsageError, match=r"labels 'course'.*'coarse'"):
        cifar100(tmp_path, labels="course")


def test_the_sheets_of_another_data_set_are_told(tmp_path):
    with pytest.raises(DataError, match=r"10.*100 classes.*CIFAR-100: test\.npz"):
        cifar100(write_sheets(tmp_path), part="test")


def test_cifar100_sheets_go_on_as_far_as_there_are_files_and_their_marks_count(tmp_path):
    write_sheets(tmp_path)  # train_0 .. train_4
    for n in range(5):
        arrays = dict(np.load(tmp_path / f"train_{n}.npz"))
        labels, marks = np.arange(100, dtype=np.uint8), np.arange(100) == n
        np.savez(tmp_path / f"train_{n}.npz", **{**arrays, "y": labels, "dup": marks})
    assert torch.bincount(cifar100(tmp_path).labels).tolist() == [4] * 5 + [5] * 95
    assert cifar100(tmp_path, duplicates=True).num_rows == 500
    (tmp_path / "train_3.npz").unlink()
    with pytest.raises(DataError, match=r"lacks train_3\.npz"):
        cifar100(tmp_path)
    np.savez(tmp_path / "train_3.npz", **{**arrays, "dup": np.zeros(99, bool)})
    with pytest.raises(DataError, match=r"dup \(100,\).* bool \(99,\)"):
        cifar100(tmp_path)


def test_the_hundred_classes():
    assert len(CIFAR100_CLASSES) == len(set(CIFAR100_CLASSES)) == 100
    assert {len(members) for members in SUPERCLASSES.values()} == {5}
    assert CIFAR100_CLASSES[::33] == ("apple", "forest", "raccoon", "worm")
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)


# --- as published ---


@pytest.mark.skipif(not (CIFAR10 / "test.npz").is_file(), reason=f"no test.npz in {CIFAR10}")
def test_cifar10_as_published():
    pytest.importorskip("PIL")
    data = cifar10(CIFAR10, part="test")
    assert (data.num_rows, data.input_shape) == (10000, (3, 32, 32))
    assert torch.bincount(data.labels).tolist() == [1000] * 10
    assert data.features.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.494, 0.485, 0.450], abs=0.001)


@pytest.mark.skipif(not (CIFAR100 / "test.npz").is_file(), reason=f"no test.npz in {CIFAR100}")
def test_cifar100_as_published():
    pytest.importorskip("PIL")
    data = cifar100(CIFAR100, part="test", per_class=90)
    assert (data.num_rows, data.input_shape, data.num_classes) == (9000, (3, 32, 32), 100)
    with np.load(CIFAR100 / "test.npz") as stored:
        num_marked = int(stored["dup"].sum())
    assert cifar100(CIFAR100, part="test").num_rows == 10000 - num_marked < 10000
