"""``safecompress tune SPEC.toml``: which settings to take. Exploratory: `compress` certifies what it finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli._support.spec_file import require_spec
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, QUIET, out_option, spec_argument, threads_option, workers_option

if TYPE_CHECKING:
    from rich.console import Console

    from safecompress.studies.hyperparameters import StudyResult

SPEC = spec_argument("The spec: that of compress, with a table \\[tune] (TOML).")
OUT = out_option("Folder of the search.  (default: runs/<name>)")
WORKERS = workers_option("Processes; each tries one setting at a time.")
THREADS = threads_option("Threads of each process; part of what results depend on.")


@app.command()
def tune(
    spec: Path = SPEC,
    out: Path | None = OUT,
    workers: int = WORKERS,
    threads: int = THREADS,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Search settings for accuracy and against leakage; leave a spec for each point of the front.

    Reads no test or verdict row: certify what you take with compress. A killed search resumes with the same command.
    Exit code: 0 at least one trial has numbers, 2 usage or spec error, 3 none has.
    """
    require_spec(spec)
    from safecompress.cli._support.output import watching
    from safecompress.cli._support.studies import end_study
    from safecompress.studies.hyperparameters import load_tuning
    from safecompress.studies.hyperparameters import tune as run
    from safecompress.studies.hyperparameters.run import STEM
    from safecompress.threads import fixed_threads
    from safecompress.workflows.loading import executor_of, load_rows, make_job

    wanted = load_tuning(spec)
    folder = out if out is not None else Path("runs") / wanted.config.name
    with fixed_threads(threads):
        job = make_job(wanted.config, load_rows(wanted.config), None, "cpu")
        with watching(quiet) as watcher, executor_of(workers) as executor:
            found = run(wanted.tuning(job, threads), folder, spec=wanted, executor=executor, progress=watcher)
    end_study(found, folder, STEM, partial(_show, found, folder), as_json=as_json, quiet=quiet)


@app.command(hidden=True)
def search(
    spec: Path = SPEC,
    out: Path | None = OUT,
    workers: int = WORKERS,
    threads: int = THREADS,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """The former name of tune."""
    typer.echo("`safecompress search` is now called `safecompress tune`.", err=True)
    tune(spec, out, workers, threads, as_json, quiet)


def _show(result: StudyResult, folder: Path, console: Console) -> None:
    """Print the front, what failed, and how to certify a point."""
    from safecompress.cli._support.shown import shown
    from safecompress.cli._support.studies import print_failures, print_table
    from safecompress.studies.hyperparameters.run import front_file
    from safecompress.studies.hyperparameters.table import front_rows

    files = [front_file(number) for number in range(1, len(result.front) + 1)]
    header, rows = front_rows(result, files)
    if rows:
        print_table(console, f"{result.name}: the front, by the figures that chose it", header, rows)
    print_failures(console, {f"trial {number}": tried for number, tried in enumerate(result.trials, 1)})
    if rows:
        command = f"safecompress compress {folder / files[(result.likeliest or 1) - 1]}"
        console.print(f"Certify the one you take on fresh rows, say: {shown(command)}", highlight=False, soft_wrap=True)
