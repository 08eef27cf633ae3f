"""What a file answers: raw samples in, probabilities out, whichever engine computes them."""

# N samples, C classes

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from safecompress.errors import DataError
from safecompress.runtime.rows import TableRows, is_table, read_rows
from safecompress.tables import TableSchema

Floats = NDArray[np.float32]

LARGEST = 1024  # rows that an engine is given at once


@dataclass(frozen=True, slots=True)
class InputOutputSpec:
    """What goes in and what comes out; ``class_names`` is empty where a file has none.

    Raw samples lie about ``shift`` by ``scale``, as far as the file tells. ``table`` makes samples of the rows of a
    table, in a file that was trained on one.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...] = ()
    shift: Floats | None = field(default=None, repr=False, compare=False)
    scale: Floats | None = field(default=None, repr=False, compare=False)
    table: TableSchema | None = field(default=None, repr=False, compare=False)

    def random_samples(self, num_rows: int, size: float = 1.0) -> Floats:
        """Normal noise, ``size`` times as large as usual, as raw samples (num_rows, *input_shape)."""
        samples_N = np.random.default_rng(num_rows).standard_normal((num_rows, *self.input_shape), dtype=np.float32)
        samples_N *= np.float32(size)
        samples_N = samples_N if self.scale is None else samples_N * self.scale
        return samples_N if self.shift is None else samples_N + self.shift


class Engine(Protocol):
    """One way to compute the logits of a file."""

    @property
    def name(self) -> str:
        """The word for it in ``load(engine=...)``."""

    def logits(self, samples_N: Floats) -> Floats:
        """Logits (N, C) of raw samples (N, *input_shape), N at least 1."""


class TableWarning(UserWarning):
    """A row of a table that was scored, though something in it is unlike anything in training."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of N rows of a table: ``probabilities`` (N, C) of the classes ``class_names``.

    ``places`` are the rows' numbers: lines of a file (``noun`` "line"), else rows from 0. ``warnings`` are sentences on
    values far outside of what the train rows had.
    """

    class_names: tuple[str, ...]
    probabilities: Floats = field(repr=False)
    places: tuple[int, ...] = field(repr=False)
    noun: str
    warnings: tuple[str, ...]

    @property
    def classes(self) -> list[str]:
        """The likeliest class of each row."""
        return [self.class_names[index] for index in self.probabilities.argmax(1)]

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded file. ``choices`` holds, by rising number of rows, the engine that answers so many rows or more.

    ``why`` says in one line what was chosen and what the others took.
    """

    facts: InputOutputSpec
    choices: tuple[tuple[int, Engine], ...] = field(repr=False)
    why: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns; their numbers where the file has no names."""
        return self.facts.class_names or tuple(map(str, range(self.facts.num_classes)))

    @property
    def engine(self) -> str:
        """The engine's name; where several share the work, as ``csr, torch from 64 rows``."""
        (_, first), *others = self.choices
        return ", ".join([first.name, *(f"{engine.name} from {num} rows" for num, engine in others)])

    @overload
    def predict(self, samples: NDArray[Any]) -> Floats: ...

    @overload
    def predict(self, samples: Any) -> Any: ...

    def predict(self, samples: Any) -> Floats | Prediction:
        """Classes and probabilities of the rows of a table, or probabilities (N, C) of raw ``samples`` (N, ...).

        Rows of a table are a DataFrame (pandas, Polars), an Arrow table, a dict, a list of dicts, or the path of a
        delimited file; columns are found by their names. Raises DataError, with every row and column that cannot be
        scored (`read_rows`), and as ``logits`` does.
        """
        if not is_table(samples):
            return softmax(self.logits(samples))
        rows = self.rows(samples)
        for warning in rows.warnings:
            warnings.warn(warning, TableWarning, stacklevel=2)
        return Prediction(self.classes, softmax(self.logits(rows.features)), rows.places, rows.noun, rows.warnings)

    def rows(self, samples: Any) -> TableRows:
        """The rows of a table as raw samples, and what is odd in them. Raises DataError as ``predict`` does."""
        if self.facts.table is None:
            raise DataError(
                "The model in this file was not trained on a table and knows no columns. Give raw samples: an array of "
                f"numbers of shape (N, {', '.join(map(str, self.facts.input_shape))})."
            )
        return read_rows(self.facts.table, samples)

    def logits(self, samples: Any) -> Floats:
        """Logits (N, C), float32, of raw ``samples`` (N, *input_shape): numbers of any kind, read as float32.

        Raises DataError for samples of another shape, or that are no numbers.
        """
        samples_N = self._checked(samples)
        num = len(samples_N)
        engine = self.engine_for(num)
        if 1 <= num <= LARGEST:
            return engine.logits(samples_N)
        parts = [engine.logits(samples_N[start : start + LARGEST]) for start in range(0, num, LARGEST)]
        return np.concatenate(parts) if parts else np.empty((0, self.facts.num_classes), np.float32)

    def engine_for(self, num_rows: int) -> Engine:
        """The engine that answers a call with so many rows."""
        chosen = self.choices[0][1]
        for least, engine in self.choices:
            if num_rows >= least:
                chosen = engine
        return chosen

    def _checked(self, samples: Any) -> Floats:
        try:
            samples_N = np.ascontiguousarray(samples, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"Samples are an array of numbers, one sample per row; got {_kind(samples)}.") from error
        shape = self.facts.input_shape
        if np.shape(samples)[1:] != shape or not np.ndim(samples):
            hint = " Pass one sample as samples[None]." if np.shape(samples) == shape else ""
            raise DataError(
                f"This model reads samples of shape {shape}, one per row; got an array of {np.shape(samples)}.{hint}"
            )
        return samples_N


def softmax(logits_NC: Floats) -> Floats:
    """Probabilities (N, C) of logits (N, C)."""
    shares_NC = logits_NC - np.maximum.reduce(logits_NC, axis=1, keepdims=True)  # half the time of .max for one row
    np.exp(shares_NC, out=shares_NC)
    shares_NC /= np.add.reduce(shares_NC, axis=1, keepdims=True)
    return shares_NC


def _kind(samples: Any) -> str:
    return f"an array of {samples.dtype}" if isinstance(samples, np.ndarray) else f"a {type(samples).__name__}"
