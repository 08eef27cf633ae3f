"""What a verb prints where: results on standard output, progress on standard error, for a person or a program."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from safecompress.progress import Progress


def say_json(value: Any) -> None:
    """Print one JSON object on one line, in ASCII; a NaN in it is a fault of ours and raises ValueError."""
    typer.echo(json.dumps(value, allow_nan=False))


def stdout_console(log_width: int = 110) -> Console:
    """A console on standard output; a file or a pipe has no width of its own and gets ``log_width`` columns."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=log_width)


@contextlib.contextmanager
def watching(quiet: bool) -> Iterator[Progress]:
    """Progress on standard error; none with ``quiet``."""
    if quiet:
        from safecompress.progress import Silent

        yield Silent()
        return
    from safecompress.cli._support.live import watching as watched

    with watched() as watcher:
        yield watcher


def options_given(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """Those of the options ``names`` that occur in ``arguments``, each with its value, or None where it has none.

    For what must be known even if the command line cannot be parsed. A word that looks like an option is no value.
    """
    values: dict[str, str | None] = {}
    words = [*arguments[: arguments.index("--")]] if "--" in arguments else [*arguments]
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            after = next(iter(words[position + 1 : position + 2]), "-")
            values[name] = value if equals else None if after.startswith("-") else after
    return values
