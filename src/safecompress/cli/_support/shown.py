"""Text from a spec, a file or an error as a terminal may show it: no markup, no escape sequence."""

from __future__ import annotations

from rich.markup import escape

from safecompress.errors import printable


def shown(text: str) -> str:
    """``text`` for a console of rich, line ends kept."""
    return escape(printable(text, keep_lines=True))
