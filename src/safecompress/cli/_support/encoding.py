"""Output for a terminal or a pipe that is not UTF-8: what it cannot write is written in ASCII, and ends no command."""

from __future__ import annotations

import codecs
import sys
import unicodedata

TWINS = {
    "≤": "<=", "≥": ">=", "×": "x", "±": "+-", "−": "-", "–": "-", "—": "-", "·": ".", "…": "...", "→": "->", "•": "*",
    "“": '"', "”": '"', "‘": "'", "’": "'",
}  # fmt: skip
"""What stands for a character that our own words contain."""

HANDLER = "safecompress.plain"
"""The name of the error handler, as `codecs` has it."""

_LIGHT, _HEAVY = "─━═╌╍┄┅┈┉╴╶╸╺", "│┃║╎╏┆┇┊┋╵╷╹╻"


def write_anything() -> None:
    """Let standard output and standard error take every text, whatever their encoding."""
    codecs.register_error(HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stand-in of a test or a notebook has none
        if reconfigure is not None:
            reconfigure(errors=HANDLER)


def in_ascii(text: str) -> str:
    """``text`` with ASCII in the place of every other character: the twin, the letter without its accent, or "?"."""
    return "".join(character if character.isascii() else _twin(character) for character in text)


def _twin(character: str) -> str:
    if character in TWINS:
        return TWINS[character]
    if "\u2500" <= character <= "\u257f":  # lines of tables
        return "-" if character in _LIGHT else "|" if character in _HEAVY else "+"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _plain(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return in_ascii(fault.object[fault.start : fault.end]), fault.end
