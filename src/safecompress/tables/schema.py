"""A TableSchema: how the cells of a row become the numbers that a network reads, each column in one way, and stored."""

# N rows, F features

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from safecompress.errors import DataError
from safecompress.tables.dates import PARTS, STYLES

Kind = Literal["numeric", "categorical", "date", "text"]
MissingRule = Literal["refuse", "fill"]

WORDS = 64
"""Features of a column of text: each word of a cell switches one of them on."""

VERSION = 1
MAX_COLUMNS, MAX_CATEGORIES, MAX_TEXT = 100_000, 1000, 10_000


@dataclass(frozen=True)
class Column:
    """One column of a table, and the features that it gives.

    ``kind``: *numeric* is the number itself; *categorical* is 0 or 1 for each of ``categories``; *date* gives those of
    ``parts`` ("day" since 1970, "second" of the day, "fraction" of a second) of texts in ``date_style``; *text* is 0 or
    1 for each of `WORDS` groups of words. Numbers have ``decimal`` before their fraction, and ``unit``. With
    ``missing`` "fill", a cell may be missing: one more feature, the column's last, is then 1, and ``fill`` stands in
    (numbers: the median; dates: the median of each part; categories: the place of the most frequent one). ``fill`` is
    empty until `fitted`. ``low`` and ``high`` are limits of nearly all train rows; None where too few were seen.

    Raises DataError for values that do not go together.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    decimal: Literal[".", ","] = "."
    unit: str = ""
    date_style: str = ""
    parts: tuple[str, ...] = ()
    missing: MissingRule = "refuse"
    fill: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        fault = _fault_of(self)
        if fault:
            raise DataError(f"The column {self.name!r} of a table's schema is impossible: {fault}.")

    @property
    def num_values(self) -> int:
        """Features without the one that says whether the cell is missing."""
        return {"numeric": 1, "categorical": len(self.categories), "date": len(self.parts), "text": WORDS}[self.kind]

    @property
    def width(self) -> int:
        """All its features."""
        return self.num_values + (self.missing == "fill")

    @property
    def features(self) -> tuple[str, ...]:
        """Their names: ``age``, ``city = Rome``, ``born: day``, ``age is missing``."""
        name = self.name
        own = {
            "numeric": (name,),
            "categorical": tuple(f"{name} = {category}" for category in self.categories),
            "date": tuple(f"{name}: {part}" for part in self.parts),
            "text": tuple(f"{name}: words {number}" for number in range(WORDS)),
        }[self.kind]
        return (*own, f"{name} is missing") if self.missing == "fill" else own


@dataclass(frozen=True)
class TableSchema:
    """The columns that features are made of, in their order, and the column of classes, which a new row need not have.

    ``missing_words`` stand for a missing cell, besides the usual ones. Raises DataError for columns that cannot be
    those of one table.
    """

    columns: tuple[Column, ...]
    label: str = ""
    missing_words: tuple[str, ...] = ()

    _KEYS: ClassVar[frozenset[str]] = frozenset({"version", "columns", "label", "missing_words"})

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not 0 < len(names) <= MAX_COLUMNS or len({*names}) < len(names):
            raise DataError(
                f"A table's schema needs 1 to {MAX_COLUMNS:,} columns, each with its own name; it has {len(names):,}."
            )

    @property
    def num_features(self) -> int:
        """F."""
        return sum(column.width for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """F names."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def is_fitted(self) -> bool:
        """Whether every column that may miss a cell knows what stands in."""
        return all(column.fill or column.missing == "refuse" for column in self.columns)

    @cached_property
    def places(self) -> Mapping[str, slice]:
        """Column name -> where its features are."""
        ends, found = 0, {}
        for column in self.columns:
            found[column.name] = slice(ends, ends + column.width)
            ends += column.width
        return found

    def each(self) -> Iterator[tuple[Column, slice]]:
        """Every column with the place of its features."""
        return ((column, self.places[column.name]) for column in self.columns)

    def with_columns(self, fitted: tuple[Column, ...]) -> TableSchema:
        """The same table with other columns."""
        return replace(self, columns=fitted)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is at its default is left out."""
        defaults = {field.name: field.default for field in fields(Column)}
        columns = [
            {key: _plain(value) for key, value in asdict(column).items() if value != defaults[key]}
            for column in self.columns
        ]
        return {"version": VERSION, "label": self.label, "missing_words": list(self.missing_words), "columns": columns}

    @classmethod
    def from_json(cls, stored: Any) -> TableSchema:
        """What ``to_json`` gave, from a file that nobody vouches for.

        Raises DataError for a key that is unknown, a value of another type, or parts that do not go together.
        """
        if not isinstance(stored, dict) or stored.keys() != cls._KEYS or stored["version"] != VERSION:
            version = stored.get("version") if isinstance(stored, dict) else None
            raise DataError(f"A table's schema has the keys {', '.join(sorted(cls._KEYS))}, at version {VERSION}; it "
                            f"says version {version!r}: it is altered, or of a newer SafeCompress.")  # fmt: skip
        columns, label, words = stored["columns"], stored["label"], stored["missing_words"]
        if not isinstance(columns, list) or len(columns) > MAX_COLUMNS:
            raise DataError(f"A table's schema lists its columns, at most {MAX_COLUMNS:,}: it is altered.")
        if not _is_text(label) or not _are_texts(words):
            raise DataError("The label and the words for missing cells of a table's schema are text: it is altered.")
        return cls(tuple(map(_column_from, columns)), label, tuple(words))


_TYPES = {
    "name": "text", "kind": "text", "categories": "texts", "decimal": "text", "unit": "text", "date_style": "text",
    "parts": "texts", "missing": "text", "fill": "numbers", "low": "number", "high": "number",
}  # fmt: skip


def _column_from(stored: Any) -> Column:
    if not isinstance(stored, dict) or not {"name", "kind"} <= stored.keys() <= _TYPES.keys():
        raise DataError(f"A column of a table's schema has the keys {', '.join(_TYPES)}, no others: it is altered.")
    checks = {"text": _is_text, "texts": _are_texts, "number": _is_number, "numbers": _are_numbers}
    for key, value in stored.items():
        if not checks[_TYPES[key]](value):
            raise DataError(f"The key {key!r} of a column of a table's schema holds {_TYPES[key]}: it is altered.")
    numbers = {key: float(stored[key]) for key in ("low", "high") if key in stored}
    lists = {key: tuple(stored[key]) for key in ("categories", "parts") if key in stored}
    fill = {"fill": tuple(map(float, stored["fill"]))} if "fill" in stored else {}
    return Column(**{**stored, **numbers, **lists, **fill})


def _fault_of(column: Column) -> str:
    """Why ``column`` cannot be, or nothing."""
    kinds = {"numeric": not column.categories and not column.parts, "text": not column.categories and not column.parts,
             "categorical": 0 < len(column.categories) <= MAX_CATEGORIES and not column.parts,
             "date": len(column.parts) > 0 and not column.categories}  # fmt: skip
    if not column.name or column.kind not in kinds or column.missing not in ("refuse", "fill"):
        return f"it is a {column.kind!r} with the rule {column.missing!r} for missing cells"
    if column.decimal not in (".", ",") or (column.kind == "date") != (column.date_style in STYLES):
        return f"its decimal mark is {column.decimal!r} and its dates are {column.date_style!r}"
    if not kinds[column.kind] or len({*column.categories}) < len(column.categories):
        return f"it has {len(column.categories)} categories, which must differ, and the parts {column.parts}"
    if column.parts != tuple(part for part in PARTS if part in column.parts):
        return f"its parts are {column.parts}"
    if column.fill and (column.missing == "refuse" or len(column.fill) != _num_fill(column)):
        return f"{len(column.fill)} values stand for a missing one"
    if column.kind == "categorical" and column.fill and column.fill[0] not in range(len(column.categories)):
        return "no category stands for a missing one"
    limits = [limit for limit in (column.low, column.high) if limit is not None]
    if len(limits) == 1 or not all(map(math.isfinite, (*limits, *column.fill))) or limits != sorted(limits):
        return "its limits, or what stands for a missing cell, are no numbers in order"
    return ""


def _num_fill(column: Column) -> int:
    return {"numeric": 1, "categorical": 1, "date": len(column.parts), "text": 1}[column.kind]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e39


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))
