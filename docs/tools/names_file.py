"""The names that `safecompress list` shows, as data: that command then loads no attack, no network and no PyTorch."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from names_page import NOT_OPTIONS, SECTIONS, options_of
from words import summary

from safecompress.registry import Registry

REMARK = "Made by `python docs/tools/generate.py` from the registries. Change the code, not this file."


def names_file() -> str:
    """The file, as JSON."""
    kinds = {registry.kind: _kind(title, registry, words) for title, registry, words in SECTIONS}
    return json.dumps({"": REMARK, "kinds": kinds}, indent=1, ensure_ascii=False) + "\n"


def _kind(title: str, registry: Registry[Any], words: str) -> dict[str, Any]:
    """One plug-in group: its entry points' group, where a spec has its names, its page, and all that is built in."""
    page = re.search(r"\]\(\.\./([a-z-]+\.md[#a-z-]*)\)", words)
    names = {
        name: {
            "summary": summary(factory),
            "text": inspect.getdoc(factory) or "",
            "options": options_of(factory, NOT_OPTIONS.get(title, ())),
            "source": f"{factory.__module__}.{getattr(factory, '__qualname__', type(factory).__qualname__)}",
        }
        for name, factory in sorted(registry.builtins.items())
    }
    where = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", words)
    return {
        "group": registry.group,
        "where": where,
        "page": page.group(1) if page else "reference/names.md",
        "names": names,
    }
