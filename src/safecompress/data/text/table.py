"""A table of texts, labels and whatever else its files say of a row, which knows where each row was read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from safecompress.errors import DataError, listing, suggest

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TextTable:
    """N rows of one or more files. ``columns`` name -> N cells, None where a row has none.

    ``names`` are the columns that the files have, also those that were not asked for. Row n stands in
    ``files[file_N[n]]`` at ``place_N[n]``: lines are counted from 1, rows of files without lines from 0.
    ``class_names`` are the names that a file gives the numbers in a column.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    columns: Mapping[str, Sequence[Any]] = field(repr=False)
    file_N: Int64Array = field(repr=False)
    place_N: Int64Array = field(repr=False)
    noun: Literal["line", "row"] = "line"
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_file(
        cls,
        path: Path,
        columns: Mapping[str, Sequence[Any]],
        places: Iterable[int] | None = None,
        *,
        column_names: Iterable[str] | None = None,
        names_by_column: Mapping[str, tuple[str, ...]] | None = None,
    ) -> TextTable:
        """The table of one file; ``places`` are line numbers, None where its rows have none."""
        count = max(map(len, columns.values()), default=0)
        place_N = np.arange(count) if places is None else np.array(list(places), dtype=np.int64)
        noun: Literal["line", "row"] = "row" if places is None else "line"
        listed = tuple(columns if column_names is None else column_names)
        return cls((path,), listed, columns, np.zeros(len(place_N), np.int64), place_N, noun, names_by_column or {})

    @classmethod
    def joined(cls, tables: Sequence[TextTable]) -> TextTable:
        """The rows of all tables, one after another. Raises DataError when their columns or class names differ."""
        first = tables[0]
        for table in tables[1:]:
            apart = sorted({*first.columns} ^ {*table.columns})
            if apart:
                raise DataError(
                    f"{first.files[0]} and {table.files[0]} must have the same columns, but only one of them has "
                    f"{', '.join(map(repr, apart))}. Write both in one way, or read them apart."
                )
            if dict(first.class_names) != dict(table.class_names):
                raise DataError(
                    f"{first.files[0]} and {table.files[0]} name the numbers of their classes in different ways. "
                    "Write both in one way, or read them apart."
                )
        files = tuple(path for table in tables for path in table.files)
        starts = np.cumsum([0, *(len(table.files) for table in tables)])
        return cls(
            files,
            first.names,
            {name: [cell for table in tables for cell in table.columns[name]] for name in first.columns},
            np.concatenate([table.file_N + start for table, start in zip(tables, starts[:-1], strict=True)]),
            np.concatenate([table.place_N for table in tables]),
            first.noun,
            first.class_names,
        )

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.place_N)

    def only(self, column_names: Collection[str]) -> TextTable:
        """The same rows with those columns alone."""
        return replace(self, columns={name: cells for name, cells in self.columns.items() if name in column_names})

    def renamed(self, new_names: Mapping[str, str]) -> TextTable:
        """The same rows, a column called otherwise where ``new_names`` says so."""
        return replace(self, columns={new_names.get(name, name): cells for name, cells in self.columns.items()})

    def cells(self, name: str) -> Sequence[Any]:
        """The cells of one column. Raises DataError where there is no such column, or a row has none."""
        if name not in self.columns:
            raise DataError(f"{self.files[0]} has no column {name!r}. {suggest(name, self.names)}")
        cells = self.columns[name]
        self.refuse([row for row, cell in enumerate(cells) if cell is None], f"have no {name!r}", "Fill it in.")
        return cells

    def texts(self, name: str) -> list[str]:
        """The cells of one column as texts. Raises DataError also where a cell is something else."""
        cells = self.cells(name)
        odd = [row for row, cell in enumerate(cells) if not isinstance(cell, str)]
        if odd:
            kind = type(cells[odd[0]]).__name__
            self.refuse(odd, f"have a {name!r} that is no text, the first is of type {kind}", "Name the text's column.")
        halves = [row for row, cell in enumerate(cells) if not is_whole(cell)]
        self.refuse(halves, f"have half of a character in {name!r}", "Write the file anew in UTF-8.")
        return list(cells)

    def groups(self, name: str) -> list[str | int]:
        """The cells of one column as what rows belong to. Raises DataError also where a cell is empty or a fraction."""
        cells = [cell.strip() if isinstance(cell, str) else cell for cell in self.cells(name)]
        odd = [row for row, cell in enumerate(cells) if cell == "" or type(cell) not in (int, str)]
        advice = "Give every row a group; a row that belongs to nobody gets one of its own."
        self.refuse(odd, f"have a {name!r} that is empty or no whole number or text", advice)
        return cells if all(isinstance(cell, int) for cell in cells) else [str(cell) for cell in cells]

    def refuse(self, row_indices: Sequence[int] | Int64Array, what: str, advice: str) -> None:
        """Raise DataError with file, count and first places of ``row_indices``, and what to do; a no-op for none.

        Rows of several files are listed file by file, the first three of them.
        """
        if len(row_indices) == 0:
            return
        chosen = np.asarray(row_indices)
        listings = []
        for number in np.unique(self.file_N[chosen])[:3]:
            places = self.place_N[chosen[self.file_N[chosen] == number]]
            listings.append(f"{listing(self.noun, places)} of {self.files[number]}")
        raise DataError(f"{' and '.join(listings)} {what}. {advice}")


def is_whole(text: str) -> bool:
    """Whether a text has whole characters only: JSON can spell halves of a pair (``\\ud83d``), which mean nothing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
