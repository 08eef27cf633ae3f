"""Adult (census income): the release of the UCI repository, or one table with a column that tells the part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from safecompress.data.dataset import Dataset
from safecompress.data.images.class_folders import present
from safecompress.errors import DataError, UsageError, listing, suggest
from safecompress.tables import Column, Table, TableSchema
from safecompress.tables.encode import encode
from safecompress.tables.reading import read_rows

Part = Literal["train", "test", "all"]

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country",
)  # fmt: skip
NUMBERS = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
INCOMES = ("<=50K", ">50K")

_RELEASE = {"adult.data": "train", "adult.test": "test"}
_TABLES = ("adult.csv", "adult.csv.xz", "adult.csv.gz")
_HEADER = [*COLUMNS, "income", "split"]


def adult(root: str | Path, *, part: Part = "train", ignore: Sequence[str] = ()) -> Dataset:
    """Adult: 48,842 people of the 1994 US census, 14 attributes as 108 columns, income at most or over 50K a year.

    Files: adult.data and adult.test (UCI release); or adult.csv (.csv.xz, .csv.gz) with a header of the 14 attributes,
    income and split ("train" or "test").

    ``part`` is "train" (32,561 rows), "test" (16,281) or "all". Columns are made as ``read_csv`` makes them: numbers as
    they are, one 0/1 column for each category, "?" a category of its own; the categories are those of both parts, so
    that a row looks alike whatever ``part`` says. ``ignore`` leaves attributes out (``["fnlwgt"]``). The full stop
    after the labels of adult.test goes. Raises DataError. Source: Kohavi 1996; Becker and Kohavi, UCI repository.
    """
    strangers = [name for name in ignore if name not in COLUMNS]
    for option, value, allowed in (("part", part, get_args(Part)), *(("ignore", name, COLUMNS) for name in strangers)):
        if value not in allowed:
            raise UsageError(f"adult: {option} {value!r} is unknown. {suggest(value, allowed)}")
    table = _table(Path(root))
    parts, incomes = table.cells("split"), [cell.removesuffix(".") for cell in table.cells("income")]
    odd = [line for line, which in zip(table.lines, parts, strict=True) if which not in ("train", "test")]
    unlike = sorted({*incomes} - {*INCOMES})
    if odd or unlike:
        got = f"income {unlike[0]!r}" if unlike else f"another split in line {odd[0]}"
        raise DataError(f"{table.path} must hold incomes {', '.join(INCOMES)} and splits train, test; it has {got}.")
    cells = {name: table.cells(name) for name in COLUMNS if name not in ignore}
    if not cells:
        raise UsageError("adult: ignore leaves no attribute. Ignore fewer.")
    schema = TableSchema(tuple(_column(name, table) for name in cells), "income")
    features, encoded = encode(schema, cells)
    for name, column in encoded.items():
        for why, rows in column.faults.items():
            lines = listing("line", [table.lines[row] for row in rows])
            raise DataError(f"The column {name!r} of {table.path} {why} in {lines}. Take the release as it is.")
    kept = np.array([part in (which, "all") for which in parts])
    dataset = Dataset.from_arrays(features[kept], np.array(incomes)[kept], name="adult", class_names=INCOMES)
    return replace(dataset, table=schema)


def _column(name: str, table: Table) -> Column:
    if name in NUMBERS:
        return Column(name, "numeric")
    return Column(name, "categorical", tuple(sorted({*table.cells(name)})))


def _table(root: Path) -> Table:
    """All rows of both parts, train first where they are two files."""
    single = [root / name for name in _TABLES if (root / name).is_file()]
    lacking = [name for name in _RELEASE if not (root / name).is_file()]
    if single:
        table = Table.read(single[0]).require_sound()
        table.require(_HEADER)
        strange = [name for name in table.header if name not in _HEADER]
        if strange:
            raise DataError(f"{single[0]} has columns that are not of Adult: {', '.join(strange[:5])}. Use read_csv.")
        return table
    if lacking:
        raise DataError(
            f"Adult is expected in {root} as {' and '.join(_RELEASE)} (UCI release), or as adult.csv, .csv.xz or "
            f".csv.gz with a column split; {' and '.join(lacking)} and the table are not there, but {present(root)}. "
            "Nothing is downloaded."
        )
    numbered = [
        ([*cells, part], line)
        for name, part in _RELEASE.items()
        for cells, line in read_rows(root / name, delimiter=",", encoding="utf-8-sig")[0]
        if not cells[0].startswith("|")  # a remark at the top of adult.test
    ]
    return Table.of(root / "adult.data", [(_HEADER, 0), *numbered]).require_sound()
