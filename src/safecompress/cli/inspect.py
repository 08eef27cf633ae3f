"""``safecompress report RUN`` and ``safecompress list``: look at what is there; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli.app import app
from safecompress.cli.output import AS_JSON, say_json

RUN = typer.Argument(..., help="A run folder, or a report.json.")


@app.command()
def report(run: Path = RUN) -> None:
    """Show a run's report again and write report.md anew. Exit code: the verdict's."""
    from safecompress.cli.console import show_report
    from safecompress.errors import UsageError
    from safecompress.report import load_report, save_report

    if not (run.is_file() or (run / "report.json").is_file()):
        raise UsageError(f"There is no report in {run}. Give the folder of a finished run, or a report.json.")
    loaded = load_report(run)
    folder = run if run.is_dir() else None
    if folder is not None:
        save_report(loaded, folder)
    show_report(loaded, folder)
    raise typer.Exit(loaded.exit_code)


@app.command(name="list")
def list_names(as_json: bool = AS_JSON) -> None:
    """List everything that a spec can name, and where each comes from."""
    from safecompress.attacks import ATTACKS
    from safecompress.cli.console import show_names
    from safecompress.data import DATASETS
    from safecompress.models import MODELS
    from safecompress.search import SELECTORS
    from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES, SHAPES
    from safecompress.training import AUGMENTATIONS, OBJECTIVES

    rules = (DROP_RULES, GROW_RULES, ALLOCATIONS, SHAPES, SCHEDULES, SELECTORS)
    registries = (DATASETS, MODELS, ATTACKS, OBJECTIVES, AUGMENTATIONS, *rules)
    told = {registry.kind: registry.describe() for registry in registries}
    if as_json:
        keys = ("origin", "summary")
        say_json({kind: {n: dict(zip(keys, t, strict=True)) for n, t in names.items()} for kind, names in told.items()})
        return
    show_names(told)
