"""Datasets from the user's own files: .npz arrays and .csv tables, read strictly and never unpickled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from safecompress.data.channels import Channels
from safecompress.data.dataset import Dataset
from safecompress.data.memory import require_unpackable
from safecompress.errors import DataError, suggest
from safecompress.storage import open_regular
from safecompress.storage.packed import BROKEN_PACKING
from safecompress.tables import Roles, TableSurvey, survey_csv
from safecompress.tables.encode import encode


def read_npz(
    path: str | Path,
    *,
    label: str = "y",
    features: str = "x",
    group: str | None = None,
    class_names: Iterable[str] | None = None,
    channels: Channels | None = None,
) -> Dataset:
    """A dataset from the arrays called ``features``, ``label`` and perhaps ``group`` of an .npz file.

    Files: path, an .npz file of plain arrays.

    Shapes, dtypes, ``class_names`` and ``channels`` as in ``Dataset.from_arrays``. Raises DataError when the file
    cannot be read, lacks an array, or holds pickled objects.
    """
    names = [features, label] if group is None else [features, label, group]
    arrays = read_arrays(Path(path), names)
    groups = None if group is None else arrays[group]
    return Dataset.from_arrays(
        arrays[features],
        arrays[label],
        name=_stem(Path(path)),
        class_names=class_names,
        groups=groups,
        channels=channels,
    )


def read_arrays(
    path: Path, names: Iterable[str], *, optional: Iterable[str] = (), limit: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The arrays called ``names`` of the .npz file ``path``, and those of ``optional`` that it has.

    Raises DataError; objects (pickles) are refused unread, and so is a file that claims to unpack to more than
    ``limit`` bytes, or than the machine's memory.
    """
    require_unpackable(path, limit)
    try:
        with open_regular(path) as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} holds one bare array, not named ones. Write it with np.savez(path, x=..., y=...)."
                )
            absent = [name for name in names if name not in archive]
            if absent:
                raise DataError(f"{path} has no array {absent[0]!r}. {suggest(absent[0], archive.files)}")
            return {name: archive[name] for name in (*names, *(name for name in optional if name in archive))}
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except MemoryError as error:
        raise DataError(f"{path} claims arrays larger than this machine's memory ({error}). Copy it again.") from error
    except (ValueError, *BROKEN_PACKING) as error:
        raise DataError(
            f"{path} is not a whole .npz file of plain arrays ({error}). Write numbers or strings with "
            "np.savez; pickled objects (dtype object) are never opened."
        ) from error


def read_csv(
    path: str | Path,
    *,
    label: str,
    group: str | None = None,
    columns: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    date: Sequence[str] = (),
    text: str | Sequence[str] = (),
    missing: Sequence[str] = (),
    decimal: Literal[".", ","] | None = None,
    day_first: bool | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """A dataset from a table of text with a header; delimiter and encoding are detected.

    Files: path, a .csv, .csv.gz or .csv.xz file; cells separated by commas, semicolons, tabs or bars; UTF-8, UTF-16
    or Windows-1252.

    Every column but ``label``, ``group`` and those in ``ignore`` is a feature, or those in ``columns`` alone. A column
    of numbers is one feature, also of "1,234", "12,5" (``decimal`` settles which), "45%" (as 0.45) and "$3.50". A
    column of dates is its day, counted from 1970, and where there are times the second of the day (``day_first``
    settles 3/4/2020); one of unix times is found by its name, or named in ``date``. Any other column is one 0/1
    feature per category, in sorted order of the categories found in the whole file. ``categorical``, ``numeric``,
    ``date`` and ``text`` (64 features of words) say what a column is. Columns keep the file's order.

    Empty cells, NA, NaN, None, null, ``?`` and the words in ``missing`` are missing: such a column has one more feature
    that says so, and the median or the most frequent category of the train rows stands in, once rows are split.

    A column that looks like an identifier, a name or free text is refused until one of these lists names it.

    Labels are text: class names are the distinct values, sorted (by value when all are numbers; "1", "1.0" and "01" are
    one), or ``class_names``. A missing label or group is refused. Blanks around a cell do not count.

    Raises DataError that lists every fault of the file, by column and line.
    """
    roles = Roles(
        label, group, columns, ignore, categorical, numeric, date, text, missing, decimal, day_first, class_names
    )
    return dataset_of(survey_csv(path, roles))


def dataset_of(survey: TableSurvey) -> Dataset:
    """The rows of ``survey`` as a dataset, with zeros for missing cells. Raises DataError for its faults."""
    schema, table = survey.require_sound(), survey.table
    features, _ = encode(schema, {column.name: table.cells(column.name) for column in schema.columns})
    dataset = Dataset.from_arrays(
        features, survey.labels, name=_stem(table.path), class_names=survey.class_names, groups=survey.groups
    )
    return replace(dataset, table=schema)


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name
