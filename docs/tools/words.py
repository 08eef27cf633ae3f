"""Cells, code and defaults as Markdown; and what a docstring says of one name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from safecompress.config.options import plain

MADE = "<!-- Made by `python docs/tools/generate.py` from the code's own tables. Change the code, not this page. -->"


def page(title: str, *blocks: str) -> str:
    """A whole generated page."""
    return "\n\n".join([f"# {title}", MADE, *blocks]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Cells are Markdown on one line."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def code(value: Any) -> str:
    """``value`` as a spec has it, as code; a dash for None."""
    return "-" if value is None else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """``value`` as TOML writes it on one line."""
    value = plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    return f"{value:g}" if isinstance(value, float) and value != int(value) else str(value)


def summary(thing: Any) -> str:
    """The first sentence of a docstring, with its code as Markdown has it."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return single(re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0])


def single(text: str) -> str:
    """``text`` with code between single backticks."""
    return text.replace("``", "`")


def about(name: str, docstring: str) -> str:
    """The sentences of ``docstring`` that speak of ``name``, joined; a clause where a semicolon ends one."""
    clauses = re.split(r"(?<=[.;])\s+(?=\S)", " ".join(docstring.split()))
    told = [clause.rstrip(".;") for clause in clauses if f"``{name}``" in clause]
    return single(". ".join(clause[:1].upper() + clause[1:] for clause in told))
