"""The text of a spec: read with limits, and parsed to tables. Loads neither PyTorch nor anything that does."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from safecompress.errors import SpecError
from safecompress.storage import open_regular

Table = dict[str, Any]

MAX_BYTES = 1 << 20
MAX_DEPTH = 8
"""Tables and lists inside each other. The deepest that a spec needs is an option of an attack in a list: four."""


def read_text(file: Path, source: str) -> str:
    """The text of ``file``; a byte order mark, which some editors write, is left out."""
    try:
        with open_regular(file) as opened:
            content = opened.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        fault = f"line {line}: not UTF-8 text. Save the spec as UTF-8."
        raise SpecError.from_faults(source, [fault]) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError.from_faults(source, [f"cannot be read ({reason}). Check the path."]) from error
    if len(content) > MAX_BYTES:
        raise SpecError.from_faults(source, [f"is larger than {MAX_BYTES:,} bytes, so it is no spec. Check the path."])
    return text


def parse_toml(text: str, source: str) -> Table:
    """The tables of a TOML text. Raises SpecError with the line of what is no TOML."""
    try:
        tables: Table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError.from_faults(source, [_syntax_fault(str(error), text)]) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise SpecError.from_faults(source, ["holds a number too long or brackets too deep to read."]) from error
    if _is_deep(tables):
        raise SpecError.from_faults(source, [f"nests tables and lists more than {MAX_DEPTH} deep; no spec does."])
    return tables


def _syntax_fault(message: str, text: str) -> str:
    """The parser's message with the place in front: ``line 3, column 5: Expected '=' after a key``."""
    reason, _, spot = message.rpartition(" (at ")
    spot = spot.removesuffix(")")
    if not spot.startswith("line "):  # "end of document"
        spot = f"line {len(text.splitlines()) or 1}, the last"
    return f"{spot}: not TOML. {reason or message}."


def _is_deep(tables: Table) -> bool:
    level: list[Any] = [tables]
    for _ in range(MAX_DEPTH):
        children = [[*node.values()] if isinstance(node, dict) else node for node in level]
        level = [child for group in children for child in group if isinstance(child, dict | list)]
    return bool(level)
