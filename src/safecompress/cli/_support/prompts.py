"""Answers for `init`: from flags, from a person where there is a terminal, and from the name of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from safecompress.cli._support.assignments import read_options
from safecompress.errors import UsageError, suggest

if TYPE_CHECKING:
    from safecompress.attacks import Access

T = TypeVar("T")

TABLES, ARRAYS, TEXTS = (".csv", ".csv.gz", ".csv.xz"), (".npz",), (".tsv", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Prompter:
    """Prompts, on standard error, for what no flag says; takes the default where nobody can answer."""

    is_interactive: bool

    def ask(self, question: str, flag: T | None, default: T) -> T:
        """The value of ``flag``, or else the answer, of the default's type."""
        if flag is not None or not self.is_interactive:
            return default if flag is None else flag
        answer: T = typer.prompt(question, default=default, type=type(default), err=True)
        return answer

    def require(self, question: str, flag: str | None, refusal: str) -> str:
        """The value of ``flag``, or else the answer. Raises UsageError with ``refusal`` where nobody can answer."""
        if flag is None and not self.is_interactive:
            raise UsageError(refusal)
        answer: str = flag if flag is not None else typer.prompt(question, err=True)
        return answer


def source_of(name: str, root: Path | None, folder: Path, choices: Sequence[str]) -> dict[str, Any]:
    """``[data] source`` as a table: a file by its ending, else a data set by its name; paths count from ``folder``."""
    from safecompress.data import DATASETS

    values = read_options(choices)
    kinds = (("csv", "path", TABLES), ("npz", "path", ARRAYS), ("text", "root", TEXTS))
    for kind, key, endings in kinds:
        if name.lower().endswith(endings):
            if not Path(name).is_file():
                raise UsageError(f"There is no file {name}. Check the path.")
            return {"name": kind, key: _relative_path(folder, name), **values}
    if name not in DATASETS.names():
        kinds_of_files = ", ".join((*TABLES, *ARRAYS, *TEXTS))
        raise UsageError(
            f"{name!r} is no file of a known kind ({kinds_of_files}) and no data set. {suggest(name, DATASETS.names())}"
        )
    return {"name": name, **({} if root is None else {"root": _relative_path(folder, str(root))}), **values}


def _relative_path(folder: Path, path: str) -> str:
    """``path`` as the spec in ``folder`` names it; an absolute path stays as it is."""
    return path if Path(path).is_absolute() else os.path.relpath(path, folder)


def access_of(word: str) -> Access:
    """What an attacker is given, by its name. Raises UsageError for another word."""
    from safecompress.attacks import Access

    names = [access.name.lower() for access in Access]
    if word not in names:
        raise UsageError(f"--access {word!r} is not known. {suggest(word, names)}")
    return Access[word.upper()]


def columns_of(path: Path) -> str:
    """The columns of a table, for a person. Raises DataError for a file that is no table."""
    from safecompress.tables import Table

    names = Table.read(path).header
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def name_of(path: str) -> str:
    """A name for the spec: the file's, without endings, in letters that a spec's name may have."""
    stem = Path(path).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:100] or "spec"
