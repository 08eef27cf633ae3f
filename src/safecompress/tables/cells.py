"""A cell of any kind as text or a number, and when it counts as missing."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from typing import Any

Cell = str | int | float
"""A cell that is filled in: text as it was read, or a number that a DataFrame or a program holds."""

MISSING = frozenset(
    {"", "?", "nan", "na", "n/a", "n.a.", "#n/a", "<na>", "nat", "none", "null", "nil", "#null!", "#value!", "#ref!",
     "#div/0!", "#name?", "#num!"}
)  # fmt: skip
"""Words that stand for no value, compared in lower case: those of spreadsheets, databases, R, pandas and Python."""


def is_missing(text: str, words: Collection[str] = ()) -> bool:
    """Whether ``text`` stands for no value; ``words`` do so, too, as they are written."""
    return text.lower() in MISSING or text in words


def as_cell(cell: Any) -> Cell:
    """``cell`` of a DataFrame, a dict or a file: a number stays one, all else is text; None and NaN are empty text."""
    if isinstance(cell, str):
        return cell.strip()
    if cell is None:
        return ""
    if isinstance(cell, bool) or type(cell).__name__ in ("bool", "bool_"):  # NumPy's, too
        return str(bool(cell))
    if isinstance(cell, numbers.Integral):
        return int(cell)
    if isinstance(cell, numbers.Real):
        number = float(cell)
        return number if number == number else ""
    return str(cell).strip()  # dates, Decimal, pandas.NA and NaT: their texts are read as those of a file


def as_text(cell: Cell) -> str:
    """The text of ``cell``, a whole number without a fraction."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return cell if isinstance(cell, str) else repr(cell)
