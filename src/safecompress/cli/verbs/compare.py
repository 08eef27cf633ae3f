"""``safecompress compare SPEC.toml``: methods side by side under the same attacks. Exploratory, never a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli._support.complete import spec_files
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, QUIET

if TYPE_CHECKING:
    from safecompress.compare import Compared

SPEC = typer.Argument(..., help="The spec: data, model, recipe, what to compare (TOML).", autocompletion=spec_files)
OUT = typer.Option(None, "--out", help="Folder of the comparison.  (default: runs/<name>)", show_default=False)
WORKERS = typer.Option(1, "--workers", min=1, help="Processes; each makes and attacks one model at a time.")
CACHE = typer.Option(
    None, "--cache", help="Private folder of trained stages and shadow models.  (default: in the comparison's folder)"
)
THREADS = typer.Option(1, "--threads", min=1, help="Threads of each process; part of what results depend on.")


@app.command()
def compare(
    spec: Path = SPEC,
    out: Path | None = OUT,
    workers: int = WORKERS,
    cache: Path | None = CACHE,
    threads: int = THREADS,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Put methods side by side: accuracy, what attacks find, bytes. Exploratory, never a release verdict.

    A killed comparison goes on with the same command; with another method or seed in the spec, only what is missing is
    done. Exit code: 0 every cell has numbers, 2 usage or spec error, 3 a method or an attack failed.
    """
    from safecompress.cli._support.output import say_json, watching
    from safecompress.compare import compare as run
    from safecompress.compare import load_comparison
    from safecompress.compare.run import MARKDOWN
    from safecompress.workflows.loading import executor_of

    wanted = load_comparison(spec)
    folder = out if out is not None else Path("runs") / wanted.name
    study = wanted.study(threads)
    with watching(quiet) as watcher, executor_of(workers) as executor:
        compared = run(
            study,
            folder,
            name=wanted.name,
            spec=wanted.tables,
            executor=executor,
            progress=watcher,
            cache=cache,
        )
    if as_json:
        say_json(compared.to_json())
    elif quiet:
        typer.echo(f"Page: {folder / MARKDOWN}")
    else:
        _show(compared, folder / MARKDOWN)
    raise typer.Exit(compared.exit_code)


def _show(compared: Compared, page: Path) -> None:
    """Print the table of means, what its marks say, what failed, and where the page is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from safecompress.compare.table import legend, summary_rows

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a log has no width of its own
    header, rows = summary_rows(compared)
    table = Table(title=f"{escape(compared.name)}: exploratory, no release verdict", title_justify="left")
    for name in header:
        table.add_column(escape(name))
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    for line in legend(compared):
        console.print(escape(line), highlight=False)
    for result in compared.results:
        if result.error is not None:
            console.print(f"[magenta]FAILED[/] {escape(str(result.cell))}: {escape(result.error)}", highlight=False)
        for attack, reason in result.broken.items():
            console.print(f"[magenta]ERROR[/] {escape(str(result.cell))}: {escape(attack)}: {escape(reason)}")
    console.print(f"Page: {escape(str(page))}", highlight=False, soft_wrap=True)
