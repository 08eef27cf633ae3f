"""Words for a person: what a type allows, and what was written instead."""

from __future__ import annotations

import datetime
import inspect
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

NOUNS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    Any: ("a value", "values"),
    inspect.Parameter.empty: ("a value", "values"),
    dict: ("a table", "tables"),
    Mapping: ("a table", "tables"),
}
LISTS = (list, tuple, set, frozenset, Sequence, Iterable)
LONGEST = 60
"""Characters of a written value that a message repeats."""


def describe(annotation: Any, *, many: bool = False) -> str:
    """What the type ``annotation`` takes: ``a whole number``, ``a list of numbers``, ``one of 'sgd', 'adam'``."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Annotated:
        return describe(arguments[0], many=many)
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not NoneType and not (kind is str and Path in arguments)]
        return " or ".join(describe(kind, many=many) for kind in kinds)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if inspect.isclass(origin) and issubclass(origin, Enum):
        return "one of " + ", ".join(repr(member.value) for member in origin)
    if origin in NOUNS:
        return NOUNS[origin][many]
    if origin in LISTS:
        items = describe(arguments[0], many=True) if arguments else "values"
        return f"lists of {items}" if many else f"a list of {items}"
    return inspect.formatannotation(annotation)


def is_path(annotation: Any) -> bool:
    """Whether the type is a path, or text or a path."""
    return annotation is Path or any(is_path(argument) for argument in get_args(annotation))


def has_control(text: str) -> bool:
    """Whether ``text`` holds a control character, which no path needs and a terminal might obey."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def show(value: Any) -> str:
    """``value`` as a message repeats it: as TOML writes it, control characters escaped, cut when long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date | datetime.time):
        return f"the date or time {value.isoformat()}"
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number too long to show"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
