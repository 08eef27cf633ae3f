"""Labelled texts from the files people have, as numbers of tokens; nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from safecompress.data.dataset import Dataset
from safecompress.data.text.columnar import STATE
from safecompress.data.text.files import read_texts
from safecompress.data.text.folders import find_part
from safecompress.data.text.labels import class_indices
from safecompress.data.text.rows import TextOptions, tokenised
from safecompress.data.text.table import TextTable
from safecompress.errors import DataError, UsageError, suggest

Part = Literal["train", "test", "all"]

Stems = Mapping[str, tuple[str, ...]]

STEMS: Stems = {"train": ("train",), "test": ("test", "validation", "dev")}
"""What the files of a part are called; the first that is there counts."""


def read_text(
    root: str | Path,
    *,
    tokenizer: str | Path,
    text: str | Sequence[str] = "text",
    label: str = "label",
    group: str | None = None,
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    part: Part = "all",
    words_only: bool = False,
    max_length: int = 128,
    rows: int | None = None,
    per_class: int | None = None,
    pad_to_max: bool = False,
    skip_unreadable: bool = False,
) -> Dataset:
    """Labelled texts of a file or folder: a table (.csv, .tsv), JSON lines (.jsonl), Parquet, or a saved dataset.

    Files: root, one such file, or a folder with train and test (or validation, dev); and the tokenizer's.

    A table or JSON lines may be compressed (.gz, .xz). In a folder the parts are files or folders called ``train`` and
    ``test`` (or ``validation``, ``dev``); ``part`` "all" reads both, and a file or saved dataset whole. The columns
    ``text`` make one text; ``columns`` names those of a table whose first line does not. Rows with one value of
    ``group`` (an author) stay together in a split. Without ``class_names`` classes are called as the file says, or as
    its labels, in order. ``words_only`` reduces a text to small letters a .. z and digits.

    ``tokenizer`` is a file or folder as for `read_tokenizer`. A row has at most ``max_length`` tokens, marks included;
    rows are as wide as the longest, or ``max_length`` wide with ``pad_to_max`` (for models that must read other files
    later). ``per_class`` keeps the first so many of each class, ``rows`` so many at random. Raises DataError, with
    file, count and first places, for files that are missing, ragged, broken or not UTF-8, columns that are missing,
    labels of no class, empty texts and texts of which the tokenizer knows nothing (``skip_unreadable`` leaves those
    two out), and for a tokenizer that does not fit; UsageError where a package is missing.
    """
    reading = TextOptions(tokenizer, max_length, rows, per_class, pad_to_max, skip_unreadable)
    place, text_columns = Path(root), [text] if isinstance(text, str) else list(text)
    if not place.exists():
        raise DataError(f"There is no file or folder {place}. Nothing is downloaded: put the texts there.")
    is_whole = place.is_file() or (place / STATE).is_file()
    if is_whole and part != "all":
        raise UsageError(f"part = {part!r} names a part of a folder, and {place} is one piece. Leave part out.")
    used = [*text_columns, label, *([] if group is None else [group])]
    if not text_columns or len(set(used)) < len(used):
        raise UsageError(
            f"text, label and group name one column or more, each in one role; got text = {text_columns}, "
            f"label = {label!r}, group = {group!r}."
        )
    paths = [place] if is_whole else files_of(place, part, STEMS, ("data",), "A text dataset")
    table = TextTable.joined([read_texts(path, used, header=columns) for path in paths])
    texts = [" ".join(cells) for cells in zip(*(table.texts(name) for name in text_columns), strict=True)]
    labels, names = class_indices(table, label, class_names)
    return tokenised(
        table,
        reduced(texts) if words_only else texts,
        labels,
        names,
        name=place.name.split(".")[0] or place.name,
        text_options=reading,
        groups=None if group is None else table.groups(group),
    )


def files_of(root: Path, part: Part, stems: Stems, subfolders: Sequence[str], called: str) -> list[Path]:
    """The files of the parts that ``part`` stands for; ``stems`` are the names that each may have."""
    if part not in get_args(Part):
        raise UsageError(f"{called}: part {part!r} is unknown. {suggest(str(part), get_args(Part))}")
    parts = [name for name in ("train", "test") if part in (name, "all")]
    return [
        path
        for name in parts
        for path in find_part(root, stems[name], subfolders=subfolders, called=f"{called}, part {name!r},")
    ]


def reduced(texts: Sequence[str]) -> list[str]:
    """Each text as its small letters a .. z and digits, words apart by one blank: what no style of writing changes."""
    return [" ".join(re.findall("[a-z0-9]+", text.lower())) for text in texts]
