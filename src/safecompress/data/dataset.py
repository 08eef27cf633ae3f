"""A Dataset: checked values, pixels or tokens, class indices, class names and optional groups, all in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safecompress.data.channels import Channels, as_image, channels_first
from safecompress.data.scaler import Scaler
from safecompress.errors import DataError, listing, suggest
from safecompress.tables import TableSchema

Int64Array = npt.NDArray[np.int64]

MOST_TOKENS = 1 << 24
"""Vocabularies stay below: a device reads samples as float32, which holds such numbers exactly."""

BLOCK = 4096
"""Rows that are converted at a time where all are gone through."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """N labelled rows of one shape. Whoever holds one may rely on it: every constructor runs all checks.

    ``stored`` (N, ...) is how the rows are kept: float32, finite; pixels (N, C, H, W) uint8, which are read as values
    0 .. 1, a quarter of the memory; or, with a ``vocab_size``, tokens (N, L) int32 in ``0 .. vocab_size - 1``, -1 past
    a row's last one. A ``scaler``, for pixels alone, is applied wherever they are read. ``table`` says how cells became
    the features of a table. ``labels`` (N,) int64 in ``0 .. num_classes - 1``, each class with a row, unless there may
    be ``missing_classes``, as where rows are a sample of what a model was trained on. ``groups`` (N,) int64 or None:
    rows with one group number (a person, an author, a patient) stay together in a split. All live on the CPU. Raises
    DataError, with the number of offending rows and the first of them, for anything else.
    """

    name: str
    stored: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    class_names: tuple[str, ...]
    groups: Int64Array | None = field(default=None, repr=False)
    vocab_size: int | None = None
    scaler: Scaler | None = field(default=None, repr=False)
    table: TableSchema | None = field(default=None, repr=False)
    missing_classes: bool = False

    def __post_init__(self) -> None:
        _check_shapes(self)
        if self.is_tokens:
            _check_tokens(self)
        elif not self.is_pixels:
            _check_finite(self)
        _check_classes(self)

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f", {len(np.unique(self.groups))} groups"
        kind = f"{self.input_shape[0]} tokens" if self.is_tokens else f"{self.input_shape}"
        return f"Dataset({self.name!r}, {self.num_rows} rows of {kind}, {self.num_classes} classes{groups})"

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.stored)

    @property
    def num_classes(self) -> int:
        """The number of class names; each occurs unless there may be missing ones."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.stored.shape[1:])

    @property
    def is_tokens(self) -> bool:
        """Whether a row is a text, as the numbers of its tokens: nothing can be added to it or averaged."""
        return self.vocab_size is not None

    @property
    def is_pixels(self) -> bool:
        """Whether the rows are kept as bytes."""
        return self.stored.dtype == torch.uint8

    @property
    def features(self) -> torch.Tensor:
        """(N, ...) all rows as a network reads them: float32, or tokens int32. Of pixels it is a copy, made here."""
        return self.read(slice(None))

    def read(self, indices: torch.Tensor | slice) -> torch.Tensor:
        """(n, ...) the features of ``indices``, row numbers (n,) int64 or a slice, which copies pixels alone."""
        chosen = self.stored[indices]
        if not self.is_pixels:
            return chosen
        values = chosen.to(torch.float32).div_(255)
        return values if self.scaler is None else self.scaler.apply_(values)

    def blocks(self) -> Iterator[torch.Tensor]:
        """All features in turn, some rows at a time."""
        return (self.read(slice(start, start + BLOCK)) for start in range(0, self.num_rows, BLOCK))

    def contents(self) -> Iterator[bytes]:
        """``row_bytes`` of each row in turn."""
        return (content for block in self.blocks() for content in row_contents(block))

    @classmethod
    def from_arrays(
        cls,
        features: Any,
        labels: Any,
        *,
        name: str = "data",
        class_names: Iterable[str] | None = None,
        groups: Any = None,
        channels: Channels | None = None,
        missing_classes: bool = False,
    ) -> Dataset:
        """A dataset from tensors, NumPy arrays or lists; everything is copied.

        ``features`` (N, ...) of any real dtype (bytes stay 0 .. 255; for pictures there is ``from_pixels``).
        ``labels`` (N,) strings or integers; without ``class_names`` the distinct labels are the classes, in sorted
        order (integers by value). With ``class_names``, in their order, strings are looked up and integers are
        indices; with ``missing_classes`` some of them may have no row. ``groups`` (N,) strings or integers. Images are
        (N, channels, height, width): ``channels`` is "last" where those come last, and "first" says that they do not,
        where they seem to. Raises DataError.
        """
        stored = channels_first(_as_features(features), channels)
        return cls._labelled(name, stored, labels, class_names, groups, missing_classes=missing_classes)

    @classmethod
    def from_pixels(
        cls,
        pixels: Any,
        labels: Any,
        *,
        name: str = "data",
        class_names: Iterable[str] | None = None,
        groups: Any = None,
        channels: Channels | None = None,
    ) -> Dataset:
        """A dataset of pictures: ``pixels`` (N, C, H, W) uint8, kept as bytes and read as values 0 .. 1.

        All else as in ``from_arrays``. Raises DataError.
        """
        tensor = pixels.detach().cpu() if isinstance(pixels, torch.Tensor) else torch.from_numpy(np.array(pixels))
        if tensor.dtype != torch.uint8 or tensor.ndim != 4:
            raise DataError(
                f"Pixels are bytes of shape (N, C, H, W), but have shape {tuple(tensor.shape)} and dtype "
                f"{tensor.dtype}. Say channels='last' where they come last; other values go to from_arrays."
            )
        kept = channels_first(tensor, channels).clone(memory_format=torch.contiguous_format)
        return cls._labelled(name, kept, labels, class_names, groups)

    @classmethod
    def from_tokens(
        cls,
        tokens: Any,
        labels: Any,
        *,
        vocab_size: int,
        name: str = "data",
        class_names: Iterable[str] | None = None,
        groups: Any = None,
    ) -> Dataset:
        """A dataset of texts: ``tokens`` (N, L), whole numbers below ``vocab_size``, -1 past a row's last token.

        All else as in ``from_arrays``. Raises DataError.
        """
        array = np.asarray(tokens)
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise DataError(
                f"Tokens are whole numbers of shape (N, L), -1 past a row's last one, but have shape {array.shape} and "
                f"dtype {array.dtype}. Turn texts into numbers with a tokenizer, and pad them to one length."
            )
        if array.size and not -1 <= array.min() <= array.max() <= np.iinfo(np.int32).max:
            raise DataError(
                f"Tokens are -1 (none) or 0 .. {vocab_size - 1}; these go from {array.min()} to {array.max()}."
            )
        return cls._labelled(
            name, torch.from_numpy(array.astype(np.int32)), labels, class_names, groups, vocab_size=vocab_size
        )

    @classmethod
    def from_map_style(
        cls,
        dataset: torch.utils.data.Dataset[Any] | Sequence[tuple[Any, Any]],
        *,
        name: str = "data",
        class_names: Iterable[str] | None = None,
        groups: Any = None,
        channels: Channels | None = None,
        missing_classes: bool = False,
    ) -> Dataset:
        """A dataset from any PyTorch map-style dataset of ``(x, y)`` pairs.

        Every pair is read once and kept in memory, so a random transform (crop, flip) is frozen at that one
        draw: give the dataset without augmentation. Values are kept as they come (bytes stay 0 .. 255); pictures of
        Pillow's get their channels in front. All else as in ``from_arrays``. Raises DataError.
        """
        if not hasattr(dataset, "__len__"):
            raise DataError(
                f"The dataset {name!r} has no length ({type(dataset).__name__}); a split needs rows that "
                "can be counted. Give a map-style dataset (__len__ and __getitem__), or collect the stream "
                "into arrays for from_arrays."
            )
        pairs = [dataset[row] for row in range(len(dataset))]
        odd = [row for row, pair in enumerate(pairs) if not isinstance(pair, tuple | list) or len(pair) != 2]
        if odd:
            raise DataError(
                f"The dataset {name!r} must give pairs (x, y), but {listing('row', odd)} gave something "
                "else. Wrap it so that every row is an input and one label."
            )
        inputs = [x if isinstance(x, torch.Tensor) else np.asarray(as_image(x)) for x, _ in pairs]
        labels = [y.item() if isinstance(y, torch.Tensor | np.generic) else y for _, y in pairs]
        options = {"name": name, "class_names": class_names, "groups": groups, "missing_classes": missing_classes}
        return cls.from_arrays(inputs, labels, channels=channels, **options)

    @classmethod
    def from_hugging_face(
        cls,
        dataset: Any,
        *,
        features: str | Sequence[str],
        label: str,
        group: str | None = None,
        name: str = "data",
        class_names: Iterable[str] | None = None,
        channels: Channels | None = None,
        missing_classes: bool = False,
    ) -> Dataset:
        """A dataset from one split of Hugging Face's ``datasets``, or from anything whose rows are dicts.

        ``features`` is the column that holds a row's values (an image, a list of numbers), or several columns of one
        number each. Class names are those of the column ``label`` where it has some. Every row is read once and kept
        in memory. All else as in ``from_arrays``. Raises DataError, for a column that is not there too.
        """
        columns = [features] if isinstance(features, str) else list(features)
        rows = [dataset[number] for number in range(len(dataset))]
        absent = [one for one in (*columns, label, *([group] if group else [])) if rows and one not in rows[0]]
        if absent:
            raise DataError(f"The dataset has no column {absent[0]!r}. {suggest(absent[0], rows[0])}")
        known = getattr((getattr(dataset, "features", None) or {}).get(label), "names", None)
        inputs = [np.asarray(as_image(row[columns[0]])) for row in rows]
        if not isinstance(features, str):
            inputs = [np.asarray([row[one] for one in columns]) for row in rows]
        return cls.from_arrays(
            inputs,
            [row[label] for row in rows],
            name=name,
            class_names=class_names or known,
            groups=[row[group] for row in rows] if group else None,
            channels=channels,
            missing_classes=missing_classes,
        )

    @classmethod
    def _labelled(
        cls,
        name: str,
        stored: torch.Tensor,
        labels: Any,
        class_names: Iterable[str] | None,
        groups: Any,
        **fields: Any,
    ) -> Dataset:
        """``stored`` with labels, class names and groups as people give them; ``fields`` are those that are left."""
        indices, names = _as_labels(labels, None if class_names is None else tuple(map(str, class_names)))
        return cls(name, stored, indices, names, None if groups is None else _as_groups(groups), **fields)


