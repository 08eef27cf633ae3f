"""What a spec can name, for people: read from a file that is made from the registries, so that nothing else is loaded.

Plug-ins add names through entry points; what one says of itself is asked of it alone.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from rich.console import Console
from rich.table import Table

from safecompress.cli._support.output import stdout_console
from safecompress.cli._support.shown import shown
from safecompress.errors import UsageError, suggest
from safecompress.registry import Registry

REQUIRED = "required"


@dataclass(frozen=True)
class Named:
    """One name: what it is, who brings it, its options with their defaults, where it is defined and documented.

    ``group`` is that of the entry points by which plug-ins add names of its kind.
    """

    name: str
    kind: str
    origin: str
    summary: str
    text: str
    options: Mapping[str, str | None]
    source: str
    where: str
    page: str
    group: str

    def brief(self) -> dict[str, str]:
        """Who brings it, and what it is in a sentence."""
        return {"origin": self.origin, "summary": self.summary}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "options": dict(self.options)}


@dataclass(frozen=True)
class Kind:
    """One plug-in group: what its names stand for, and the names."""

    kind: str
    names: tuple[Named, ...]


def all_kinds() -> list[Kind]:
    """Every plug-in group, built-ins and plug-ins. Raises UsageError where two packages claim one name."""
    return [_kind(kind, entry) for kind, entry in _stored().items()]


def called(name: str) -> list[Named]:
    """Whatever is called ``name``: a rule that drops may share its name with one that grows.

    Raises UsageError, with the close names, where nothing is.
    """
    kinds = all_kinds()
    found = [one for kind in kinds for one in kind.names if one.name == name]
    if not found:
        known = {one.name for kind in kinds for one in kind.names}
        raise UsageError(f"Nothing is called {name!r}. {suggest(name, known)}")
    return found


def show_kinds(kinds: list[Kind]) -> None:
    """Print the names of each kind: origin, and what it is in a sentence."""
    console = Console()
    for kind in kinds:
        table = Table(title=kind.kind, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
        for one in kind.names:
            table.add_row(f"[bold]{shown(one.name)}[/]", shown(one.origin), shown(one.summary))
        console.print(table, "")
    console.print("safecompress list NAME says more of one of them.", highlight=False)


def show_page(one: Named) -> None:
    """Print all that is known of one name."""
    console = stdout_console()
    console.print(f"[bold]{shown(one.name)}[/]  {shown(one.kind)}, {shown(one.origin)}", highlight=False)
    console.print()
    paragraphs = [" ".join(paragraph.split()) for paragraph in one.text.replace("``", "").split("\n\n")]
    console.print(shown("\n\n".join(paragraphs)), highlight=False)
    console.print()
    if one.options:
        table = Table("option", "default", box=None, padding=(0, 2, 0, 0))
        for name, default in one.options.items():
            table.add_row(shown(name), "-" if default is None else shown(default))
        console.print(table)
        console.print()
    where = one.where.replace("`", "")
    for line in (
        f"Named in: {where}",
        f"Source: {one.source}",
        f"Documented in: docs/{one.page}",
        f"Plug-ins: {one.group}",
    ):
        console.print(shown(line), highlight=False, soft_wrap=True)


@functools.cache
def _stored() -> dict[str, dict[str, Any]]:
    text = (resources.files("safecompress.cli._support") / "names.json").read_text(encoding="utf-8")
    kinds: dict[str, dict[str, Any]] = json.loads(text)["kinds"]
    return kinds


def _kind(kind: str, entry: Mapping[str, Any]) -> Kind:
    facts = {"kind": kind, "where": entry["where"], "page": entry["page"], "group": entry["group"]}
    built_in = [Named(name, origin="built in", **told, **facts) for name, told in entry["names"].items()]
    registry: Registry[Any] = Registry(kind, entry["group"], dict.fromkeys(entry["names"], _never))
    plugged = [
        Named(name, origin=point.dist.name if point.dist else point.value, **_ask(point), **facts)
        for name, point in registry.plugins().items()
    ]
    return Kind(kind, tuple(sorted([*built_in, *plugged], key=lambda one: one.name)))


def _ask(point: Any) -> dict[str, Any]:
    """What a plug-in says of itself; loading it runs its code."""
    try:
        factory = point.load()
        options = {
            name: REQUIRED if parameter.default is parameter.empty else repr(parameter.default)
            for name, parameter in inspect.signature(factory).parameters.items()
        }
    except Exception as error:  # somebody else's code: the other names are shown all the same
        words = f"cannot be loaded: {type(error).__name__}: {error}"
        return {"summary": words, "text": words, "options": {}, "source": point.value}
    text = inspect.getdoc(factory) or ""
    return {"summary": text.split("\n", 1)[0], "text": text, "options": options, "source": point.value}


def _never(**_: Any) -> Any:
    raise AssertionError("names are listed here, not made")
