"""The application that verbs join, each from its own file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

from safecompress import __version__

F = TypeVar("F", bound=Callable[..., Any])

ORDER = (
    "init", "data", "compress", "audit", "report", "bench", "predict", "export", "release", "members", "compare",
    "tune", "list",
)  # fmt: skip
"""The verbs, in the order in which a user needs them. Each is a module of `cli.verbs`; its name here registers it."""

RESUMABLE = ("compress", "compare", "tune", "search")
"""Verbs that keep finished work: the same command resumes after a stop."""


class Verbs(TyperGroup):
    """The verbs, in an order that tells a story."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return sorted(super().list_commands(ctx), key=lambda name: (*ORDER, name).index(name))


class App(typer.Typer):
    """A Typer that takes the help of a verb from its docstring: paragraphs flow, and brackets are no markup."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Register a verb, as Typer does."""

        def register(verb: F) -> F:
            options.setdefault("help", plain(inspect.getdoc(verb) or ""))
            return super(App, self).command(name, **options)(verb)

        return register


def plain(text: str) -> str:
    """``text`` for a terminal: one line a paragraph, and square brackets that stay."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")).replace("[", "\\[")


app = App(
    name="safecompress",
    cls=Verbs,
    help="Compress a classifier while simulated attacks choose what survives, and judge the file that ships.\n\n"
    "New here? `safecompress init` writes a spec for your data; `safecompress compress SPEC.toml` does the rest.\n\n"
    "Exit codes: 0 every requirement PASS, 1 any FAIL, 2 usage or spec error, 3 any ERROR or INCONCLUSIVE, 130 stopped "
    "(Ctrl-C), 143 by SIGTERM, 129 by SIGHUP. Only PASS passes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"safecompress {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of the program itself."""
