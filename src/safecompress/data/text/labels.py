"""The classes of labelled texts: what a file calls them, as indices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from safecompress.data.text.table import TextTable, is_whole
from safecompress.errors import DataError
from safecompress.tables.numerals import in_order

Int64Array = npt.NDArray[np.int64]

MOST_CLASSES = 1000
"""More different labels than that are taken for another column, unless their names are given."""

_WHOLE = re.compile(r"-?\d+")
_NO_LABEL = "-1"  # what GLUE's test parts have in its place


def class_indices(
    table: TextTable, column: str, class_names: Sequence[str] | None = None, *, first: int = 0
) -> tuple[Int64Array, tuple[str, ...]]:
    """The class of each row (N,), 0 .. C - 1, and the C class names.

    A label is a whole number or a text. With ``class_names``, given here or by the file, a number counts from ``first``
    and a text is a name; without, the distinct labels are the names, in order. Raises DataError with the rows whose
    label is missing, no whole number or text, or of no class.
    """
    keys = [_key(cell) for cell in table.cells(column)]
    table.refuse(
        [row for row, key in enumerate(keys) if key is None],
        f"have a {column!r} that is empty, a fraction, true, false or half a character",
        "A label is a whole number or a text: fill it in, or drop the row.",
    )
    texts = [str(key) for key in keys]
    table.refuse(
        [row for row, text in enumerate(texts) if text == _NO_LABEL],
        f"have the {column!r} -1, which stands for no label",
        "Read a part that has labels (of GLUE the validation part), or drop these rows.",
    )
    known = table.class_names.get(column) if class_names is None else class_names
    if known is None and len(set(texts)) > MOST_CLASSES:
        raise DataError(
            f"The column {column!r} of {table.files[0]} has {len(set(texts)):,} different labels; at most "
            f"{MOST_CLASSES:,} can be classes. Name the column of the classes, or give class_names."
        )
    chosen = in_order(texts) if known is None else list(known)
    allowed = {name: index for index, name in enumerate(chosen)}
    if known is not None and not any(_WHOLE.fullmatch(name) for name in chosen):
        allowed = {**{str(first + index): index for index in range(len(chosen))}, **allowed}
    table.refuse(
        [row for row, text in enumerate(texts) if text not in allowed],
        f"have a {column!r} of no class ({_some(texts, allowed)})",
        f"Allowed: {_words(chosen, first, column)}.",
    )
    return np.array([allowed[text] for text in texts], dtype=np.int64), tuple(chosen)


def _key(cell: Any) -> str | None:
    """A label as text, or None for what is none."""
    if isinstance(cell, str):
        return cell.strip() or None if is_whole(cell) else None
    if isinstance(cell, bool):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell) if isinstance(cell, int) else None


def _some(texts: Sequence[str], allowed: Mapping[str, int]) -> str:
    """The first labels of no class."""
    strangers = sorted({text for text in texts if text not in allowed})
    shown = ", ".join(repr(text[:40]) for text in strangers[:3])
    return shown + (f" and {len(strangers) - 3} others" if len(strangers) > 3 else "")


def _words(names: Sequence[str], first: int, column: str) -> str:
    if any(_WHOLE.fullmatch(name) for name in names):
        return ", ".join(names)
    return f"{first} .. {first + len(names) - 1}, or {', '.join(names)}"
