"""Tables and arrays from files: read strictly, faults named by column and line, nothing unpickled."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safecompress.data import read_csv, read_npz
from safecompress.errors import DataError

TABLE = """age, city,income,person,class
30,"Paris, France",1.5e3,ann,yes
41,Rome,-2,bob,no
 7 ,"Paris, France",0,ann,no
"""


@pytest.fixture
def write(tmp_path: Path):
    def inner(text: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return inner


# --- csv


def test_numbers_stay_and_text_becomes_one_column_per_category(write) -> None:
    data = read_csv(write(TABLE), label="class", group="person")
    assert data.features.tolist() == [[30, 1, 0, 1500], [41, 0, 1, -2], [7, 1, 0, 0]]
    assert (data.class_names, data.labels.tolist()) == (("no", "yes"), [1, 0, 0])
    assert data.groups.tolist() == [0, 1, 0]
    assert data.name == "table"


@pytest.mark.parametrize(
    ("name", "pack"),
    [("t.csv.xz", lzma.compress), ("t.csv.gz", gzip.compress), ("t.csv", lambda content: b"\xef\xbb\xbf" + content)],
)
def test_compressed_files_and_byte_order_marks_read_alike(write, name: str, pack) -> None:
    data = read_csv(write(pack(TABLE.encode()), name), label="class", group="person", ignore=["age", "city"])
    assert data.features.tolist() == [[1500], [-2], [0]]
    assert data.name == "t"


def test_columns_are_ignored_or_forced_to_be_categories(write) -> None:
    data = read_csv(write(TABLE), label="class", ignore=["person", "income"], categorical=["age"])
    assert data.features.tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]]  # 30, 41, 7, then cities


def test_a_question_mark_among_categories_is_a_missing_cell(write) -> None:
    data = read_csv(write("job,y\nnurse,0\n?,1\n,0\n"), label="y")
    assert data.features.tolist() == [[1, 0], [0, 1], [0, 1]]  # nurse, missing


def test_labels_of_digits_are_ordered_by_value_and_names_can_be_given(write) -> None:
    path = write("x,y\n1,10\n2,-1\n3,2\n")
    data = read_csv(path, label="y")
    assert (data.class_names, data.labels.tolist()) == (("-1", "2", "10"), [2, 0, 1])
    assert read_csv(path, label="y", class_names=["10", "2", "-1"]).labels.tolist() == [0, 2, 1]


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=5)
WORDS = CELLS.map(lambda cell: f"w{cell}\n\",;'{cell}")


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), WORDS, WORDS), min_size=2, max_size=8))
def test_what_the_csv_module_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    if len({row[2] for row in rows}) < 2:
        rows = [*rows, (0.0, "w", "another class")]
    text = io.StringIO()
    csv.writer(text).writerows([("number", "word", "label"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv.xz"
    path.write_bytes(lzma.compress(text.getvalue().encode()))
    data = read_csv(path, label="label")
    words = sorted({row[1] for row in rows})
    assert data.features[:, 0].tolist() == [row[0] for row in rows]
    assert [words[row.argmax()] for row in data.features[:, 1:]] == [row[1] for row in rows]
    assert [data.class_names[label] for label in data.labels] == [row[2] for row in rows]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read_csv(path, **{"label": "y", **options})
    return str(caught.value)


@pytest.mark.parametrize("hole", ["inf", "-Infinity"])
def test_infinite_numbers_name_the_column_and_the_lines(write, hole: str) -> None:
    message = refusal(write(f"a,age,y\n1,2,0\n1,{hole},1\n\n2,{hole},0\n3,3,1\n4,4,0\n"))
    assert "'age'" in message
    assert "2 lines (3, 5)" in message


def test_missing_labels_and_groups_name_the_lines(write) -> None:
    assert "'y'" in refusal(write("a,y\n1,0\n2,?\n3,1\n"))
    assert "1 line (3)" in refusal(write("a,y\n1,0\n2,\n3,1\n"))
    assert "'who'" in refusal(write("a,who,y\n1,x,0\n2,,1\n"), group="who")


def test_a_stray_word_in_a_column_of_numbers_is_not_taken_for_a_category(write) -> None:
    message = refusal(write("a,y\n1,0\n2,1\n3,0\n4k,1\n"))
    assert "1 line (5)" in message
    assert 'categorical = ["a"]' in message
    assert read_csv(write("a,y\n1,0\n2,1\n4k,1\n"), label="y", categorical="a").input_shape == (3,)


def test_a_column_of_names_is_not_one_hot_encoded(write) -> None:
    rows = "".join(f"person{i},{i % 2}\n" for i in range(1001))
    message = refusal(write("who,y\n" + rows))
    assert "1001 different texts" in message
    assert 'ignore = ["who"]' in message


def test_headers_and_rows_that_do_not_fit(write) -> None:
    assert "1 name (a)" in refusal(write("a,b,a,y\n1,2,3,0\n"))
    assert "repeated or empty" in refusal(write("a,,y\n1,2,0\n"))
    assert "mean 'class'?" in refusal(write(TABLE), label="Class")
    assert "mean 'person'?" in refusal(write(TABLE), label="class", group="persn")
    assert "mean 'age'?" in refusal(write(TABLE), label="class", ignore=["agee"])
    message = refusal(write("a,b,y\n1,2,0\n1,2\n1,2,3,4\n"))
    assert "needs 3 cells" in message
    assert "2 lines (3, 4)" in message


def test_lines_are_counted_as_an_editor_shows_them(write) -> None:
    assert "1 line (5)" in refusal(write('a,y\n"b\nc",0\n\nd,1,1\n'))


def test_one_column_one_role(write) -> None:
    assert "1 column (y)" in refusal(write("a,y\n1,0\n2,1\n"), ignore=["y"])
    assert "1 column (a)" in refusal(write("a,y\n1,0\n2,1\n"), ignore=["a"], categorical=["a"])
    assert "1 column (y)" in refusal(write("a,y\n1,0\n2,1\n"), group="y")
    assert "feature column is left" in refusal(write("a,y\n1,0\n2,1\n"), ignore=["a"])


def test_files_that_are_no_table(write, tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.csv")
    assert "least one row" in refusal(write("a,y\n"))
    assert "least one row" in refusal(write(""))
    assert "not a whole" in refusal(write('a,y\n"1,0\n'))
    assert "save the sheet as CSV" in refusal(write(b"PK\x03\x04 the rest of a spreadsheet"))
    assert "control characters" in refusal(write(b"a,y\n\x01\x02,0\n"))
    assert "not a whole" in refusal(write(lzma.compress(TABLE.encode())[:-20], "cut.csv.xz"))
    assert "not a whole" in refusal(write(gzip.compress(TABLE.encode())[:-20], "cut.csv.gz"))
    assert "gzip" in refusal(write(TABLE, "plain.csv.gz"))
    assert "not a whole" in refusal(write(TABLE, "plain.csv.xz"))


# --- npz


def test_npz_reads_arrays_by_name(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(8).reshape(4, 2), y=[0, 1, 1, 0], people=["a", "b", "a", "c"], t=["p", "q", "p", "q"])
    data = read_npz(path, group="people", class_names=["no", "yes"])
    assert (data.name, data.features.tolist()) == ("data", [[0, 1], [2, 3], [4, 5], [6, 7]])
    assert (data.labels.tolist(), data.class_names, data.groups.tolist()) == ([0, 1, 1, 0], ("no", "yes"), [0, 1, 0, 2])
    assert read_npz(str(path), label="t").class_names == ("p", "q")


def test_npz_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, features=np.zeros((2, 2)), y=[0, 1])
    with pytest.raises(DataError, match=r"array 'x'\. Allowed: features, y"):
        read_npz(path)
    with pytest.raises(DataError, match="No such file"):
        read_npz(tmp_path / "absent.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(DataError, match="one bare array"):
        read_npz(tmp_path / "bare.npy")
    for content in (b"", b"no archive", path.read_bytes()[:-40]):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"a whole \.npz"):
            read_npz(tmp_path / "broken.npz", features="features")


class Bomb:
    """Runs when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    bombs = np.empty(2, dtype=object)
    bombs[:] = [Bomb(), Bomb()]
    np.savez(path, x=bombs, y=[0, 1])
    with pytest.raises(DataError, match="never opened"):
        read_npz(path)


