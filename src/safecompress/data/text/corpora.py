"""The text datasets of the field, from the files of their releases; options are those of `read_text`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safecompress.data.dataset import Dataset
from safecompress.data.text.files import is_json_lines, is_without_header, kind_of, read_texts
from safecompress.data.text.labels import class_indices
from safecompress.data.text.read import Part, files_of, reduced
from safecompress.data.text.rows import TextOptions, tokenised
from safecompress.data.text.table import TextTable
from safecompress.errors import DataError, UsageError

AG_NEWS_CLASSES = ("World", "Sports", "Business", "Sci/Tech")
YELP_CLASSES = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
SST2_CLASSES = ("negative", "positive")

_OTHER_NAMES = {"Class Index": "label", "Title": "title", "Description": "description"}
"""How copies of AG News with a header call the release's columns."""


def ag_news(
    root: str | Path,
    *,
    tokenizer: str | Path,
    part: Part = "train",
    words_only: bool | None = None,
    max_length: int = 128,
    rows: int | None = None,
    per_class: int | None = None,
    pad_to_max: bool = False,
    skip_unreadable: bool = False,
) -> Dataset:
    """AG News: reports in 4 classes (120,000 train, 7,600 test), from the files in the folder ``root``.

    Files: train.csv and test.csv (release ag_news_csv), or train and test with the fields text and label as .jsonl,
    .parquet, .csv or .tsv, or a saved dataset; and the tokenizer's.

    Either the release (``train.csv``, ``test.csv`` of ``ag_news_csv``: class 1 .. 4, title, description), or the fields
    ``text`` and ``label`` (0 .. 3) as JSON lines, Parquet, a table or a saved dataset. Title and description of the
    release make one text. A backslash, which stands there for the end of a line, becomes a blank. ``words_only``
    reduces a text to small letters a .. z and digits; left out, that is done to JSON lines, whose rows may come from
    sources of different style. Options and errors as in `read_text`.
    Source: Zhang, Zhao, LeCun 2015, "Character-level Convolutional Networks for Text Classification".
    """
    reading = TextOptions(tokenizer, max_length, rows, per_class, pad_to_max, skip_unreadable)
    stems = {"train": ("train", "train_subset"), "test": ("test",)}
    paths = files_of(Path(root), part, stems, ("ag_news_csv", "data"), "AG News")
    tables, first = _release(paths, ("label", "title", "description"))
    is_mixed = any(len(set(table.columns.get("src", ()))) > 1 for table in tables)
    if is_mixed and words_only is False:
        raise UsageError(
            f"The rows of {paths[0]} come from sources whose style tells them apart, and with them members from "
            "non-members. Leave words_only out."
        )
    table = TextTable.joined(_alike(tables))
    texts = [text.replace("\\", " ") for text in _texts(table)]
    if words_only or (words_only is None and (is_mixed or is_json_lines(paths[0]))):
        texts = reduced(texts)
    labels, names = class_indices(table, "label", AG_NEWS_CLASSES, first=first)
    return tokenised(table, texts, labels, names, name="ag_news", text_options=reading)


def yelp5(
    root: str | Path,
    *,
    tokenizer: str | Path,
    part: Part = "train",
    max_length: int = 128,
    rows: int | None = None,
    per_class: int | None = None,
    pad_to_max: bool = False,
    skip_unreadable: bool = False,
) -> Dataset:
    """Yelp reviews with 1 to 5 stars (650,000 train, 50,000 test), from the files in the folder ``root``.

    Files: train.csv and test.csv (release yelp_review_full_csv), or train and test with the fields text and label as
    .jsonl, .parquet, .csv or .tsv, or a saved dataset; and the tokenizer's.

    Either the release (``train.csv``, ``test.csv`` of ``yelp_review_full_csv``: class 1 .. 5, text), or the fields
    ``text`` and ``label`` (0 .. 4) as JSON lines, Parquet, a table or a saved dataset. ``\\n`` and other backslashes,
    which the release writes into texts, become blanks. Options and errors as in `read_text`.
    Source: Zhang, Zhao, LeCun 2015, "Character-level Convolutional Networks for Text Classification".
    """
    reading = TextOptions(tokenizer, max_length, rows, per_class, pad_to_max, skip_unreadable)
    folders = ("yelp_review_full_csv", "yelp_review_full", "data")
    paths = files_of(Path(root), part, {"train": ("train",), "test": ("test",)}, folders, "Yelp reviews")
    tables, first = _release(paths, ("label", "text"))
    table = TextTable.joined(_alike(tables))
    texts = [text.replace("\\n", " ").replace("\\", " ") for text in _texts(table)]
    labels, names = class_indices(table, "label", YELP_CLASSES, first=first)
    return tokenised(table, texts, labels, names, name="yelp5", text_options=reading)


