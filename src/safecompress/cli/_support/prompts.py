"""Answers for `init`: what a flag says, what a person is asked, and what a file's name tells."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from safecompress.errors import UsageError, suggest

if TYPE_CHECKING:
    from safecompress.attacks import Access

T = TypeVar("T")

TABLES, ARRAYS, TEXTS = (".csv", ".csv.gz", ".csv.xz"), (".npz",), (".tsv", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Asker:
    """Asks a person, on standard error, what no flag has said; or, where there is none, takes the default."""

    is_asking: bool

    def ask(self, question: str, given: T | None, default: T) -> T:
        """``given``, or the answer, of the default's type."""
        if given is not None or not self.is_asking:
            return default if given is None else given
        answer: T = typer.prompt(question, default=default, type=type(default), err=True)
        return answer

    def require(self, question: str, given: str | None, refusal: str) -> str:
        """``given``, or the answer. Raises UsageError with ``refusal`` where nobody can be asked."""
        if given is None and not self.is_asking:
            raise UsageError(refusal)
        answer: str = given if given is not None else typer.prompt(question, err=True)
        return answer


def source_of(given: str, root: Path | None, folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """``[data] source`` as a table: a file by its ending, else a data set by its name; paths count from ``folder``."""
    from safecompress.data import DATASETS

    told = dict(map(_key_and_value, options))
    kinds = (("csv", "path", TABLES), ("npz", "path", ARRAYS), ("text", "root", TEXTS))
    for name, key, endings in kinds:
        if given.lower().endswith(endings):
            if not Path(given).is_file():
                raise UsageError(f"There is no file {given}. Check the path.")
            return {"name": name, key: _from(folder, given), **told}
    if given not in DATASETS.names():
        kinds_of_files = ", ".join((*TABLES, *ARRAYS, *TEXTS))
        raise UsageError(
            f"{given!r} is no file of a known kind ({kinds_of_files}) and no data set. "
            f"{suggest(given, DATASETS.names())}"
        )
    return {"name": given, **({} if root is None else {"root": _from(folder, str(root))}), **told}


def _from(folder: Path, given: str) -> str:
    """A path as the spec in ``folder`` names it: absolute ones stay."""
    return given if Path(given).is_absolute() else os.path.relpath(given, folder)


def _key_and_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"--option takes key=value, got {text!r}.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def access_of(word: str) -> Access:
    """What an attacker is given, by its name. Raises UsageError for another word."""
    from safecompress.attacks import Access

    names = [access.name.lower() for access in Access]
    if word not in names:
        raise UsageError(f"--access {word!r} is not known. {suggest(word, names)}")
    return Access[word.upper()]


def columns_of(path: Path) -> str:
    """The columns of a table, for a person. Raises DataError for a file that is none."""
    from safecompress.data.table import Table

    names = Table.read(path).header
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def name_of(given: str) -> str:
    """A name for the spec: the file's, without endings, in letters that a spec's name takes."""
    stem = Path(given).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:100] or "spec"
