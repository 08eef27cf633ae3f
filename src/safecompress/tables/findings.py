"""A column as it was found: its distinct cells, what it is, what is odd in it, at which lines, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import listing
from safecompress.tables.cells import is_missing
from safecompress.tables.numerals import Decimal, marks_of, merged
from safecompress.tables.reading import Table
from safecompress.tables.schema import Column, MissingRule

MANY_ROWS = 100
"""Rows from which a column of whole numbers or dates that hardly repeat is asked about."""

CONSTANT = "one value in every row"


@dataclass(frozen=True, eq=False)
class ColumnText:
    """The cells of a column: ``texts`` are the distinct ones, ``code_N`` says which of them each row has."""

    name: str
    texts: Sequence[str] = field(repr=False)
    code_N: NDArray[np.int64] = field(repr=False)
    line_N: NDArray[np.int64] = field(repr=False)
    missing_words: Collection[str] = ()

    @classmethod
    def of(cls, table: Table, name: str, missing_words: Collection[str] = ()) -> ColumnText:
        """The column called ``name`` of ``table``."""
        codes: dict[str, int] = {}
        code_N = [codes.setdefault(cell, len(codes)) for cell in table.cells(name)]
        return cls(name, list(codes), np.array(code_N), np.array(table.lines), missing_words)

    @cached_property
    def count_K(self) -> NDArray[np.int64]:
        """How many rows have each text."""
        return np.bincount(self.code_N, minlength=len(self.texts))

    @cached_property
    def missing_K(self) -> NDArray[np.bool_]:
        """Which texts stand for no value."""
        return np.array([is_missing(text, self.missing_words) for text in self.texts], dtype=np.bool_)

    @cached_property
    def present(self) -> list[str]:
        """The distinct texts that are values."""
        return [text for text, is_gone in zip(self.texts, self.missing_K, strict=True) if not is_gone]

    @property
    def num_present(self) -> int:
        """Rows with a value."""
        return len(self.code_N) - self.num_missing

    @property
    def num_missing(self) -> int:
        """Rows without one."""
        return int(self.count_K[self.missing_K].sum())

    @cached_property
    def marks(self) -> set[Decimal]:
        """The decimal marks by which its values can be told to be written."""
        return marks_of(self.present)

    @cached_property
    def num_distinct(self) -> int:
        """Different values, ways of writing one whole number counted once."""
        return len({*merged(self.present).values()})

    def num_rows(self, texts: Iterable[str]) -> int:
        """Rows with one of ``texts``."""
        wanted = {*texts}
        return int(sum(count for text, count in zip(self.texts, self.count_K, strict=True) if text in wanted))

    def lines_of(self, texts: Iterable[str]) -> list[int]:
        """The lines with one of ``texts``, rising."""
        wanted = {*texts}
        chosen_K = np.array([text in wanted for text in self.texts], dtype=np.bool_)
        return [int(line) for line in self.line_N[chosen_K[self.code_N]]]

    @cached_property
    def missing_lines(self) -> list[int]:
        """The lines without a value."""
        return [int(line) for line in self.line_N[self.missing_K[self.code_N]]]

    def merged(self) -> list[str]:
        """The text of each row, ways of writing one whole number made alike."""
        names = merged(self.texts)
        return [names[self.texts[code]] for code in self.code_N]


@dataclass(frozen=True)
class ColumnFinding:
    """What a column is, as ``column`` where it can be a feature, and what is odd in it, at which ``lines``.

    ``could_be_left_out`` marks one that is refused for what it is, an identifier or free text.
    """

    kind: str
    column: Column | None = None
    lines: tuple[int, ...] = field(default=(), repr=False)
    remark: str = ""
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    could_be_left_out: bool = False


def found(cells: ColumnText, column: Column, remark: str, *notes: str) -> ColumnFinding:
    """A column that can be a feature; what is missing in it is odd, and no fault."""
    lines = tuple(cells.missing_lines)
    if lines:
        stand_in = {"categorical": "most frequent", "text": "no word"}.get(column.kind, "median")
        gone = f"missing: the {stand_in} of train, marked" if column.kind != "text" else "missing: no word, marked"
        remark = f"{remark}; {gone}" if remark else gone
    return ColumnFinding(column.kind, column, lines, remark, notes=notes)


def constant(cells: ColumnText, column: Column) -> ColumnFinding:
    """A column that says the same of every row; `survey` has one note on all such columns."""
    return found(cells, column, CONSTANT)


def mixed(cells: ColumnText, strange: Sequence[str], words: str = "text") -> ColumnFinding:
    """A column of numbers with ``strange`` cells among them."""
    lines = cells.lines_of(strange)
    fault = (
        f"mixes numbers with {words}: {listing('line', lines)}. Correct these cells or empty them; or say "
        f'that the column is one of categories: categorical = ["{cells.name}"]; or name the word that stands for no '
        'value: missing = ["-"].'
    )
    return refused(cells, "numeric", f"{words} among numbers", fault, lines)


def refused(
    cells: ColumnText,
    kind: str,
    remark: str,
    fault: str,
    lines: Sequence[int] | None = None,
    *,
    could_be_left_out: bool = False,
) -> ColumnFinding:
    """A column that cannot be a feature as it is; ``lines`` None means all of them."""
    at = (int(cells.line_N[0]), int(cells.line_N[-1])) if lines is None else tuple(lines)
    return ColumnFinding(kind, None, at, remark, (f"{cells.name!r} {fault}",), (), could_be_left_out)


def rule_for(cells: ColumnText) -> MissingRule:
    """How missing cells are met: they may be where some were."""
    return "fill" if cells.num_missing else "refuse"


def ignoring(cells: ColumnText) -> str:
    """The line of a spec that leaves the column out."""
    return f'ignore = ["{cells.name}"]'
