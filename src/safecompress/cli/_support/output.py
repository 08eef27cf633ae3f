"""``--json`` and ``--quiet``: what every verb offers whoever reads it, a person or a program."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from safecompress.progress import Progress

AS_JSON = typer.Option(False, "--json", help="Print one JSON object on standard output; all else on standard error.")
QUIET = typer.Option(False, "--quiet", "-q", help="No progress and no tables: one line at the end.")


def say_json(value: Any) -> None:
    """One JSON object on one line, in ASCII; a NaN in it is a fault of ours and raises ValueError."""
    typer.echo(json.dumps(value, allow_nan=False))


@contextlib.contextmanager
def watching(quiet: bool) -> Iterator[Progress]:
    """Progress on standard error, or nobody watches."""
    if quiet:
        from safecompress.progress import Silent

        yield Silent()
        return
    from safecompress.cli._support.console import watching as watched

    with watched() as watcher:
        yield watcher


def options_given(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """Those of the options ``names`` that stand in ``arguments``, with what follows each, or None at the end.

    For what must be known even if the command line cannot be understood. What looks like an option is no value.
    """
    given: dict[str, str | None] = {}
    words = [*arguments[: arguments.index("--")]] if "--" in arguments else [*arguments]
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            after = next(iter(words[position + 1 : position + 2]), "-")
            given[name] = value if equals else None if after.startswith("-") else after
    return given
