"""Hostile and broken files of data: refused in words, in time, and in bounded memory.

``SAFECOMPRESS_SOAK=N`` tries N altered files of each reader in place of 40.
"""

import gzip
import io
import json
import lzma
import os
import random
import time
import zipfile

import numpy as np
import pytest

from patience import patience
from safecompress.data.tabular.files import read_csv, read_npz
from safecompress.data.text.files import read_texts
from safecompress.errors import DataError, UsageError

NUM_FILES = int(os.environ.get("SAFECOMPRESS_SOAK", "40"))


def test_a_table_of_a_hundred_thousand_columns_takes_seconds(tmp_path):
    """Gene tables have such widths. A header that is looked through for every column takes hours."""
    path, names = tmp_path / "genes.csv", [f"g{number}" for number in range(100_000)]
    rows = [",".join([*(str((row * 7 + column) % 10) for column in range(100_000)), "ab"[row % 2]]) for row in range(2)]
    path.write_text("\n".join([",".join([*names, "y"]), *rows]) + "\n")
    began = time.monotonic()
    assert read_csv(path, label="y").stored.shape[1:] == (100_000,)
    assert time.monotonic() - began < patience(20)
    path.write_text(",".join([*names, "g7"]) + "\n" + ",".join(["1"] * 100_001) + "\n")
    with pytest.raises(DataError, match="g7"):
        read_csv(path, label="g1")
    assert time.monotonic() - began < patience(30)


def npz():
    file = io.BytesIO()
    np.savez_compressed(file, x=np.arange(40.0, dtype=np.float32).reshape(10, 4), y=np.arange(10) % 2)
    return file.getvalue()


def with_flag(content, bit):
    """The zip with a bit of every member's flags set, in both of its tables."""
    altered = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = altered.find(mark)
        while place >= 0:
            altered[place + offset] |= bit
            place = altered.find(mark, place + 4)
    return bytes(altered)


def with_method(content, method):
    altered = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = altered.find(mark)
        while place >= 0:
            altered[place + offset : place + offset + 2] = method.to_bytes(2, "little")
            place = altered.find(mark, place + 4)
    return bytes(altered)


def lzma_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name in ("x", "y"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + bytes(200))
    content = bytearray(file.getvalue())
    content[60:90] = b"\xff" * 30
    return bytes(content)


ARCHIVES = {
    "encrypted": with_flag(npz(), 1),
    "patched": with_flag(npz(), 0x20),
    "an odd method": with_method(npz(), 97),
    "LZMA that is none": with_method(npz(), 14),
    "BZIP2 that is none": with_method(npz(), 12),
    "broken LZMA": lzma_zip(),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_that_cannot_be_unpacked_are_refused_in_words(tmp_path, kind):
    path = tmp_path / "rows.npz"
    path.write_bytes(ARCHIVES[kind])
    with pytest.raises(DataError, match=r"rows\.npz"):
        read_npz(path)


CSV = "a,b,label\n" + "".join(f"{n},{n % 3},{'xy'[n % 2]}\n" for n in range(30))
JSONL = "".join(json.dumps({"text": f"a film {n}", "label": n % 2}) + "\n" for n in range(20))


def parquet():
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    file = io.BytesIO()
    table = arrow.table({"text": [f"a film {n}" for n in range(20)], "label": [n % 2 for n in range(20)]})
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


READERS = {
    "rows.csv": (lambda: CSV.encode(), lambda path: read_csv(path, label="label")),
    "rows.csv.gz": (lambda: gzip.compress(CSV.encode(), mtime=0), lambda path: read_csv(path, label="label")),
    "rows.csv.xz": (lambda: lzma.compress(CSV.encode()), lambda path: read_csv(path, label="label")),
    "rows.npz": (npz, read_npz),
    "texts.csv": (lambda: CSV.encode(), lambda path: read_texts(path, ("label",))),
    "texts.tsv": (lambda: CSV.replace(",", "\t").encode(), lambda path: read_texts(path, ("label",))),
    "texts.jsonl": (lambda: JSONL.encode(), lambda path: read_texts(path, ("text", "label"))),
    "texts.jsonl.gz": (
        lambda: gzip.compress(JSONL.encode(), mtime=0),
        lambda path: read_texts(path, ("text", "label")),
    ),
    "texts.parquet": (parquet, lambda path: read_texts(path, ("text", "label"))),
}


def altered(content, chance):
    """The file with one to four random edits: bytes turned, cut, doubled, or put in."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(content) or 1), chance.choice([1, 1, 2, 8, 100])
        how = chance.random()
        if how < 0.4:
            content[place : place + 1] = bytes([chance.randrange(256)])
        elif how < 0.6:
            del content[place : place + length]
        elif how < 0.8:
            content[place:place] = content[place : place + length]
        else:
            content[place:place] = chance.choice([b"\x00", b"\xff" * 8, b'"', b",", b"\n", b"[" * 200, b"NaN"])
    return bytes(content)


@pytest.mark.parametrize("name", READERS)
def test_altered_files_are_read_or_refused_in_words(tmp_path, name):
    make, read = READERS[name]
    whole, chance, counts = make(), random.Random(18), {"read": 0, "refused": 0}
    path = tmp_path / name
    for number in range(NUM_FILES):
        path.write_bytes(altered(whole, chance))
        try:
            read(path)
        except UsageError:
            counts["refused"] += 1
        except Exception as error:
            pytest.fail(f"file {number} of {name}: {type(error).__name__}: {error}")
        else:
            counts["read"] += 1
    print(name, counts)
    assert counts["refused"] > 0