def row_bytes(features: Tensor) -> npt.NDArray[np.uint8]:
    """The content of each row as (N, num_bytes) little-endian float32, minus zero written as zero.

    Tokens are written alike: float32 holds whole numbers up to 2^24.
    """
    flat = features.detach().flatten(1).numpy() + np.float32(0)
    return np.ascontiguousarray(flat, dtype="<f4").view(np.uint8)


def row_contents(features: Tensor) -> Iterator[bytes]:
    """``row_bytes`` of each row in turn, converted some rows at a time."""
    return (row.tobytes() for block in torch.split(features, BLOCK) for row in row_bytes(block))


def row_key(content: bytes) -> bytes:
    """16 bytes (BLAKE2b) that two contents share exactly when they are equal."""
    return hashlib.blake2b(content, digest_size=16).digest()


def row_keys(dataset: Dataset) -> list[bytes]:
    """N keys of 16 bytes: two rows have one key exactly when their features are equal; labels do not count.

    Unkeyed, so for use in memory only: what is published must go through the keyed ``DataSplit.digest``.
    """
    return [row_key(content) for content in dataset.contents()]


def _as_features(features: Any) -> torch.Tensor:
    if isinstance(features, list | tuple) and features and isinstance(features[0], torch.Tensor):
        features = _stack(features)
    if not isinstance(features, torch.Tensor):
        return torch.from_numpy(_as_float32(features))
    if features.is_complex():
        raise DataError(
            f"Features must be real numbers, but are {features.dtype}. Give real and imaginary parts as columns."
        )
    return features.detach().to("cpu", torch.float32, copy=True).contiguous()


