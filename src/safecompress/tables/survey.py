"""A table looked through: what each column is, what is odd in it and where, and every fault of the file at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safecompress.errors import DataError, listing, suggest
from safecompress.tables.columns import look_at
from safecompress.tables.findings import CONSTANT, ColumnFinding, ColumnText
from safecompress.tables.labels import look_at_group, look_at_label
from safecompress.tables.numerals import Decimal
from safecompress.tables.reading import Table
from safecompress.tables.schema import TableSchema


@dataclass(frozen=True)
class Roles:
    """What a user says of the columns of a table; a column that no list names is what its cells look like.

    ``columns`` are the features (None: all that have no other role). ``missing`` are words that stand for no value,
    besides the usual ones. ``decimal`` and ``day_first`` settle what the cells leave open. ``class_names`` None means
    the labels that occur.
    """

    label: str
    group: str | None = None
    columns: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    date: Sequence[str] = ()
    text: Sequence[str] = ()
    missing: Sequence[str] = ()
    decimal: Decimal | None = None
    day_first: bool | None = None
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _LISTS and isinstance(value, str):
                object.__setattr__(self, one.name, (value,))
            elif one.name in _LISTS and value is not None:
                object.__setattr__(self, one.name, tuple(value))

    @property
    def said_kinds(self) -> dict[str, str]:
        """Column name -> the kind that it is said to be."""
        return {name: kind for kind in _KINDS for name in getattr(self, kind)}

    def faults(self, header: Sequence[str]) -> list[str]:
        """Names that are no column, and columns with two roles."""
        given = {one: getattr(self, one) for one in ("columns", "ignore", *_KINDS)}
        named = {"label": (self.label,), "group": () if self.group is None else (self.group,), **given}
        known, found = {*header}, []
        for option, names in named.items():
            found += [f"{option}: there is no column {name!r}. {suggest(name, header)}"
                      for name in dict.fromkeys(names or ()) if name not in known]  # fmt: skip
        roles: dict[str, list[str]] = {}
        for option in ("label", "group", "ignore", *_KINDS):
            for name in dict.fromkeys(named[option] or ()):
                roles.setdefault(name, []).append(option)
        clash = sorted(name for name, options in roles.items() if len(options) > 1)
        clash += sorted({*(self.columns or ())} & {self.label, self.group or self.label, *self.ignore})
        if clash:
            found.append(f"a column has one role, but {listing('column', clash)} have two. Keep one role for each.")
        return found


_KINDS = ("categorical", "numeric", "date", "text")
_LISTS = ("columns", "ignore", *_KINDS, "missing", "class_names")


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What a person is shown of one column: counts and lines, and no cell of it.

    ``kind`` is its role ("label", "group", "ignored") or its kind; ``first_line`` and ``last_line`` are those of the
    first and the last odd cell, None where none is odd; ``remark`` says what is odd, or what is to be said.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    num_features: int
    first_line: int | None
    last_line: int | None
    remark: str
    is_fault: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, eq=False)
class TableSurvey:
    """A table, what its columns are, and all that is wrong with it.

    ``labels`` and ``groups`` are one text for each row, None in place of groups where there is no such column.
    ``schema`` is None where no column can be a feature. ``notes`` are sentences for a person, ``hint`` is one on
    columns that are refused.
    """

    table: Table = field(repr=False)
    schema: TableSchema | None
    columns: tuple[ColumnSummary, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    labels: Sequence[str] = field(repr=False)
    class_names: tuple[str, ...]
    groups: Sequence[str] | None = field(default=None, repr=False)
    hint: str = ""

    def require_sound(self) -> TableSchema:
        """The schema. Raises DataError that lists every fault, and how the refused columns can be left out."""
        if self.faults or self.schema is None:
            error = DataError.from_faults(str(self.table.path), self.faults)
            raise DataError(f"{error}{self.hint}")
        return self.schema


def survey_csv(path: str | Path, roles: Roles) -> TableSurvey:
    """What the columns of the delimited file at ``path`` are, by ``roles`` and by their cells.

    Raises DataError for a file that is no table; what is wrong within one is in ``faults``.
    """
    return survey(Table.read(Path(path)), roles)


def survey(table: Table, roles: Roles) -> TableSurvey:
    """The same for a table in memory."""
    faults = [*table.faults, *roles.faults(table.header)]
    if roles.label not in table.header or not table.rows:
        return TableSurvey(table, None, (), tuple(faults), (), (), ())
    texts = {name: ColumnText.of(table, name, roles.missing) for name in table.header}
    chosen = _features(table.header, roles)
    mark = roles.decimal or _mark_of_file((texts[name] for name in chosen), table.delimiter)
    said = roles.said_kinds
    findings = {name: look_at(texts[name], said.get(name), mark, roles.day_first) for name in chosen}
    label = look_at_label(texts[roles.label], roles.class_names)
    others: dict[str, ColumnFinding] = {roles.label: label.finding}
    if roles.group in table.header and roles.group != roles.label:
        others[roles.group] = look_at_group(texts[roles.group])
    found = findings | others
    columns = tuple(_summary(name, texts[name], found.get(name)) for name in table.header)
    for finding in (*others.values(), *findings.values()):
        faults += finding.faults
    kept = tuple(found.column for found in findings.values() if found.column is not None)
    if not kept and not faults:
        faults.append("no feature column is left beside the label. Ignore fewer columns, or add some.")
    refused = [name for name, finding in findings.items() if finding.could_be_left_out]
    listed = ", ".join(f'"{name}"' for name in (*roles.ignore, *refused))
    hint = f"\nTo leave out all columns that are refused for what they are: ignore = [{listed}]" if refused[1:] else ""
    constant = [name for name, finding in findings.items() if finding.remark == CONSTANT]
    ignored = ", ".join(f'"{name}"' for name in constant)
    alike = [f"{listing('column', constant)} with one value in every row: leave out, ignore = [{ignored}]."]
    notes = [*([table.how_read] if table.how_read else []),
             *(note for finding in (*others.values(), *findings.values()) for note in finding.notes),
             *(alike if constant else [])]  # fmt: skip
    return TableSurvey(
        table,
        TableSchema(kept, roles.label, tuple(roles.missing)) if kept else None,
        columns,
        tuple(faults),
        tuple(notes),
        label.labels,
        label.class_names,
        _groups(texts, roles),
        hint,
    )


def _features(header: Sequence[str], roles: Roles) -> list[str]:
    left_out = {roles.label, roles.group, *roles.ignore}
    if roles.columns is None:
        return [name for name in header if name not in left_out]
    return [name for name in header if name in {*roles.columns, *roles.said_kinds} - left_out]


def _mark_of_file(looked_at: Iterable[ColumnText], delimiter: str) -> Decimal | None:
    """The decimal mark that the file's other numbers are written with; None where they leave it open."""
    told = [marks for column in looked_at if len(marks := column.marks) == 1]
    marks = {mark for one in told for mark in one}
    if len(marks) == 1:
        return marks.pop()
    return "." if delimiter == "," else None


def _groups(by_name: Mapping[str, ColumnText], roles: Roles) -> Sequence[str] | None:
    return None if roles.group is None or roles.group not in by_name else by_name[roles.group].merged()


def _summary(name: str, cells: ColumnText, finding: ColumnFinding | None) -> ColumnSummary:
    lines = sorted(finding.lines) if finding is not None else []
    first, last = (lines[0], lines[-1]) if lines else (None, None)
    if finding is None:
        return ColumnSummary(name, "ignored", cells.num_distinct, cells.num_missing, 0, None, None, "")
    width = 0 if finding.column is None else finding.column.width
    return ColumnSummary(name, finding.kind, cells.num_distinct, cells.num_missing, width, first, last, finding.remark,
                         bool(finding.faults))  # fmt: skip
