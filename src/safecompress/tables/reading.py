"""A delimited text file as rows of cells: encoding and delimiter are detected, and every row knows its line."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

from safecompress.errors import DataError, listing, suggest
from safecompress.storage.packed import BROKEN_PACKING, open_data

MAX_LINE, MAX_CHARACTERS = 2**24, 2**32
DELIMITERS = (",", ";", "\t", "|")
"""In the order in which they are preferred where a file could be read by several."""

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE_BYTES, SAMPLE_LINES = 1 << 16, 100

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SAID = re.compile(r"sep=(.)\r?\n?")  # what Excel writes in front of a header, and reads


@dataclass(frozen=True)
class Table:
    """Rows of text, all as long as the header. ``lines`` are the line numbers of the rows in the file, for messages.

    ``faults`` says what is wrong with the file as a whole: names of columns that are repeated or empty, rows of another
    length, which are left out. ``require_sound`` raises them.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str = ","
    encoding: str = "utf-8"
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table in a delimited text file with a header, plain, ``.gz`` or ``.xz``.

        Raises DataError for a file that cannot be read, is no text, or has no row under its header.
        """
        numbered, delimiter, encoding = read_rows(path)
        if len(numbered) < 2:
            raise DataError(f"{path} needs a header and at least one row, but has {len(numbered)} filled lines.")
        return cls.of(path, numbered, delimiter, encoding)

    @classmethod
    def of(
        cls, path: Path, numbered: list[tuple[list[str], int]], delimiter: str = ",", encoding: str = "utf-8"
    ) -> Table:
        """The table of numbered lines, the header first. What is wrong with them is in ``faults``."""
        header, body = numbered[0][0], numbered[1:]
        header, body = _without_empty_end(header, body)
        faults = []
        repeated = repeated_names(name for name in header if name)
        if repeated or "" in header:
            faults.append(
                f"columns need names that differ, but {listing('name', repeated or [repr('')])} are repeated or empty. "
                "Give every column one name in the first line."
            )
            header = _made_different(header)
        ragged = [line for row, line in body if len(row) != len(header)]
        if ragged:
            faults.append(
                f"every row needs {len(header)} cells, as the header has, but {listing('line', ragged)} have more or "
                f"fewer. Put cells that hold {DELIMITER_NAMES[delimiter]} in double quotes."
            )
        whole = [(row, line) for row, line in body if len(row) == len(header)]
        rows, lines = [row for row, _ in whole], [line for _, line in whole]
        return cls(path, header, rows, lines, delimiter, encoding, tuple(faults))

    @property
    def how_read(self) -> str | None:
        """How the file was read, where that was not by commas and UTF-8."""
        if self.delimiter == "," and self.encoding.startswith("utf-8"):
            return None
        return f"Read as {self.encoding} text, cells separated by {DELIMITER_NAMES[self.delimiter]}."

    def require_sound(self) -> Table:
        """This table. Raises DataError with all ``faults``."""
        if self.faults:
            raise DataError.from_faults(str(self.path), self.faults)
        return self

    def require(self, names: Iterable[str]) -> None:
        """Raise DataError for the first of ``names`` that is no column."""
        for name in names:
            if name not in self._places:
                raise DataError(f"{self.path} has no column {name!r}. {suggest(name, self.header)}")

    def cells(self, name: str) -> list[str]:
        """The text of one column."""
        place = self._places[name]
        return [row[place] for row in self.rows]

    @cached_property
    def _places(self) -> dict[str, int]:
        """The place of each column: a table of genes has tens of thousands."""
        return {name: place for place, name in enumerate(self.header)}


def repeated_names(header: Iterable[str]) -> list[str]:
    """The names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(header).items() if count > 1)


