"""A folder for each class: what is read, in which order, and everything that is refused, at once."""

import os
import struct
import sys
import zlib

import numpy as np
import pytest
import torch

from safecompress.config import parse_config
from safecompress.data import image_folder
from safecompress.errors import DataError, UsageError

Image = pytest.importorskip("PIL.Image")


def picture(seed, width=6, height=4):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(root, files, **size):
    """One image for each of ``files``, another for each place in the list."""
    for seed, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, **size)).save(root / name)
    return root


def message(root, **options):
    with pytest.raises(DataError) as caught:
        image_folder(root, **options)
    return str(caught.value)


def test_images_come_in_the_order_of_their_names(tmp_path):
    write(tmp_path, ["dog/b.png", "dog/a.BMP", "cat/2.png", "cat/10.png", "cat/1.webp"])
    data = image_folder(tmp_path)
    assert (data.class_names, data.labels.tolist()) == (("cat", "dog"), [0, 0, 0, 1, 1])
    assert (data.name, data.input_shape) == (tmp_path.name, (3, 4, 6))
    for row, seed in ((1, 3), (2, 2), (3, 1), (4, 0)):  # 1.webp is row 0, and lossy
        assert torch.equal(data.features[row], torch.from_numpy(picture(seed).transpose(2, 0, 1) / np.float32(255)))


def test_the_first_of_each_class(tmp_path):
    write(tmp_path, [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(3)])
    assert torch.equal(image_folder(tmp_path, per_class=2).features, image_folder(tmp_path).features[[0, 1, 3, 4]])
    assert "per_class = 4 is" in message(tmp_path, per_class=4)


def test_size_takes_the_central_square(tmp_path):
    write(tmp_path, ["cat/wide.png"], width=9, height=3)
    write(tmp_path, ["dog/high.png"], width=3, height=7)
    data = image_folder(tmp_path, size=3)
    wide, high = picture(0, width=9, height=3)[:, 3:6], picture(0, width=3, height=7)[2:5]
    assert torch.equal(data.features[0], torch.from_numpy(wide.transpose(2, 0, 1) / np.float32(255)))
    assert torch.equal(data.features[1], torch.from_numpy(high.transpose(2, 0, 1) / np.float32(255)))


def test_a_smaller_size_averages(tmp_path):
    for name, value in (("cat", 0), ("dog", 255)):
        (tmp_path / name).mkdir()
        checks = np.indices((64, 96)).sum(0) % 2 * 255 if name == "cat" else np.full((64, 96), value)
        Image.fromarray(checks.astype(np.uint8)).save(tmp_path / name / "a.png")
    data = image_folder(tmp_path, size=8)
    assert data.features[0].sub(0.5).abs().max() < 0.02
    assert (data.features[1] == 1).all()


def test_a_large_jpeg_is_reduced_as_it_is_decoded(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 256, dtype=np.uint8), (256, 1))
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(ramp).save(tmp_path / name / "a.jpg", quality=95)
    first, again = image_folder(tmp_path, size=16), image_folder(tmp_path, size=16)
    wanted = torch.linspace(0, 1, 256).reshape(16, 16).mean(1).expand(3, 16, 16)
    assert torch.equal(first.features, again.features)
    assert (first.features[0] - wanted).abs().max() < 0.02


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_modes_of_eight_bits_become_red_green_blue(mode, tmp_path):
    write(tmp_path, ["cat/a.png"])
    (tmp_path / "dog").mkdir()
    suffix = "jpg" if mode == "CMYK" else "png"
    options = {"transparency": 0} if mode == "P" else {}
    Image.fromarray(picture(1)).convert(mode).save(tmp_path / "dog" / f"a.{suffix}", **options)
    assert image_folder(tmp_path).input_shape == (3, 4, 6)


def test_sizes_that_differ_are_counted_and_named(tmp_path):
    write(tmp_path, ["cat/a.png", "cat/b.png", "cat/c.png"])
    write(tmp_path, ["dog/a.png", "dog/b.png"], width=5)
    told = message(tmp_path)
    assert "3 are 6 x 4 ('cat/a.png', 'cat/b.png'), 2 are 5 x 4" in told
    assert "Give size = N" in told
    assert image_folder(tmp_path, size=4).num_rows == 5


def test_everything_that_does_not_belong_is_named_in_one_error(tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png", "loose.png", "cat/deep/a.png"])
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "dog" / ".a.png").write_bytes(b"")
    (tmp_path / "dog" / "notes.txt").write_text("good")
    (tmp_path / "empty").mkdir()
    told = message(tmp_path)
    assert told.startswith(f"{tmp_path}: 5 faults\n")
    for words in (
        "hidden: 2 paths ('.DS_Store', 'dog/.a.png'). Delete them",
        "outside a class folder: 1 path ('loose.png')",
        "folders in a class folder: 1 path ('cat/deep')",
        "not of the kinds read here: 1 path ('dog/notes.txt')",
        "class folders without an image: 1 path ('empty')",
    ):
        assert words in told
    assert image_folder(tmp_path, ignore=[".*", "*.txt", "empty", "loose.*", "deep"]).num_rows == 2