def _stack(samples: Sequence[torch.Tensor]) -> torch.Tensor:
    shapes = sorted({tuple(row.shape) for row in samples})
    if len(shapes) > 1:
        raise DataError(
            f"Rows must all have one shape, but there are {listing('shape', shapes)}. Resize or pad them first."
        )
    return torch.stack(list(samples))


def _as_float32(features: Any) -> npt.NDArray[np.float32]:
    try:
        array = np.asarray(features)
    except ValueError as error:
        raise DataError(f"Rows must all have one shape, but do not ({error}). Resize or pad them first.") from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"Features must be real numbers, but have dtype {array.dtype}. "
            "Turn text into numbers first (read_csv one-hot encodes such columns), and sparse matrices "
            "into dense arrays."
        )
    with np.errstate(over="ignore"):  # what does not fit float32 becomes inf, and is reported with its row
        return np.array(array, dtype=np.float32, order="C")


def _as_labels(labels: Any, known_names: tuple[str, ...] | None) -> tuple[torch.Tensor, tuple[str, ...]]:
    array = _as_column(labels, "labels")
    if array.dtype.kind == "f":
        array = _whole(array)
    if array.dtype.kind in "US":
        return _look_up(array.astype(str), known_names)
    if known_names is not None:
        return torch.from_numpy(array.astype(np.int64)), known_names
    values, indices = np.unique(array.astype(np.int64), return_inverse=True)
    if len(values) and values[0] < 0:
        raise DataError(
            f"Labels must be 0 or more, but {listing('row', np.flatnonzero(array < 0))} (counted from 0) "
            "are negative. Drop rows whose label is unknown; if a negative number is the name of a class, "
            "give the labels as strings."
        )
    return torch.from_numpy(indices.astype(np.int64)), tuple(str(value) for value in values)


