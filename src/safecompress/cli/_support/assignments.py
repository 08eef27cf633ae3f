"""``NAME=VALUE`` on the command line: a value is TOML where it can be read as TOML, otherwise text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from safecompress.errors import UsageError


def read_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """The values of ``--set`` by dotted name. Raises UsageError for what is no NAME=VALUE."""
    values: dict[str, Any] = {}
    for setting in assignments:
        name, equals, text = setting.partition("=")
        if not equals or not all(name.strip().split(".")):
            raise UsageError(f"--set takes NAME=VALUE, such as compress.density=0.1, got {setting!r}.")
        values[name.strip()] = toml_or_text(text)
    return values


def read_options(options: Iterable[str]) -> dict[str, Any]:
    """The values of ``--option`` by key. Raises UsageError for what is no key=value."""
    values: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not (key and equals):
            raise UsageError(f"--option takes key=value, got {option!r}.")
        values[key] = toml_or_text(text)
    return values


def toml_or_text(text: str) -> Any:
    """What ``text`` is as a TOML value, or ``text`` itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
