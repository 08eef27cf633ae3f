"""What a dataset holds, as counts: classes and balance, equal rows, ranges, memory, and the split it would get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from safecompress.data.dataset import Dataset
from safecompress.data.near_rows import ADVICE, NearRows, near_rows_of_data
from safecompress.data.sizes import SplitSizes
from safecompress.data.splits import content_ids
from safecompress.errors import DataError, listing

Kind = Literal["images", "tokens", "columns of 0 and 1", "numbers"]

LARGE = 10.0
"""Values beyond it slow down training, so that scaling is worth a word."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows whose features another row has too: ``rows`` of them, in ``sets`` of equal rows.

    ``conflicting`` sets hold more than one label.
    """

    rows: int
    sets: int
    conflicting: int


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Aggregates of one dataset; no row and no feature of one is among them.

    ``shape`` is that of one row. ``near`` is the share of rows, beyond chance, that have a nearly equal row across a
    split by rows; None where there are too few rows to tell. ``values`` are the smallest and the largest feature,
    ``lengths`` the shortest, the median and the longest row of tokens: one of the two is None. ``memory`` counts bytes.
    ``split`` maps the parts of the default split to their sizes; it is None where there are too few rows. ``notes`` are
    sentences for a person.
    """

    name: str
    kind: Kind
    rows: int
    shape: tuple[int, ...]
    classes: Mapping[str, int]
    groups: int | None
    repeats: Repeats
    near: float | None
    values: tuple[float, float] | None
    lengths: tuple[int, float, int] | None
    vocab_size: int | None
    memory: int
    split: Mapping[str, int] | None
    notes: tuple[str, ...]

    @property
    def balance(self) -> float:
        """Rows of the largest class over those of the smallest, 1 or more."""
        return max(self.classes.values()) / min(count for count in self.classes.values() if count)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "balance": self.balance}


def facts_of(dataset: Dataset) -> DatasetFacts:
    """The facts of ``dataset``. Takes about as much memory again as its features."""
    counts = np.bincount(dataset.labels.numpy(), minlength=dataset.num_classes).tolist()
    classes = dict(zip(dataset.class_names, counts, strict=True))
    lengths, values = (_lengths(dataset), None) if dataset.is_tokens else (None, _values(dataset))
    split, why_none = _default_split(dataset.num_rows)
    repeats = _repeats(dataset)
    near = near_rows_of_data(dataset)
    notes = (why_none, _rare(classes, split), _doubles(repeats), _near(near), _scale(values))
    return DatasetFacts(
        name=dataset.name,
        kind=_kind(dataset),
        rows=dataset.num_rows,
        shape=dataset.input_shape,
        classes=classes,
        groups=None if dataset.groups is None else len(np.unique(dataset.groups)),
        repeats=repeats,
        near=None if near is None else near.share,
        values=values,
        lengths=lengths,
        vocab_size=dataset.vocab_size,
        memory=dataset.stored.nbytes + dataset.labels.nbytes,
        split=split,
        notes=tuple(note for note in notes if note is not None),
    )


def _kind(dataset: Dataset) -> Kind:
    if dataset.is_tokens:
        return "tokens"
    if len(dataset.input_shape) == 3:
        return "images"
    return "columns of 0 and 1" if bool(((dataset.stored == 0) | (dataset.stored == 1)).all()) else "numbers"


def _values(dataset: Dataset) -> tuple[float, float]:
    unit = 255 if dataset.is_pixels else 1
    low, high = dataset.stored.aminmax()
    return float(low) / unit, float(high) / unit


def _lengths(dataset: Dataset) -> tuple[int, float, int]:
    lengths = (dataset.stored >= 0).sum(1).numpy()
    return int(lengths.min()), float(np.median(lengths)), int(lengths.max())


def _repeats(dataset: Dataset) -> Repeats:
    ids = content_ids(dataset)
    sizes = np.bincount(ids)
    pairs = np.unique(np.stack([ids, dataset.labels.numpy()]), axis=1)
    num_labels = np.bincount(pairs[0], minlength=len(sizes))
    repeated = sizes > 1
    return Repeats(int(sizes[repeated].sum()), int(repeated.sum()), int((num_labels > 1).sum()))


def _default_split(num_rows: int) -> tuple[Mapping[str, int] | None, str | None]:
    try:
        return SplitSizes.default(num_rows).as_dict(), None
    except DataError as error:
        return None, str(error)


def _rare(classes: Mapping[str, int], split: Mapping[str, int] | None) -> str | None:
    """Classes of which a random train part may get no row: fewer than 5 are expected there."""
    if split is None:
        return None
    share = split["train"] / sum(classes.values())
    rare = [repr(name) for name, count in classes.items() if count * share < 5]
    warning = f"{listing('class', rare)} would have fewer than 5 rows in train, where each must have one"
    return f"{warning}: join rare classes, drop their rows, or make train larger." if rare else None


def _doubles(repeats: Repeats) -> str | None:
    if not repeats.rows:
        return None
    sets = "1 set of them has" if repeats.conflicting == 1 else f"{repeats.conflicting} sets of them have"
    conflict = f"; {sets} more than one label" if repeats.conflicting else ""
    return f"{repeats.rows} rows equal another one{conflict}. A split keeps equal rows in one part."


def _near(near: NearRows | None) -> str | None:
    if near is None or not near.are_many:
        return None
    return f"{near.share:.0%} of the rows have a nearly equal row across a split by rows, beyond chance. {ADVICE}"


def _scale(bounds: tuple[float, float] | None) -> str | None:
    if bounds is None or max(map(abs, bounds)) <= LARGE:
        return None
    return f'Values reach {max(bounds, key=abs):,.6g}: scale them, normalise = "standard" in [data].'
