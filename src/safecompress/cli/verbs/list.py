"""``safecompress list``: what a spec or a command can name; with a name, all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON

if TYPE_CHECKING:
    from safecompress.registry import Registry

NAME = typer.Argument(None, help="One name, such as lira: its documentation and options.", show_default=False)


@app.command(name="list")
def list_names(name: str | None = NAME, as_json: bool = AS_JSON) -> None:
    """List everything that a spec or a command can name, and where each comes from; or explain one name.

    Every kind is a plug-in group, too: a package that is installed adds names to it.
    """
    from safecompress.cli._support.console import show_names

    registries = _registries()
    if name is not None:
        _explain(name, registries, as_json)
        return
    kinds = {registry.kind: registry.describe() for registry in registries}
    if as_json:
        keys = ("origin", "summary")
        say_json(
            {kind: {n: dict(zip(keys, t, strict=True)) for n, t in names.items()} for kind, names in kinds.items()}
        )
        return
    show_names(kinds)


def _registries() -> tuple[Registry[Any], ...]:
    """Every registry, in the order in which a spec meets them."""
    from safecompress.attacks import ATTACKS
    from safecompress.compression.search import SELECTORS
    from safecompress.data import DATASETS
    from safecompress.loggers.parse import LOGGERS
    from safecompress.models import MODELS
    from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES, SHAPES
    from safecompress.studies.methods import METHODS
    from safecompress.training import AUGMENTATIONS, OBJECTIVES

    rules = (DROP_RULES, GROW_RULES, ALLOCATIONS, SHAPES, SCHEDULES, SELECTORS)
    return (DATASETS, MODELS, ATTACKS, OBJECTIVES, AUGMENTATIONS, *rules, METHODS, LOGGERS)


def _explain(name: str, registries: tuple[Registry[Any], ...], as_json: bool) -> None:
    """Print what each kind that has ``name`` says of it. Raises UsageError where none has."""
    from safecompress.errors import UsageError, suggest

    found = [_entry(registry, name) for registry in registries if name in registry.names()]
    if not found:
        known = sorted({known for registry in registries for known in registry.names()})
        raise UsageError(f"Nothing is called {name!r}. {suggest(name, known)}")
    if as_json:
        say_json({"name": name, "entries": found})
        return
    for entry in found:
        typer.echo(f"{name}: {entry['kind']}, {entry['origin']} (plug-in group {entry['group']})")
        if entry["options"]:
            typer.echo("options: " + ", ".join(f"{key} = {value}" for key, value in entry["options"].items()))
        typer.echo(f"\n{entry['documentation']}\n")


def _entry(registry: Registry[Any], name: str) -> Mapping[str, Any]:
    """What ``registry`` knows of ``name``: kind, origin, entry-point group, options with defaults, documentation."""
    import inspect

    factory = registry.factory(name)
    parameters = inspect.signature(factory).parameters.values()
    return {
        "kind": registry.kind,
        "group": registry.group,
        "origin": registry.origins()[name],
        "options": {
            one.name: "required" if one.default is one.empty else repr(one.default)
            for one in parameters
            if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        },
        "documentation": inspect.cleandoc(factory.__doc__ or ""),
    }
