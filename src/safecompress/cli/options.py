"""The options that several verbs take, each declared once: how it is spelt, what it holds and how it is checked.

A constant is the same for every verb; a function takes a help text, where the option means something else to each.
"""

from __future__ import annotations

from typing import Any

import typer

from safecompress.cli._support.complete import artifacts, spec_files

AS_JSON = typer.Option(False, "--json", help="Print one JSON object on standard output; all else on standard error.")
QUIET = typer.Option(False, "--quiet", "-q", help="No progress and no tables: one line at the end.")
JUNIT = typer.Option(
    None, "--junit", metavar="FILE.xml", help="Also write the verdict as JUnit XML, one test case per requirement."
)
SARIF = typer.Option(None, "--sarif", metavar="FILE.sarif", help="Also write what does not pass as SARIF 2.1.0.")
GITHUB = typer.Option(False, "--github", help="Also print annotations for GitHub Actions.")
RELEASED = typer.Option(None, "--released", help="List of versions already out, for joint_lira (see release).")


def spec_argument(text: str) -> Any:
    """A spec file, as the verb's argument."""
    return typer.Argument(..., help=text, autocompletion=spec_files)


def artifact_argument(text: str) -> Any:
    """A saved model, as the verb's argument."""
    return typer.Argument(..., help=text, autocompletion=artifacts)


def out_option(text: str) -> Any:
    """``--out``: the folder that the verb writes into."""
    return typer.Option(None, "--out", help=text, show_default=False)


def model_factory_option(text: str) -> Any:
    """``--model`` of verbs that take a network of the user's own class."""
    return typer.Option(None, "--model", metavar="PKG.MODULE:FACTORY", help=text)


def dense_option(text: str) -> Any:
    """``--dense``: weights of the dense model."""
    return typer.Option(None, "--dense", help=text)


def ledger_option(text: str) -> Any:
    """``--ledger``: the file that counts uses of the verdict rows."""
    return typer.Option(None, "--ledger", help=text)


def cache_option(text: str) -> Any:
    """``--cache``: a private folder that outlives the command."""
    return typer.Option(None, "--cache", help=text)


def workers_option(text: str) -> Any:
    """``--workers``: the number of processes."""
    return typer.Option(1, "--workers", min=1, help=text)


def threads_option(text: str) -> Any:
    """``--threads``: the number of threads of a process."""
    return typer.Option(1, "--threads", min=1, help=text)


def data_root_option(text: str) -> Any:
    """``--root``: where the files of a data set lie."""
    return typer.Option(None, "--root", help=text)


def data_option(text: str) -> Any:
    """``--option KEY=VALUE``: an option of a data set, as often as needed."""
    return typer.Option([], "--option", "-o", metavar="KEY=VALUE", help=text)
