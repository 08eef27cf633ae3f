"""compare: every cell through an executor, one file each, so that a killed or a grown comparison goes on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safecompress.compression.search import Executor, SerialExecutor
from safecompress.progress import Progress, Silent
from safecompress.studies.comparison.cell import CellResult, CellStudy
from safecompress.studies.comparison.plan import ComparisonInputs
from safecompress.studies.comparison.plot import draw
from safecompress.studies.comparison.result import ComparisonResult
from safecompress.studies.comparison.table import to_markdown
from safecompress.studies.engine import Runner, environment, open_study_folder, write_outputs

STEM = "compare"
"""Of the files that a comparison leaves."""


def compare(
    study: ComparisonInputs,
    out: str | Path,
    *,
    name: str = "comparison",
    spec_tables: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> ComparisonResult:
    """Make and attack every cell of ``study``; leave the page, the JSON document and the picture in the folder ``out``.

    Exploratory: there is no ledger and no verdict. Cells that ``out`` holds are read instead of made, unless they
    failed; so a killed comparison goes on, and one with another method or seed does only what is missing. ``cache`` is
    a private folder for trained stages and shadow models (default: inside ``out``). ``spec_tables`` is what was asked
    for, as written, for the document.

    Raises UsageError (and its kinds) before any training for what no cell can do, RunFolderError when ``out`` is in use
    or holds anything else, StorageError when the disk refuses. A method that fails does not raise.
    """
    study.check()
    folder, watcher = Path(out), progress or Silent()
    with open_study_folder(folder, "comparison", name) as opened:
        store = None if cache is None else Path(cache)
        runner = Runner(CellStudy(study), opened, executor or SerialExecutor(), watcher, store)
        stages = study.comparison.stages()
        runner.begin([cell for stage in stages for cell in stage])
        results = [result for stage in stages for result in runner.results(stage, _line)]
        compared = ComparisonResult(
            study,
            tuple(results),
            name=name,
            environment=environment(study.threads),
            split=study.rows(study.comparison.seeds[0]).raw.summary(),
            spec=spec_tables or {},
        )
        write_outputs(
            folder,
            STEM,
            page=partial(to_markdown, compared),
            document=compared.to_json(),
            draw=partial(draw, study.comparison, compared.results),
            progress=watcher,
        )
    return compared


def _line(result: CellResult) -> str:
    """One line for whoever watches."""
    if result.error is not None:
        return f"{result.cell}: failed ({result.error})"
    worst, accuracy = result.worst_leak, result.value("accuracy")
    leak = f"worst AUC {worst:.3f}" if worst is not None else f"no number from {', '.join(result.broken)}"
    return f"{result.cell}: accuracy {accuracy:.3f}, {leak}, {sum(result.seconds.values()):.1f} s"
