"""Datasets from the user's own files: .npz arrays and .csv tables, read strictly and never unpickled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safecompress.data.channels import Channels
from safecompress.data.dataset import Dataset, listing
from safecompress.data.memory import require_unpackable
from safecompress.data.opened import BROKEN_PACKING
from safecompress.data.tabular.table import Table, in_order
from safecompress.errors import DataError, suggest
from safecompress.storage import open_regular


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
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    class_names: Iterable[str] | None = None,
) -> Dataset:
    """A dataset from a comma-separated UTF-8 table with a header, plain or compressed.

    Files: path, a .csv, .csv.gz or .csv.xz file.

    Every column but ``label``, ``group`` and those in ``ignore`` is a feature. A column of numbers is one
    feature; any other column, and those in ``categorical``, becomes one 0/1 feature per category, in sorted
    order of the categories found in the whole file (``?`` or an empty cell is a category of its own there).
    Columns keep the file's order. Labels are text: class names are the distinct values, sorted (by value when
    all are numbers), or ``class_names``. Blanks around a cell do not count. Raises DataError for a table that
    is ragged, has missing numbers, mixes numbers and text in a column, repeats or lacks a column.
    """
    table = Table.read(Path(path))
    skipped, forced = _names(ignore), _names(categorical)
    chosen = [label] if group is None else [label, group]
    table.require([*chosen, *skipped, *forced])
    left_out = {*chosen, *skipped}
    columns = [name for name in table.header if name not in left_out]
    clash = sorted({*chosen} & {*skipped, *forced} | {*skipped} & {*forced} | ({label} if label == group else set()))
    if clash:
        raise DataError(
            f"A column has one role, but {listing('column', clash)} of {path} have two. Keep one role for each."
        )
    if not columns:
        raise DataError(
            f"{path} has no feature column left beside {', '.join(chosen)}. Ignore fewer columns, or add some."
        )
    categories = {*forced}
    blocks = [table.one_hot(name) if name in categories else table.encode(name) for name in columns]
    labels = table.required(label)
    return Dataset.from_arrays(
        np.concatenate(blocks, axis=1),
        labels,
        name=_stem(table.path),
        class_names=in_order(labels) if class_names is None else class_names,
        groups=None if group is None else table.required(group),
    )


def _names(feature_names: Sequence[str]) -> list[str]:
    return [feature_names] if isinstance(feature_names, str) else list(feature_names)


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name
