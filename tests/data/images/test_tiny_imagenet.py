"""Tiny ImageNet in miniature: labels from its lists, and a release that is damaged in many ways."""

import os

import numpy as np
import pytest
import torch

from safecompress.data import tiny_imagenet
from safecompress.errors import DataError, UsageError

Image = pytest.importorskip("PIL.Image")
WNIDS = ("n03", "n01", "n02")


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "words.txt").write_text("n00\tanimal\nn01\tcrane\nn02\tgoldfish, Carassius auratus\nn03\tcrane, tower\n")
    for label, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for n in range(2):
            flat(root / "train" / wnid / "images" / f"{wnid}_{n}.JPEG", 10 * label + n)
    lines = []
    for n, wnid in enumerate(["n02", "n03", "n01"]):
        flat(root / "val" / "images" / f"val_{n}.JPEG", 100 + n, mode="L")
        lines.append(f"val_{n}.JPEG\t{wnid}\t0\t0\t9\t9")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def flat(path, value, side=64, mode="RGB"):
    Image.fromarray(np.full((side, side), value, dtype=np.uint8)).convert(mode).save(path, format="jpeg", quality=100)


def values(data):
    return (data.features.mean(dim=(1, 2, 3)) * 255).round().int().tolist()


def test_parts_and_labels_follow_the_lists(release):
    train = tiny_imagenet(release.parent)  # where the archive was unpacked, or the folder itself
    assert train.class_names == ("crane (n03)", "crane (n01)", "goldfish")
    assert (train.labels.tolist(), values(train)) == ([0, 0, 1, 1, 2, 2], [0, 1, 10, 11, 20, 21])
    validation = tiny_imagenet(release, part="val")
    assert (validation.labels.tolist(), values(validation)) == ([2, 0, 1], [100, 101, 102])
    both = tiny_imagenet(release, part="all")
    assert torch.equal(both.features, torch.cat([train.features, validation.features]))
    assert values(tiny_imagenet(release, per_class=1)) == [0, 10, 20]


def test_all_that_is_missing_is_named(tmp_path, release):
    with pytest.raises(UsageError, match=r"part 'test' .*Allowed: all, train, val"):
        tiny_imagenet(release, part="test")
    (release / "words.txt").unlink()
    (release / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"lacks words\.txt, val/val_annotations\.txt:.*holds 3 names"):
        tiny_imagenet(release, part="all")
    with pytest.raises(DataError, match=r"lacks wnids\.txt, words\.txt, train:"):
        (tmp_path / "other").mkdir()
        tiny_imagenet(tmp_path / "other")


def test_every_fault_of_the_lists_is_named_at_once(release):
    table = release / "val" / "val_annotations.txt"
    extra = ["val_0.JPEG\tn01\t0", "gone.JPEG\tn01\t0", "../../x.JPEG\tn01\t0", "val_1.JPEG\tn77\t0"]
    table.write_text(table.read_text() + "\n".join(extra) + "\n")
    flat(release / "val" / "images" / "unlisted.JPEG", 7)
    for file in (release / "train" / "n02" / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError) as caught:
        tiny_imagenet(release, part="all")
    for words in (
        "5 faults",
        "no image in 1 folder ('train/n02/images')",
        "lines of no image name and known wnid: 2 names ('../../x.JPEG', 'val_1.JPEG')",
        "images listed twice: 1 name ('val_0.JPEG')",
        "listed images that val/images lacks: 1 name ('gone.JPEG')",
        "images in val/images that are not listed: 1 name ('unlisted.JPEG')",
    ):
        assert words in str(caught.value)


def test_what_is_no_image_is_named_and_never_opened(release):
    images = release / "train" / "n01" / "images"
    (images / "._n01_0.JPEG").write_bytes(b"\0\5\x16\7")
    (images / "notes.txt").write_text("")
    if hasattr(os, "mkfifo"):
        os.mkfifo(release / "val" / "images" / "pipe.JPEG")
    with pytest.raises(DataError) as caught:
        tiny_imagenet(release, part="all")
    assert "hidden: 1 path ('train/n01/images/._n01_0.JPEG'). Delete" in str(caught.value)
    assert "read here: 1 path ('train/n01/images/notes.txt')" in str(caught.value)
    assert ("not readable: 1 path ('val/images/pipe.JPEG')" in str(caught.value)) == hasattr(os, "mkfifo")


def test_images_of_another_size_and_broken_ones_are_named_at_once(release):
    flat(release / "train" / "n01" / "images" / "n01_0.JPEG", 1, side=32)
    (release / "train" / "n02" / "images" / "n02_1.JPEG").write_bytes(b"\xff\xd8\xff\xe0 cut")
    with pytest.raises(DataError) as caught:
        tiny_imagenet(release)
    assert "whole images: 1 file ('train/n02/images/n02_1.JPEG'" in str(caught.value)
    assert "1 are 32 x 32 ('train/n01/images/n01_0.JPEG')" in str(caught.value)


def test_wnids_that_lead_out_of_the_folder_are_not_followed(release):
    (release / "wnids.txt").write_text("n01\n../../../..\nn02\n")
    with pytest.raises(DataError, match=r"1 folder \('train/\.\./\.\./\.\./\.\./images'\)"):
        tiny_imagenet(release)


def test_lists_that_are_no_lists(release):
    (release / "wnids.txt").write_text("n01\nn01\n")
    with pytest.raises(DataError, match=r"2 classes.*2 lines"):
        tiny_imagenet(release)
    (release / "words.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"words\.txt is no UTF-8 text"):
        tiny_imagenet(release)
