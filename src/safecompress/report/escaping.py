"""Text from anywhere, made harmless: no control characters, none that turn writing round, no half characters."""

from __future__ import annotations

import json

from safecompress.errors import printable


def shortened(text: str, most: int) -> str:
    """``text``, its middle left out where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def yaml_string(text: str) -> str:
    """``text`` as a double-quoted YAML scalar, which no content can end: JSON's escapes are YAML's, too (YAML 1.2)."""
    return json.dumps(printable(text), ensure_ascii=False)
