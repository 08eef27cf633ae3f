"""``safecompress search SPEC.toml``: which settings to take. Exploratory: `compress` certifies what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli._support.complete import spec_files
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, QUIET

if TYPE_CHECKING:
    from safecompress.tuning import Found

SPEC = typer.Argument(..., help="The spec: that of compress, with a table \\[tune] (TOML).", autocompletion=spec_files)
OUT = typer.Option(None, "--out", help="Folder of the search.  (default: runs/<name>)", show_default=False)
WORKERS = typer.Option(1, "--workers", min=1, help="Processes; each tries one setting at a time.")
THREADS = typer.Option(1, "--threads", min=1, help="Threads of each process; part of what results depend on.")


@app.command()
def search(
    spec: Path = SPEC,
    out: Path | None = OUT,
    workers: int = WORKERS,
    threads: int = THREADS,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Search settings for accuracy and against leakage; leave a spec for each point of the front.

    Reads no test or verdict row: certify what you take with compress. A killed search goes on with the same command.
    Exit code: 0 at least one trial has numbers, 2 usage or spec error, 3 none has.
    """
    from safecompress.cli._support.output import say_json, watching
    from safecompress.threads import fixed_threads
    from safecompress.tuning import load_tuning, tune
    from safecompress.tuning.run import MARKDOWN
    from safecompress.workflows.loading import executor_of, load_rows, make_job

    wanted = load_tuning(spec)
    folder = out if out is not None else Path("runs") / wanted.config.name
    with fixed_threads(threads):
        job = make_job(wanted.config, load_rows(wanted.config), None, "cpu")
        with watching(quiet) as watcher, executor_of(workers) as executor:
            found = tune(wanted.tuning(job, threads), folder, spec=wanted, executor=executor, progress=watcher)
    if as_json:
        say_json(found.to_json())
    elif quiet:
        typer.echo(f"Page: {folder / MARKDOWN}")
    else:
        _show(found, folder / MARKDOWN)
    raise typer.Exit(found.exit_code)


def _show(found: Found, page: Path) -> None:
    """Print the front, what failed, and where the page is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from safecompress.tuning.run import front_file
    from safecompress.tuning.table import front_rows

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a log has no width of its own
    files = [front_file(number) for number in range(1, len(found.front) + 1)]
    header, rows = front_rows(found, files)
    if rows:
        table = Table(title=f"{escape(found.name)}: the front, by the figures that chose it", title_justify="left")
        for name in header:
            table.add_column(escape(name))
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for number, tried in enumerate(found.trials, 1):
        if tried.error is not None:
            console.print(f"[magenta]FAILED[/] trial {number}: {escape(tried.error)}", highlight=False)
        for attack, reason in tried.broken.items():
            console.print(f"[magenta]ERROR[/] trial {number}: {escape(attack)}: {escape(reason)}", highlight=False)
    if rows:
        command = f"safecompress compress {page.parent / files[(found.likeliest or 1) - 1]}"
        console.print(
            f"Certify the one you take on fresh rows, say: {escape(command)}", highlight=False, soft_wrap=True
        )
    console.print(f"Page: {escape(str(page))}", highlight=False, soft_wrap=True)
