"""A spec that is missing, or no TOML, is refused before anything that takes seconds is loaded."""

from __future__ import annotations

from pathlib import Path

from safecompress.config.text import parse_toml, read_text


def require_spec(path: Path) -> None:
    """Raise SpecError where ``path`` cannot be read or is no TOML, in the words of whoever reads it later."""
    parse_toml(read_text(path.absolute(), source=str(path)), str(path))
