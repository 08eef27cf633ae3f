"""``safecompress compare SPEC.toml``: methods side by side under the same attacks. Exploratory, never a verdict."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safecompress.cli._support.spec_file import require_spec
from safecompress.cli.app import app
from safecompress.cli.options import (
    AS_JSON,
    QUIET,
    cache_option,
    out_option,
    spec_argument,
    threads_option,
    workers_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from safecompress.studies.comparison import ComparisonResult

SPEC = spec_argument("The spec: data, model, recipe, what to compare (TOML).")
OUT = out_option("Folder of the comparison.  (default: runs/<name>)")
WORKERS = workers_option("Processes; each makes and attacks one model at a time.")
CACHE = cache_option("Private folder of trained stages and shadow models.  (default: in the comparison's folder)")
THREADS = threads_option("Threads of each process; part of what results depend on.")


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

    A killed comparison resumes with the same command; with another method or seed in the spec, only what is missing is
    done. Exit code: 0 every cell has numbers, 2 usage or spec error, 3 a method or an attack failed.
    """
    require_spec(spec)
    from safecompress.cli._support.output import watching
    from safecompress.cli._support.studies import end_study
    from safecompress.studies.comparison import compare as run
    from safecompress.studies.comparison import load_comparison
    from safecompress.studies.comparison.run import STEM
    from safecompress.workflows.loading import executor_of

    wanted = load_comparison(spec)
    folder = out if out is not None else Path("runs") / wanted.name
    study = wanted.study(threads)
    with watching(quiet) as watcher, executor_of(workers) as executor:
        compared = run(
            study,
            folder,
            name=wanted.name,
            spec_tables=wanted.tables,
            executor=executor,
            progress=watcher,
            cache=cache,
        )
    end_study(compared, folder, STEM, partial(_show, compared), as_json=as_json, quiet=quiet)


def _show(compared: ComparisonResult, console: Console) -> None:
    """Print the table of means, what its marks say, and what failed."""
    from safecompress.cli._support.shown import shown
    from safecompress.cli._support.studies import print_failures, print_table
    from safecompress.studies.comparison.table import legend, summary_rows

    print_table(console, f"{compared.name}: exploratory, no release verdict", *summary_rows(compared))
    for line in legend(compared):
        console.print(shown(line), highlight=False)
    print_failures(console, {str(result.cell): result for result in compared.results})
