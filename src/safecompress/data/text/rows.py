"""From labelled texts to a dataset of tokens: which rows are kept, how they are cut, which cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safecompress.data.dataset import Dataset
from safecompress.data.text.table import TextTable
from safecompress.data.text.tokenizers import Bools, TextTokenizer, read_tokenizer
from safecompress.errors import DataError, UsageError
from safecompress.seeding import derive

Int64Array = npt.NDArray[np.int64]

MOST_UNKNOWN = 0.2
"""The largest share of tokens that a vocabulary may lack before it is taken for another language's."""


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How texts become rows.

    ``tokenizer`` is a file or folder as for `read_tokenizer`. A row has at most ``max_length`` tokens, its marks
    included; rows are as wide as the longest, or ``max_length`` wide with ``pad_to_max``. ``per_class`` keeps the first
    so many of each class, ``rows`` so many at random, always the same. ``skip_unreadable`` leaves out texts without a
    token that the vocabulary has, which are refused otherwise.
    """

    tokenizer: str | Path
    max_length: int = 128
    rows: int | None = None
    per_class: int | None = None
    pad_to_max: bool = False
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.rows is not None and self.per_class is not None:
            raise UsageError(
                f"rows = {self.rows} and per_class = {self.per_class} both say how many: give one of them."
            )


def tokenised(
    table: TextTable,
    texts: Sequence[str],
    labels_N: Int64Array,
    class_names: Sequence[str],
    *,
    name: str,
    text_options: TextOptions,
    groups: Sequence[Any] | None = None,
) -> Dataset:
    """The dataset of tokens of ``texts`` (N,), whose rows stand in ``table``, with ``labels_N`` (N,) and ``groups``.

    Raises DataError for texts that cannot be read, for a tokenizer that does not fit them, or for too few rows.
    """
    chosen = chosen_rows(labels_N, text_options.rows, text_options.per_class, num_classes=len(class_names))
    tokenizer = read_tokenizer(text_options.tokenizer)
    tokens = tokenizer.encode(
        [texts[row] for row in chosen.tolist()], max_length=text_options.max_length, pad_to_max=text_options.pad_to_max
    )
    is_text, is_known = tokenizer.readable(tokens)
    is_kept = is_known.any(axis=1)
    counted = is_kept if text_options.skip_unreadable else np.ones_like(is_kept)
    _require_fit(table, tokenizer, int(is_text[counted].sum()), int(is_known[counted].sum()))
    if not text_options.skip_unreadable:
        _refuse_unreadable(table, chosen, tokenizer, is_text, is_known)
    elif not is_kept.any():
        raise DataError(f"No text of {table.files[0]} has a token that {tokenizer.path} knows. Give another tokenizer.")
    kept = chosen[is_kept]
    return Dataset.from_tokens(
        tokens[is_kept],
        labels_N[kept],
        name=name,
        class_names=class_names,
        groups=None if groups is None else [groups[row] for row in kept.tolist()],
        vocab_size=tokenizer.vocab_size,
    )


def chosen_rows(labels_N: Int64Array, num_rows: int | None, per_class: int | None, *, num_classes: int) -> Int64Array:
    """All rows, or the first ``per_class`` of each class, or ``num_rows`` drawn at random; in the file's order.

    At random, because many files are sorted by class, or deal classes in turn. The draw is always the same, and a
    smaller one lies within a larger. Raises DataError when there are not so many.
    """
    if per_class is not None:
        places = [np.flatnonzero(labels_N == label) for label in range(num_classes)]
        fewest = min(map(len, places))
        if not 1 <= per_class <= fewest:
            raise DataError(f"per_class = {per_class} is out of range: each class has at least {fewest} texts here.")
        return np.sort(np.concatenate([found[:per_class] for found in places]))
    if num_rows is None:
        return np.arange(len(labels_N))
    if not 1 <= num_rows <= len(labels_N):
        raise DataError(f"rows = {num_rows} is out of range: there are {len(labels_N)} texts.")
    return np.sort(derive(0, "rows of texts").permutation(len(labels_N))[:num_rows])


def _require_fit(table: TextTable, tokenizer: TextTokenizer, num_tokens: int, num_known: int) -> None:
    """Raise DataError for a tokenizer that knows too few of the texts' tokens."""
    if num_tokens - num_known > MOST_UNKNOWN * num_tokens:
        raise DataError(
            f"The tokenizer {tokenizer.path} does not fit the texts of {table.files[0]}: it does not know "
            f"{(num_tokens - num_known) / num_tokens:.0%} of their tokens. Give the tokenizer of a model of this "
            "language, or correct the text's column."
        )


def _refuse_unreadable(
    table: TextTable, chosen: Int64Array, tokenizer: TextTokenizer, is_text: Bools, is_known: Bools
) -> None:
    """Raise DataError for ``chosen`` rows whose text is empty, or of which nothing is known."""
    has_text = is_text.any(axis=1)
    skip = "or leave them out: skip_unreadable = true."
    table.refuse(chosen[~has_text], "have an empty text", f"Fill it in, {skip}")
    is_strange = has_text & ~is_known.any(axis=1)
    what = f"have a text of which {tokenizer.path.name} knows no token"
    table.refuse(chosen[is_strange], what, f"Look at them, {skip}")
