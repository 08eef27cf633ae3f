"""Files of texts: tables with commas or tabs, and JSON lines, plain or compressed; each is read strictly."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from safecompress.data.text.columnar import read_parquet, read_saved_dataset
from safecompress.data.text.table import TextTable
from safecompress.errors import DataError, listing, suggest
from safecompress.storage import parse_json
from safecompress.storage.packed import BROKEN_PACKING, open_data
from safecompress.tables.reading import repeated_names

COMPRESSED = (".gz", ".xz")

Only = Collection[str]


def read_texts(path: Path, only: Only, *, header: Sequence[str] | None = None) -> TextTable:
    """The columns ``only`` of a file or saved dataset, as far as it has them; its ending says what it is.

    ``header`` names the columns of a table that has no first line with names. Raises DataError for a file that is
    broken or of an unknown kind, UsageError where it takes a package that is not installed.
    """
    if path.is_dir():
        return read_saved_dataset(path, only)
    kind = kind_of(path)
    if kind is None:
        raise DataError(
            f"{path} is of no kind that texts are read from. {suggest(path.suffix, [*KINDS, '.parquet'])} A table or "
            f"JSON lines may be compressed ({', '.join(COMPRESSED)})."
        )
    if kind == ".parquet":
        return read_parquet(path, only)
    table = KINDS[kind](path, header)
    columns = {name: cells for name, cells in table.columns.items() if name in only}
    return TextTable.of_file(path, columns, table.place_N.tolist(), column_names=table.names)


def kind_of(path: Path) -> str | None:
    """The ending that says what a file is (without .gz or .xz), or None for one that is not known."""
    end = path.suffix.lower()
    kind = Path(path.stem).suffix.lower() if end in COMPRESSED else end
    return kind if kind in KINDS or (kind == ".parquet" and end == kind) else None


def is_json_lines(path: Path) -> bool:
    """Whether a file's ending says that it holds one JSON object a line."""
    kind = kind_of(path)
    return kind is not None and KINDS.get(kind) is _json_lines


def is_without_header(path: Path) -> bool:
    """Whether the first cell of a comma-separated table is a whole number, so that its first line names nothing."""
    with _text(path) as file:
        first = next(csv.reader(file), [""])
    return bool(first) and first[0].strip().lstrip("-").isdigit()


def _comma_table(path: Path, header: Sequence[str] | None) -> TextTable:
    with _text(path) as file:
        return _table(path, csv.reader(file, strict=True), header, "Put cells that hold a comma in double quotes.")


def _tab_table(path: Path, header: Sequence[str] | None) -> TextTable:
    with _text(path) as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return _table(path, reader, header, "A tab inside a text must become a blank; quotes do not protect it.")


def _table(path: Path, reader: Any, header: Sequence[str] | None, advice: str) -> TextTable:
    numbered = [(row, reader.line_num) for row in reader if row]
    names = list(header) if header is not None else [cell.strip() for cell in (numbered.pop(0)[0] if numbered else [])]
    if not numbered:
        raise DataError(f"{path} needs {'a header and ' if header is None else ''}at least one row, but has none.")
    repeated = repeated_names(names)
    if repeated or "" in names:
        raise DataError(
            f"The columns of {path} need names that differ, but {listing('name', repeated or [repr('')])} are repeated "
            "or empty. Correct the first line, or give the names of a file that has none as columns."
        )
    ragged = [line for row, line in numbered if len(row) != len(names)]
    if ragged:
        raise DataError(
            f"Every row of {path} needs {len(names)} cells ({', '.join(names)}), but {listing('line', ragged)} have "
            f"more or fewer. {advice}"
        )
    columns = {name: [row[place] for row, _ in numbered] for place, name in enumerate(names)}
    return TextTable.of_file(path, columns, [line for _, line in numbered])


def _json_lines(path: Path, header: Sequence[str] | None) -> TextTable:
    if header is not None:
        raise DataError(f"{path} names its fields line by line: leave columns out.")
    rows: list[dict[str, Any]] = []
    places, broken, reason = [], [], ""
    with _text(path) as file:
        for line, content in enumerate(file, 1):
            if not content.strip():
                continue
            try:
                row = parse_json(content, is_strict=False)
                if not isinstance(row, dict):
                    raise ValueError(f"a line must be one object in braces, not {type(row).__name__}")
            except ValueError as error:
                broken.append(line)
                reason = reason or str(error)
                continue
            rows.append(row)
            places.append(line)
    if broken:
        raise DataError(
            f"{path} must hold one JSON object a line, but {listing('line', broken)} are none ({reason}). Write them "
            'as {"text": ..., "label": ...}.'
        )
    if not rows:
        raise DataError(f"{path} needs at least one row, but has none.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return TextTable.of_file(path, {name: [row.get(name) for row in rows] for name in names}, places)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """The open file as UTF-8. Raises DataError for whatever goes wrong while it is read."""
    try:
        with open_data(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield text
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except (csv.Error, *BROKEN_PACKING) as error:
        raise _cut_short(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} must be UTF-8, but {listing('line', _undecodable(path))} are not ({error.reason}). Write the file "
            "anew in UTF-8, from the encoding that it is in."
        ) from error


def _undecodable(path: Path) -> list[int]:
    """The numbers of lines that are no UTF-8."""
    lines = []
    try:
        with open_data(path) as file:
            for line, content in enumerate(file, 1):
                try:
                    content.decode("utf-8")
                except UnicodeDecodeError:
                    lines.append(line)
    except (OSError, *BROKEN_PACKING) as error:
        raise _cut_short(path, error) from error
    return lines


def _cut_short(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a whole file of its kind ({error}). Check for an unclosed quote, a cut download or a cell of "
        f"more than {csv.field_size_limit()} letters; JSON lines have no such limit."
    )


KINDS: dict[str, Callable[[Path, Sequence[str] | None], TextTable]] = {
    ".csv": _comma_table,
    ".tsv": _tab_table,
    ".jsonl": _json_lines,
    ".json": _json_lines,
    ".ndjson": _json_lines,
}
