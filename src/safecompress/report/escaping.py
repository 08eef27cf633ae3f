"""Text from anywhere, made harmless: no control characters, none that turn writing round, no half characters."""

from __future__ import annotations

import json
import re

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


_PLACE = re.compile(r"(?<![\w/:.~<-])/(?:[^\s/'\"`:,;()<>]+/)+([^\s/'\"`:,;()<>]*)")
"""An absolute path of two parts or more; no address on the web, whose slashes follow a colon."""


def without_places(text: str) -> str:
    """``text`` with absolute paths reduced to their last part: a page is published, and a path may name its owner."""
    return _PLACE.sub(lambda place: place[1] or "...", text)
