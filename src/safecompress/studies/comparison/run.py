"""compare: every cell through an executor, one file each, so that a killed or extended comparison resumes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safecompress.compression.search import Executor, SerialExecutor
from safecompress.metrics.catalogue import ACCURACY
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
    comparison_inputs: ComparisonInputs,
    out: str | Path,
    *,
    name: str = "comparison",
    spec_tables: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> ComparisonResult:
    """Train and attack every cell of the comparison; leave the page, the JSON document and the picture in ``out``.

    Exploratory: there is no ledger and no verdict. Cells that ``out`` holds are read instead of made, unless they
    failed; so a killed comparison resumes, and one with another method or seed does only what is missing. ``cache`` is
    a private folder for trained stages and shadow models (default: inside ``out``). ``spec_tables`` is what was asked
    for, as written, for the document.

    Raises UsageError (and its kinds) before any training for what would fail in every cell, RunFolderError when ``out``
    is in use or holds anything else, StorageError when the disk refuses. A method that fails does not raise.
    """
    comparison_inputs.check()
    folder, watcher = Path(out), progress or Silent()
    with open_study_folder(folder, "comparison", name) as opened:
        store = None if cache is None else Path(cache)
        runner = Runner(CellStudy(comparison_inputs), opened, executor or SerialExecutor(), watcher, store)
        stages = comparison_inputs.comparison.stages()
        runner.begin([cell for stage in stages for cell in stage])
        results = [result for stage in stages for result in runner.results(stage, _line)]
        result = ComparisonResult(
            comparison_inputs,
            tuple(results),
            name=name,
            environment=environment(comparison_inputs.threads),
            split=comparison_inputs.rows(comparison_inputs.comparison.seeds[0]).raw.summary(),
            spec=spec_tables or {},
        )
        write_outputs(
            folder,
            STEM,
            page=partial(to_markdown, result),
            document=result.to_json(),
            draw=partial(draw, comparison_inputs.comparison, result.results),
            progress=watcher,
        )
    return result


def _line(result: CellResult) -> str:
    """One line of progress."""
    if result.error is not None:
        return f"{result.cell}: failed ({result.error})"
    worst, accuracy = result.worst_leak, result.value(ACCURACY.name)
    leak = f"worst AUC {worst:.3f}" if worst is not None else f"no number from {', '.join(result.broken)}"
    return f"{result.cell}: accuracy {accuracy:.3f}, {leak}, {sum(result.seconds.values()):.1f} s"