def _as_column(column: Any, what: str) -> npt.NDArray[Any]:
    """``column`` as a one-dimensional array of integers, floats or strings."""
    array = column.detach().cpu().numpy() if isinstance(column, torch.Tensor) else np.asarray(column)
    if array.dtype == object and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biufUS"):
        raise DataError(
            f"The {what} must be one integer or string per row, shape (N,), but have shape {array.shape} "
            f"and dtype {array.dtype}. One-hot labels become indices with argmax(1); fill in or drop rows "
            "that have none."
        )
    return array


def _whole(array: npt.NDArray[Any]) -> Int64Array:
    broken = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
    if len(broken):
        raise DataError(
            f"Labels must be classes, but {listing('row', broken)} (counted from 0) have a label that is "
            "not a whole number. Give integers or strings; a measured quantity has to be cut into classes "
            "first."
        )
    return cast(Int64Array, array.astype(np.int64))


def _look_up(array: npt.NDArray[np.str_], known_names: tuple[str, ...] | None) -> tuple[torch.Tensor, tuple[str, ...]]:
    values, codes = np.unique(array, return_inverse=True)
    names = tuple(str(value) for value in values) if known_names is None else known_names
    strangers = [str(value) for value in values if value not in names]
    if strangers:
        raise DataError(
            f"{listing('label', strangers)} do not occur in class_names. {suggest(strangers[0], names)} "
            "Correct the labels, or add the missing class names."
        )
    order = np.array([names.index(str(value)) for value in values], dtype=np.int64)
    return torch.from_numpy(order[codes]), names


def _as_groups(groups: Any) -> Int64Array:
    array = _as_column(groups, "groups")
    if array.dtype.kind == "f":
        raise DataError(
            f"Groups must be integers or strings, one per row, but have dtype {array.dtype}. "
            "Give every row a group; a row that belongs to nobody gets a number of its own."
        )
    coded = np.unique(array, return_inverse=True)[1] if array.dtype.kind in "US" else array
    frozen = np.array(coded, dtype=np.int64)
    frozen.setflags(write=False)
    return frozen


