"""``safecompress list [NAME]``: what a spec can name, and all that is known of one name."""

from __future__ import annotations

import typer

from safecompress.cli._support.complete import known_names
from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON

NAME = typer.Argument(None, help="A name, such as lira: what it is, its options.", autocompletion=known_names)


@app.command(name="list")
def list_names(name: str | None = NAME, as_json: bool = AS_JSON) -> None:
    """List everything that a spec can name, and where each comes from; or all that is known of one name."""
    from safecompress.cli._support.names import all_kinds, called, show_kinds, show_page

    if name is not None:
        found = called(name)
        if as_json:
            say_json({"name": name, "found": [one.to_json() for one in found]})
            return
        for one in found:
            show_page(one)
        return
    kinds = all_kinds()
    if as_json:
        say_json({kind.kind: {one.name: one.brief() for one in kind.names} for kind in kinds})
        return
    show_kinds(kinds)
