"""How the verbs of studies end: a table, what failed, where the page is, and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from safecompress.studies.engine import Measured


class Ended(Protocol):
    """What a study came to."""

    @property
    def exit_code(self) -> int:
        """Of the command."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The whole study."""
        ...


def end_study(
    study: Ended, folder: Path, stem: str, show: Callable[[Console], None], *, as_json: bool, quiet: bool
) -> NoReturn:
    """Print the ``study`` as JSON, or what ``show`` prints and where its page is, and exit with its code."""
    from rich.console import Console

    from safecompress.cli._support.output import say_json
    from safecompress.cli._support.shown import shown

    page = folder / f"{stem}.md"
    if as_json:
        say_json(study.to_json())
    elif quiet:
        typer.echo(f"Page: {page}")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=200)  # a log has no width of its own
        show(console)
        console.print(f"Page: {shown(str(page))}", highlight=False, soft_wrap=True)
    raise typer.Exit(study.exit_code)


def print_table(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table under its title."""
    from rich.table import Table

    from safecompress.cli._support.shown import shown

    table = Table(title=shown(title), title_justify="left")
    for name in header:
        table.add_column(shown(name))
    for row in rows:
        table.add_row(*map(shown, row))
    console.print(table)


def print_failures(console: Console, results: Mapping[str, Measured]) -> None:
    """A line for each that failed and each attack that gave no number; ``results`` by what a reader calls them."""
    from safecompress.cli._support.shown import shown

    for name, result in results.items():
        if result.error is not None:
            console.print(f"[magenta]FAILED[/] {shown(name)}: {shown(result.error)}", highlight=False)
        for attack, reason in result.broken.items():
            console.print(f"[magenta]ERROR[/] {shown(name)}: {shown(attack)}: {shown(reason)}", highlight=False)
