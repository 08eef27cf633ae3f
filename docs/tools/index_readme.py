"""The README as a package index shows it: there, a path of the repository leads nowhere."""

from __future__ import annotations

import re

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|mailto:|#)([^)\s]+)\)")


def for_index(text: str, base: str | None = None) -> str:
    """``text`` whose relative links lead to ``base``, the address of the repository's files.

    Without one they are only named, and pictures are left out. Code blocks stay as they are.
    """
    blocks = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    blocks[::2] = [_LINK.sub(lambda link: _replaced(link, base), block) for block in blocks[::2]]
    return "".join(blocks)


def _replaced(link: re.Match[str], base: str | None) -> str:
    picture, words, target = link.groups()
    if base is not None:
        return f"{picture}[{words}]({base.rstrip('/')}/{target})"
    if picture:
        return ""
    path = target.partition("#")[0]
    return words if words.strip("`") == path else f"{words} (`{path}`)"