def sst2(
    root: str | Path,
    *,
    tokenizer: str | Path,
    part: Part = "train",
    max_length: int = 128,
    rows: int | None = None,
    per_class: int | None = None,
    pad_to_max: bool = False,
    skip_unreadable: bool = False,
) -> Dataset:
    """SST-2: phrases of film reviews, negative or positive (67,349 train, 872 dev), from the folder ``root``.

    Files: train.tsv and dev.tsv (GLUE), or train and dev with the fields sentence or text, and label, as .jsonl,
    .parquet, .csv or .tsv, or a saved dataset; and the tokenizer's.

    Either GLUE's files (``train.tsv``, ``dev.tsv`` of ``SST-2``: sentence, label), or the fields ``sentence`` or
    ``text`` and ``label`` (0, 1) as JSON lines, Parquet, a table or a saved dataset. ``part`` "test" is the dev part:
    GLUE's test part has no labels. Options and errors as in `read_text`.
    Source: Socher et al. 2013, "Recursive Deep Models for Semantic Compositionality"; GLUE: Wang et al. 2018.
    """
    reading = TextOptions(tokenizer, max_length, rows, per_class, pad_to_max, skip_unreadable)
    stems = {"train": ("train",), "test": ("dev", "validation", "test_gluedev")}
    paths = files_of(Path(root), part, stems, ("SST-2", "sst2", "data"), "SST-2")
    table = TextTable.joined(_alike(_release(paths, None)[0]))
    labels, names = class_indices(table, "label", SST2_CLASSES)
    return tokenised(table, _texts(table), labels, names, name="sst2", text_options=reading)


def _release(paths: Sequence[Path], header: Sequence[str] | None) -> tuple[list[TextTable], int]:
    """The rows of each file, and the number of the first class: 1 as in the release, ``header`` its columns, or 0."""
    bare = [path for path in paths if header and kind_of(path) == ".csv" and is_without_header(path)]
    wanted = ["text", "sentence", "label", "title", "description", "src", *_OTHER_NAMES]
    tables = [read_texts(path, wanted, header=header if path in bare else None) for path in paths]
    from_one = [path in bare or "Class Index" in table.columns for path, table in zip(paths, tables, strict=True)]
    if any(from_one) and not all(from_one):
        raise DataError(
            f"{paths[0]} and {paths[1]} differ: in one classes count from 1, as in the release, in the other from 0. "
            "Write both in one way."
        )
    return [table.renamed(_OTHER_NAMES) for table in tables], int(any(from_one))


def _alike(tables: Sequence[TextTable]) -> list[TextTable]:
    """The tables with only the columns that all of them have: what one part alone has is no text."""
    shared = set.intersection(*(set(table.columns) for table in tables))
    return [table.only(shared) for table in tables]


def _texts(table: TextTable) -> list[str]:
    """One text a row: the column ``text`` or ``sentence``, or title and description together."""
    if "title" in table.columns and "text" not in table.columns:
        pairs = zip(table.texts("title"), table.texts("description"), strict=True)
        return [f"{title} {description}" for title, description in pairs]
    return table.texts("sentence" if "sentence" in table.columns else "text")