def test_tables_that_unpack_without_end_are_not_read_to_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("safecompress.tables.reading.MAX_LINE", 1000)
    path = tmp_path / "t.csv.xz"
    path.write_bytes(lzma.compress(b"a,b\n" + b"0" * 10_000))
    with pytest.raises(DataError, match="1,000 characters"):
        read_csv(path, label="b")
    monkeypatch.setattr("safecompress.tables.reading.MAX_CHARACTERS", 5000)
    path.write_bytes(lzma.compress(b"a,b\n" + b"0,1\n" * 10_000))
    with pytest.raises(DataError, match="lines over 5,000"):
        read_csv(path, label="b")


def claiming(path: Path, shape: tuple[int, ...]) -> Path:
    """An .npz file whose array x claims a shape and holds next to nothing."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member.getvalue() + bytes(64))
    return path


@pytest.mark.parametrize("count", [10**7, 10**14, 10**18])
def test_arrays_that_only_claim_to_be_large_are_refused(count: int, tmp_path: Path) -> None:
    path = claiming(tmp_path / "t.npz", (count, 8))
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_npz(path)


def test_archives_larger_than_memory_are_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    np.savez_compressed(tmp_path / "t.npz", x=np.zeros((100, 8)), y=np.arange(100) % 2)
    monkeypatch.setattr("os.sysconf", lambda name: 20)  # 20 pages of 20 bytes
    with pytest.raises(DataError, match=r"unpack to [0-9,]+ bytes, of which 80 are read"):
        read_npz(tmp_path / "t.npz")
