"""The application that verbs join, each from its own file."""

from __future__ import annotations

import typer

from safecompress import __version__

app = typer.Typer(
    name="safecompress",
    help="Compress a classifier while simulated attacks choose what survives, and judge the file that ships.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"safecompress {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Exit codes: 0 every requirement PASS, 1 any FAIL, 2 usage or spec error, 3 any ERROR or INCONCLUSIVE."""