def _check_shapes(data: Dataset) -> None:
    wanted = torch.int32 if data.is_tokens else torch.uint8 if data.is_pixels else torch.float32
    if data.stored.dtype != wanted or data.labels.dtype != torch.int64 or data.labels.ndim != 1:
        raise DataError(
            f"A Dataset holds {'int32 tokens' if data.is_tokens else 'float32 features'} and int64 labels of shape "
            f"(N,), but got {data.stored.dtype} and {data.labels.dtype} of shape {tuple(data.labels.shape)}. "
            "Dataset.from_arrays, from_pixels and from_tokens convert them."
        )
    if data.scaler is not None and not data.is_pixels:
        raise DataError("Only pixels are scaled where they are read; scale other features before they are given.")
    if data.table is not None and tuple(data.stored.shape[1:]) != (data.table.num_features,):
        raise DataError(
            f"The schema of a table makes {data.table.num_features} features of a row, and the rows have "
            f"{tuple(data.stored.shape[1:])}. Leave the table out of a dataset whose features were changed."
        )
    if data.is_pixels and data.stored.ndim != 4:
        raise DataError(
            f"Pixels have the shape (N, C, H, W), but these bytes have {tuple(data.stored.shape)}. "
            "Other values go to Dataset.from_arrays."
        )
    if data.groups is not None and (data.groups.dtype != np.int64 or data.groups.ndim != 1):
        raise DataError(
            f"A Dataset holds int64 groups of shape (N,), but got {data.groups.dtype} of shape {data.groups.shape}. "
            "Dataset.from_arrays converts them."
        )
    if data.stored.ndim and len(data.stored) == 0:
        raise DataError(f"The dataset {data.name!r} has no rows. Check the file, or the filter that chose the rows.")
    if data.stored.ndim < 2 or data.stored[0].numel() == 0:
        raise DataError(
            f"Features need a row axis and at least one value per row, shape (N, ...), but have shape "
            f"{tuple(data.stored.shape)}. A single column is features.reshape(-1, 1)."
        )
    lengths = {"features": len(data.stored), "labels": len(data.labels)}
    if data.groups is not None:
        lengths["groups"] = len(data.groups)
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{count} {what}" for what, count in lengths.items())
        raise DataError(f"Every row needs one of each, but there are {got}. Give arrays of equal length.")


def _check_finite(data: Dataset) -> None:
    if all(math.isfinite(value) for value in data.stored.aminmax()):
        return  # two numbers (NaN among the rows is both), where the search below takes copies of all
    broken = ~torch.isfinite(data.stored.reshape(data.num_rows, -1))
    rows, columns = broken.any(1).nonzero().flatten(), broken.any(0).nonzero().flatten()
    if len(rows):
        raise DataError(
            f"Features must be finite, but {listing('row', rows.tolist())} hold NaN or infinity, in "
            f"{listing('column', columns.tolist())}, both counted from 0 (columns of the flattened row; "
            "numbers past 3.4e38 are infinite in float32). Fill in or drop these values."
        )


def _check_tokens(data: Dataset) -> None:
    size, tokens = data.vocab_size or 0, data.stored
    if not 1 <= size < MOST_TOKENS or tokens.ndim != 2:
        raise DataError(
            f"Tokens have the shape (N, L) and a vocab_size of 1 .. {MOST_TOKENS - 1}; got {tuple(tokens.shape)} and "
            f"{size}. The vocabulary is the tokenizer's."
        )
    outside = ((tokens < -1) | (tokens >= size)).any(1).nonzero().flatten()
    if len(outside):
        raise DataError(
            f"Tokens are -1 (none) or 0 .. {size - 1}, but {listing('row', outside.tolist())} hold others. Give the "
            "vocab_size of the tokenizer that made them."
        )
    is_token = tokens >= 0
    ragged = ((is_token[:, 1:] & ~is_token[:, :-1]).any(1) | ~is_token[:, 0]).nonzero().flatten()
    if len(ragged):
        raise DataError(
            f"A row's tokens come first and -1 after them, but {listing('row', ragged.tolist())} are empty or have -1 "
            "before a token. Pad on the right, and drop texts without a token."
        )


def _check_classes(data: Dataset) -> None:
    names = data.class_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"Class names must differ, but {listing('name', repeated)} occur twice. Rename them.")
    if len(names) < 2:
        raise DataError(
            f"A classifier needs at least 2 classes, but {data.name!r} has {len(names)}. "
            "Check that the right column is the label, and that the rows were not filtered by it."
        )
    outside = ((data.labels < 0) | (data.labels >= len(names))).nonzero().flatten().tolist()
    if outside:
        raise DataError(
            f"Labels must lie in 0 .. {len(names) - 1}, one per class name, but {listing('row', outside)} "
            "(counted from 0) do not. Drop rows whose label is unknown, or give the missing class names."
        )
    if data.missing_classes:
        return
    counts = torch.bincount(data.labels, minlength=len(names))
    empty = [name for name, count in zip(names, counts.tolist(), strict=True) if count == 0]
    if empty:
        raise DataError(
            f"Every class needs a row, but {listing('class', empty)} have none. "
            "Add rows; or leave these class names out and renumber integer labels; or, where a model that is audited "
            "knows more classes than its sample of members has, say missing_classes=True."
        )
