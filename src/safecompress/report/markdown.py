"""Markdown that no name and no message can break."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from safecompress.errors import printable


def markdown_table(header: Sequence[str], table_rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped."""
    lines = [header, ["---"] * len(header), *table_rows]
    return "\n".join("| " + " | ".join(plain_text(cell) for cell in line) + " |" for line in lines)


def plain_text(text: str) -> str:
    """``text`` without what would break a table or a line, open a tag, or make a link or an image."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(").replace("<", "&lt;")
