"""Writes what is made from the code, the pages of docs/reference and the names that `safecompress list` shows.

``--check`` only says which are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from command_page import command_page
from names_file import names_file
from names_page import names_page
from python_page import python_page
from spec_page import spec_page

REFERENCE = Path(__file__).parents[1] / "reference"
PAGES = {"spec.md": spec_page, "command-line.md": command_page, "names.md": names_page, "python.md": python_page}


NAMES = Path(__file__).parents[2] / "src/safecompress/cli/_support/names.json"


def stale() -> dict[str, str]:
    """The files whose text is not what the code says, with the text that they should have."""
    made = {name: make() for name, make in PAGES.items()} | {NAMES.name: names_file()}
    return {name: text for name, text in made.items() if _text_of(_path_of(name)) != text}


def _path_of(name: str) -> Path:
    return NAMES if name == NAMES.name else REFERENCE / name


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    found = stale()
    if "--check" in sys.argv[1:]:
        sys.exit(f"Stale: {', '.join(found)}. Run python docs/tools/generate.py." if found else 0)
    REFERENCE.mkdir(exist_ok=True)
    for name, text in found.items():
        _path_of(name).write_text(text, encoding="utf-8")
        print(f"wrote {name}")
