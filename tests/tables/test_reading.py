"""Delimiters and encodings are found, and what is wrong with a file as a whole is listed."""

from pathlib import Path

import pytest

from safecompress.errors import DataError
from safecompress.tables import Table
from safecompress.tables.reading import detect_delimiter

ROWS = [["name", "town", "y"], ["Zoë", "Köln, am Rhein", "1"], ["Ann; B.", "Nîmes", "0"]]


def written(delimiter):
    return "\n".join(delimiter.join(f'"{cell}"' if set(cell) & set(",;") else cell for cell in row) for row in ROWS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_way_of_writing_a_file_reads_alike(delimiter, encoding, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(written(delimiter).encode(encoding))
    table = Table.read(path)
    assert [table.header, *table.rows] == ROWS
    assert (table.delimiter, table.lines) == (delimiter, [2, 3])
    assert (table.how_read is None) == (delimiter == "," and encoding.startswith("utf-8"))


def test_what_is_not_utf8_far_down_the_file_is_found_too(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"x,y\n" * 40_000 + "Köln,y\n".encode("cp1252"))
    table = Table.read(path)
    assert (table.encoding, table.rows[-1], len(table.rows)) == ("cp1252", ["Köln", "y"], 40_001)


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a;b\n", "1,5;2,5\n"], ";"),
        (["a,b\n", "x;y;z,2\n"], ","),
        (["a\n", "1;2\n"], ","),
        (["a,b,c\n", "1,2\n", "3,4\n"], ","),
        (["a;b,c\n", "1;2\n", "1;2\n"], ";"),
        ([], ","),
    ],
)
def test_the_delimiter_is_the_one_that_cuts_alike(lines, delimiter):
    assert detect_delimiter(lines) == delimiter


def test_the_line_that_excel_writes_first_is_no_header(tmp_path: Path):
    (tmp_path / "t.csv").write_text("sep=;\na;b\n1;2\n")
    table = Table.read(tmp_path / "t.csv")
    assert (table.header, table.lines) == (["a", "b"], [3])


def test_empty_columns_at_the_end_go_and_other_faults_are_listed_together(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a,b,,\n1,2,,\n3,4,,\n")
    assert Table.read(tmp_path / "t.csv").header == ["a", "b"]
    (tmp_path / "t.csv").write_text("a,a,\n1,2,3\n1,2\n4,5,6,7\n")
    table = Table.read(tmp_path / "t.csv")
    assert (table.header, table.lines) == (["a", "column 2", "column 3"], [2])
    with pytest.raises(DataError, match=r"2 faults\n.*1 name \(a\)(.|\n)*2 lines \(3, 4\)"):
        table.require_sound()
