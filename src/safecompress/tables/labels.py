"""The columns of classes and of groups: one name for each class, no class for what is missing, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from safecompress.errors import listing, suggest
from safecompress.tables.findings import ColumnFinding, ColumnText
from safecompress.tables.numerals import in_order, merged, read_number

MOST_CLASSES = 1000
FEW_ROWS = 10
"""Rows of a class under which its part of train may be empty, and no attack or accuracy of it be measured."""


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """The class of each row as a text, and the names of the classes in order."""

    finding: ColumnFinding
    labels: Sequence[str] = field(repr=False)
    class_names: tuple[str, ...]


def look_at_label(cells: ColumnText, class_names: Sequence[str] | None) -> LabelColumn:
    """The column of classes. Words for "missing" are no class, unless ``class_names`` has them."""
    known = {*(class_names or ())}
    gone = [one for one, is_gone in zip(cells.texts, cells.missing_K, strict=True) if is_gone and one not in known]
    names = cells.merged()
    written = in_order({name for name in names if name not in gone})
    faults, notes, remarks = [], [], []
    lines = cells.lines_of(gone)
    if lines:
        faults.append(
            f"{cells.name!r}, the label, has no class in {listing('line', lines)}: empty, NA, null, None and the like "
            "are missing. Fill these cells in, or drop the rows; if such a word is a class, name all classes: "
            "class_names = [...]."
        )
        remarks.append("rows without a class")
    if class_names is not None:
        faults += _unknown(cells, written, class_names)
    elif fault := _no_classes(cells, written):
        faults.append(fault)
        remarks.append("no classes")
    else:
        notes += _few_rows(cells, names, written)
    joined = sum(name != one for one, name in merged(cells.present).items())
    if joined:
        notes.append(f"{cells.name!r}: labels that write one whole number are one class, as 1 and 1.0 are.")
    folded = [name for name in written if sum(name.casefold() == other.casefold() for other in written) > 1]
    if folded and len(written) <= MOST_CLASSES:
        notes.append(f"{listing('class', folded)} differ in capitals alone: write each class in one way.")
    finding = ColumnFinding("label", None, tuple(lines), "; ".join(remarks), tuple(faults), tuple(notes))
    return LabelColumn(finding, names, tuple(class_names) if class_names is not None else tuple(written))


def look_at_group(cells: ColumnText) -> ColumnFinding:
    """The column whose rows belong together."""
    lines = cells.missing_lines
    faults = (
        f"{cells.name!r}, the group, is missing in {listing('line', lines)}. Give every row a group; a row that "
        "belongs to nobody gets a name of its own.",
    )
    notes: tuple[str, ...] = ()
    if cells.num_distinct == len(cells.code_N) and len(cells.code_N) > 1:
        notes = (f"{cells.name!r}, the group, has another value in every row, so that no rows belong together.",)
    return ColumnFinding("group", None, tuple(lines), "missing" if lines else "", faults if lines else (), notes)


def _no_classes(cells: ColumnText, classes: Sequence[str]) -> str | None:
    """Why these are no classes of a classifier, or None."""
    count, rows = len(classes), cells.num_present
    if count < 2:
        return (
            f"{cells.name!r}, the label, has {count} class: a classifier needs two at least. Check that it is the "
            "right column, and that the rows were not filtered by it."
        )
    values = [found[0] for name in classes if (found := read_number(name, ".")) is not None]
    fractions = sum(not float(value).is_integer() for value in values)
    if len(values) == count > FEW_ROWS and (fractions * 2 > count or count * 3 > rows or count > MOST_CLASSES):
        return (
            f"{cells.name!r}, the label, holds {count:,} different numbers in {rows:,} rows: a measured quantity, no "
            "classes. Cut it into a few first (above the median or not), and write them in a column."
        )
    if count > MOST_CLASSES or (count > FEW_ROWS and count * 2 > rows):
        return (
            f"{cells.name!r}, the label, has {count:,} different texts in {rows:,} rows: names, or free text. Take the "
            "column of the classes."
        )
    return None


def _few_rows(cells: ColumnText, labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """A sentence on classes of very few rows."""
    numbers = {name: place for place, name in enumerate(classes)}
    counts = np.bincount([numbers[one] for one in labels if one in numbers], minlength=len(classes))
    few = [repr(name) for name, count in zip(classes, counts, strict=True) if count < FEW_ROWS]
    if not few:
        return []
    return [
        f"{listing('class', few)} of {cells.name!r} have fewer than {FEW_ROWS} rows: join rare classes into one, or "
        "drop their rows; with so few, some would be missing from train, and nothing could be measured of them."
    ]


def _unknown(cells: ColumnText, written: Sequence[str], class_names: Sequence[str]) -> list[str]:
    strangers = [name for name in written if name not in {*class_names}]
    if not strangers:
        return []
    lines = cells.lines_of([one for one in cells.texts if one in {*strangers}])
    return [
        f"{cells.name!r}, the label, has {listing('line', lines)} whose class is not in class_names. "
        f"{suggest(strangers[0], class_names)} Correct the labels, or add the missing class names."
    ]
