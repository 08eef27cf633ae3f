"""``safecompress report RUN``: a report shown again, and its pages written anew from report.json."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, QUIET

RUN = typer.Argument(None, help="A run folder, or a report.json.", show_default=False)
SCHEMA = typer.Option(False, "--schema", help="Print the JSON schema of report.json, and nothing else.")
LICENSE = typer.Option(None, "--license", metavar="SPDX", help="License for the model card, such as apache-2.0.")


@app.command()
def report(
    run: Path | None = RUN,
    schema: bool = SCHEMA,
    license_id: str | None = LICENSE,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Show a run's report again; write report.html, report.md and model_card.md anew. Exit code: the verdict's.

    Given a report.json instead of a folder, nothing is written.
    """
    from safecompress.errors import UsageError
    from safecompress.report.schema import schema_text

    if schema:
        typer.echo(schema_text(), nl=False)
        return
    if run is None:
        raise UsageError("Which report? Give the folder of a finished run, or a report.json; or ask for --schema.")
    if not (run.is_file() or (run / "report.json").is_file()):
        raise UsageError(f"There is no report in {run}. Give the folder of a finished run, or a report.json.")
    from safecompress.cli._support.console import show_report
    from safecompress.report import load_report, render_report

    folder = run if run.is_dir() else None
    if folder is None and license_id is not None:
        raise UsageError("--license goes into the model card, which is written into a folder. Give the run's folder.")
    loaded = load_report(run)
    if folder is not None:
        render_report(loaded, folder, license_id=license_id)
    if as_json:
        say_json(loaded.to_json())
    else:
        show_report(loaded, folder, quiet=quiet)
    raise typer.Exit(loaded.exit_code)
