"""The reference of the command line: every verb with its arguments and options, from the application itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from words import page, table

from safecompress.cli.app import app
from safecompress.cli.main import register

KINDS = (("Path", "PATH"), ("float", "NUMBER"), ("int", "N"), ("str", "TEXT"))


def command_page() -> str:
    """The page."""
    register()
    root = typer.main.get_command(app)
    blocks = [_flowing(root.help), _options(root)]
    for name, command in verbs(root):
        blocks += [f"## `{name}`", _usage(name, command), _flowing(command.help), _options(command)]
    return page("The command line", *filter(None, blocks))


def verbs(group: Any, before: str = "safecompress") -> Iterator[tuple[str, Any]]:
    """Every verb with its whole name, in the order in which the help tells them."""
    for name in group.list_commands(None):
        command = group.commands[name]
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from verbs(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def options_of(command: Any) -> dict[str, Any]:
    """Every option of a verb by each of its spellings."""
    return {word: p for p in command.params for word in (*p.opts, *p.secondary_opts) if word.startswith("-")}


def _usage(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    return f"```text\n{' '.join([name, *shown, '[OPTIONS]'])}\n```"


def _options(command: Any) -> str:
    rows = [_row(p, _annotations(command)) for p in command.params if not getattr(p, "hidden", False)]
    return table(("option", "what it says"), rows) if rows else ""


def _annotations(command: Any) -> Mapping[str, str]:
    if command.callback is None:
        return {}
    return {name: str(p.annotation) for name, p in inspect.signature(command.callback).parameters.items()}


def _row(parameter: Any, annotations: Mapping[str, str]) -> tuple[str, str]:
    words = _flowing(parameter.help) or ("The spec." if parameter.name == "spec" else "")
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`", words
    spelled = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
    if getattr(parameter, "is_flag", False):
        return spelled, words
    kind = parameter.metavar or next((k for t, k in KINDS if t in annotations.get(parameter.name, "str")), "TEXT")
    default = parameter.default
    told = "" if default in (None, [], ()) or callable(default) or "default" in words else f" (default: {default})"
    return f"{spelled} `{kind}`", words + told


def _flowing(text: str | None) -> str:
    """Help as Markdown: terminal escapes away, what looks like HTML or a link kept as text."""
    plain = (text or "").replace("\\[", "[")
    return re.sub(r"<([a-z ]+)>", r"`<\1>`", plain).replace("[", "\\[")