def test_broken_files_are_named_with_the_reason(tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png", "dog/b.png", "dog/c.png"])
    (tmp_path / "dog" / "a.png").write_bytes(b"no image")
    whole = (tmp_path / "dog" / "b.png").read_bytes()
    (tmp_path / "dog" / "b.png").write_bytes(whole[:60])
    (tmp_path / "cat" / "b.png").write_bytes(b"")
    told = message(tmp_path)
    assert "no whole images: 3 files ('cat/b.png': cannot identify image file it, 'dog/a.png'" in told
    assert "Copy them again" in told


def test_sixteen_bits_are_refused_not_cut(tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png"])
    Image.fromarray(np.full((4, 6), 40000, dtype=np.uint16)).save(tmp_path / "dog" / "b.png")
    assert "8 bits (mode I;16)" in message(tmp_path)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [9_000, 60_000, 2**31 - 1])
def test_a_size_that_is_only_claimed_takes_no_memory(side, tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png"])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "dog" / "b.png").write_bytes(bomb)
    assert "1 file ('dog/b.png': " in message(tmp_path, size=4)


def test_more_pixels_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    write(tmp_path, ["cat/a.png", "dog/a.png"])
    monkeypatch.setattr("os.sysconf", lambda name: 20)  # 20 pages of 20 bytes
    told = message(tmp_path)
    assert "2 x 4 x 6 x 3" in told
    assert "(per_class), or smaller ones (size)" in told


def test_a_decoder_that_was_not_asked_for_is_not_run(tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png"])
    (tmp_path / "dog" / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EOF\n")
    assert "'dog/b.png': cannot identify image" in message(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_links_and_pipes_do_no_harm(tmp_path):
    root = write(tmp_path / "root", ["cat/a.png", "dog/a.png"])
    elsewhere = write(tmp_path / "elsewhere", ["x.png"])
    (root / "owl").symlink_to(elsewhere, target_is_directory=True)
    (root / "cat" / "b.png").symlink_to(elsewhere / "x.png")
    assert image_folder(root).labels.tolist() == [0, 0, 1, 2]
    (root / "dog" / "up").symlink_to(root, target_is_directory=True)
    (root / "dog" / "gone.png").symlink_to(root / "gone")
    (root / "dog" / "round.png").symlink_to(root / "dog" / "round.png")
    (root / "dog" / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "dog" / "pipe.png")
    told = message(root)
    assert "class folder: 1 path ('dog/up')" in told
    assert "not readable: 4 paths ('dog/gone.png', 'dog/pipe.png', 'dog/round.png', 'dog/zero.png')" in told


@pytest.mark.skipif(sys.platform == "win32", reason="names that only POSIX allows")
def test_names_cannot_reach_the_terminal(tmp_path):
    write(tmp_path, ["cat/a.png", "dog/a.png", "\x1b[31mred/a.png"])
    (tmp_path / os.fsdecode(b"\xff\xfe")).mkdir()
    told = message(tmp_path)
    assert "hold: 2 paths" in told
    assert "\x1b" not in told
    told.encode()


def test_a_folder_that_is_none(tmp_path):
    assert "(No such file" in message(tmp_path / "nowhere")
    assert "0 class folders," in message(tmp_path)
    write(tmp_path, ["train/cat/a.png", "train/dog/a.png"])
    assert "level too high?" in message(tmp_path)


def test_a_spec_names_the_folder_from_where_it_lies(tmp_path):
    write(tmp_path / "photos", [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(3)])
    (tmp_path / "photos" / "Thumbs.db").write_text("")
    spec = """
    name = "photos"
    data = { source = { name = "image_folder", root = "photos", size = 4, ignore = ["Thumbs.db"] } }
    model = { name = "mlp" }
    safety = { attacks = ["loss"] }
    require = [{ metric = "accuracy", at_least = 0.5 }]
    """
    data = parse_config(spec, base=tmp_path, source="spec").load_dataset()
    assert (data.name, data.num_rows, data.input_shape) == ("photos", 6, (3, 4, 4))


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_sizes_have_limits(size, tmp_path):
    with pytest.raises(UsageError, match=r"size.*pixels, 1 \.\. 4096"):
        image_folder(tmp_path, size=size)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    write(tmp_path, ["cat/a.png", "dog/a.png"])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"needs Pillow, .* pip install pillow"):
        image_folder(tmp_path)
