"""Texts from Parquet files, and from datasets that Hugging Face ``datasets`` saved to a folder; read with pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safecompress.data.text.table import TextTable
from safecompress.errors import DataError, UsageError
from safecompress.storage import open_regular, parse_json, read_regular

STATE = "state.json"
"""What marks the folder of one saved dataset."""

MAX_FACTS = 16 << 20
"""Bytes of a file about a dataset."""


def read_parquet(path: Path, only: Collection[str]) -> TextTable:
    """The columns ``only`` of a Parquet file, as far as it has them. Raises DataError for a broken file."""
    parquet = _pyarrow(path, "parquet")
    try:
        names = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=[name for name in names if name in only], use_threads=False)
        table.validate(full=True)
    except Exception as error:
        raise _broken(path, error) from error
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    return _as_table(path, table, names, _parsed(path, metadata) if metadata else {}, ("info", "features"))


def read_saved_dataset(folder: Path, only: Collection[str]) -> TextTable:
    """The columns ``only`` of a dataset that ``save_to_disk`` wrote: ``state.json`` lists its Arrow streams.

    The files are read as they are; ``datasets`` is not needed and runs nothing. Raises DataError for a broken folder.
    """
    ipc = _pyarrow(folder, "ipc")
    state = _parsed(folder / STATE, _content(folder / STATE))
    listed = state.get("_data_files") or []
    files = [str(entry.get("filename")) for entry in listed if isinstance(entry, Mapping)]
    if not files or any(Path(name).name != name for name in files):
        raise DataError(f"{folder / STATE} must name the dataset's files, in this folder; it has {listed!r}.")
    if state.get("_indices_data_files"):
        raise DataError(f"{folder} holds a selection of rows apart from its data. Save dataset.flatten_indices().")
    tables, names = [], []
    for name in files:
        try:
            with open_regular(folder / name) as file:
                whole = ipc.open_stream(file).read_all()
            whole.validate(full=True)  # else offsets of a broken file point past its end, and reading them is a crash
        except Exception as error:
            raise _broken(folder / name, error) from error
        names = whole.column_names
        tables.append(whole.select([column for column in names if column in only]))
    import pyarrow

    about = folder / "dataset_info.json"
    facts = _parsed(about, _content(about)) if about.is_file() else {}
    return _as_table(folder, pyarrow.concat_tables(tables), names, facts, ("features",))


def _as_table(path: Path, table: Any, column_names: list[str], described: Any, where: tuple[str, ...]) -> TextTable:
    for key in where:
        described = described.get(key) if isinstance(described, Mapping) else None
    described = described if isinstance(described, Mapping) else {}
    class_names = {
        name: tuple(map(str, feature["names"]))
        for name, feature in described.items()
        if name in table.column_names and isinstance(feature, Mapping) and isinstance(feature.get("names"), list)
    }
    if table.num_rows == 0:
        raise DataError(f"{path} needs at least one row, but has none.")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return TextTable.of_file(path, columns, column_names=column_names, names_by_column=class_names)


def _pyarrow(path: Path, part: str) -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"Reading {path} needs pyarrow, which is not installed. Install it: pip install pyarrow"
        ) from error
    return getattr(pyarrow, part)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, at_most=MAX_FACTS)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Copy the whole folder.") from error


def _parsed(path: Path, content: bytes) -> Any:
    """A JSON object. Raises DataError."""
    try:
        parsed = parse_json(content)
        if not isinstance(parsed, dict):
            raise ValueError("no object in braces")
    except ValueError as error:
        raise DataError(f"What {path} says of its dataset is no JSON ({error}). Write it anew.") from error
    return parsed


def _broken(path: Path, error: Exception) -> DataError:
    """pyarrow raises many kinds of error, and some are only a message."""
    return DataError(f"{path} cannot be read ({error}). Check for a cut download, and write it anew.")