def read_rows(
    path: Path, *, delimiter: str | None = None, encoding: str | None = None
) -> tuple[list[tuple[list[str], int]], str, str]:
    """The filled rows of a delimited text file, each with its line number; the delimiter; and the encoding.

    Blanks around cells are cut. The file is plain, ``.gz`` or ``.xz``. Raises DataError when it cannot be read or is
    not whole.
    """
    try:
        encodings = _encodings(path) if encoding is None else [encoding]
        for last, tried in enumerate(encodings, 1 - len(encodings)):
            with contextlib.suppress(*(() if last == 0 else (UnicodeDecodeError,))):
                rows, found = _read_as(path, tried, delimiter)
                return rows, found, tried
        raise AssertionError("the last encoding reads or raises")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except (csv.Error, UnicodeError, *BROKEN_PACKING) as error:
        raise DataError(
            f"{path} is not a whole table of text ({error}). Check for an unclosed quote, a cut download, or another "
            "encoding, and write it anew."
        ) from error


def _encodings(path: Path) -> list[str]:
    """The encodings to try, in order. Raises csv.Error for what is no text."""
    with open_data(path) as file:
        sample = file.read(SAMPLE_BYTES)
    if sample.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise csv.Error("it is a spreadsheet or an archive: save the sheet as CSV")
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return [name]
    half = max(1, len(sample) // 2)
    for parity, name in ((1, "utf-16-le"), (0, "utf-16-be")):  # without a mark: every second byte of Latin text is 0
        if sample[parity::2].count(0) > 0.7 * half and sample[1 - parity :: 2].count(0) == 0:
            return [name]
    if any(byte < 32 and byte not in b"\t\n\r\f\x1a\x1b" for byte in sample):
        raise csv.Error("it holds control characters, as no text does")
    return ["utf-8", "cp1252", "latin-1"]


def _read_as(path: Path, encoding: str, delimiter: str | None) -> tuple[list[tuple[list[str], int]], str]:
    with open_data(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        lines = _lines(text)
        first = list(itertools.islice(lines, SAMPLE_LINES))
        said = _SAID.fullmatch(first[0]) if first else None
        skipped = 1 if said and said[1] in DELIMITERS else 0
        first = first[skipped:]
        found = delimiter or (said[1] if said and skipped else detect_delimiter(first))
        reader = csv.reader(itertools.chain(first, lines), delimiter=found, strict=True, skipinitialspace=found != "\t")
        rows = [([cell.strip() for cell in row], reader.line_num + skipped) for row in reader if row]
        return rows, found


def detect_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that cuts most of ``lines`` into as many cells as the first has, two at least; else a comma."""
    best, most = ",", 0.0
    for delimiter in DELIMITERS:
        rows = []
        with contextlib.suppress(csv.Error):  # what is wrong with a quote is said when all is read
            for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t"):
                rows.append(len(row))
        rows = [count for count in rows if count]
        share = sum(count == rows[0] for count in rows) / len(rows) if rows and rows[0] > 1 else 0.0
        if share > most:
            best, most = delimiter, share
    return best


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of ``file``, as long as they can be those of a table: a small file can unpack without end."""
    taken = 0
    while line := file.readline(MAX_LINE):
        taken += len(line)
        if len(line) == MAX_LINE or taken > MAX_CHARACTERS:
            raise csv.Error(f"a line has {MAX_LINE:,} characters or more, or all lines over {MAX_CHARACTERS:,}")
        yield line


def _without_empty_end(
    header: list[str], body: list[tuple[list[str], int]]
) -> tuple[list[str], list[tuple[list[str], int]]]:
    """Without the columns at the end that have no name and no cell: spreadsheets write delimiters for them."""
    num_named = max((place for place, name in enumerate(header, 1) if name), default=0)
    if num_named == len(header) or any(any(row[num_named:]) for row, _ in body):
        return header, body
    return header[:num_named], [(row[:num_named], line) for row, line in body]


def _made_different(header: list[str]) -> list[str]:
    """Names by which the rest of a faulty file can be looked through."""
    seen: set[str] = set()
    names = []
    for place, name in enumerate(header, 1):
        own = name if name and name not in seen else f"column {place}"
        names.append(own)
        seen.add(own)
    return names
