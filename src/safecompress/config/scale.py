"""Shortened versions of a spec: what ``[scale.NAME]`` changes, and in which words a report says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safecompress.config.phrases import show
from safecompress.config.reading import SpecReader
from safecompress.config.text import Table
from safecompress.errors import suggest

SECTIONS = ("data", "model", "recipe", "dense_recipe", "compress", "search", "deploy", "safety", "require")
"""What a shortened version may change: neither the name nor the seed of the spec."""


def shortened(tables: Table, name: str | None, reading: SpecReader) -> tuple[Table, list[str]]:
    """The spec in the version called ``name`` (None: as it stands), without ``[scale]``, and a line for every change.

    A table of the version is laid over the spec's own, key by key; one that names another network, data set or strategy
    takes its place, and so does a list. Faults are noted.
    """
    plain = {key: value for key, value in tables.items() if key != "scale"}
    versions = tables.get("scale", {})
    if not isinstance(versions, dict) or not all(isinstance(version, dict) for version in versions.values()):
        reading.note("[scale]", f"takes tables with names, [scale.small.recipe] epochs = 10, got {show(versions)}.")
        return plain, []
    for called, version in versions.items():
        for key in version:
            if key not in SECTIONS:
                reading.note(f"[scale.{called}] {key}", f"cannot be changed. {suggest(key, SECTIONS)}")
    if name is None:
        return plain, []
    if name not in versions:
        known = suggest(name, versions) if versions else "The spec has no [scale.NAME]."
        reading.note("[scale]", f"has no version {show(name)}. {known}")
        return plain, []
    changed = laid_over(plain, versions[name])
    return changed, [f"{where}: {before} -> {after}" for where, before, after in changes(plain, changed)]


def laid_over(tables: Table, change: Table) -> Table:
    """``tables`` with those of ``change`` over them."""
    merged = dict(tables)
    for key, value in change.items():
        old = merged.get(key)
        is_same_kind = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("name") in (None, old.get("name"))
        )
        merged[key] = laid_over(old, value) if is_same_kind and isinstance(old, dict) else value
    return merged


def nested(name: str, value: Any) -> Table:
    """The table in which ``value`` has the dotted ``name``."""
    for key in reversed(name.split(".")):
        value = {key: value}
    table: Table = value
    return table


def changes(before: Table, after: Table, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Every value that differs: where it is, what it was, what it is."""
    for key in sorted({*before, *after}):
        place = f"{where}.{key}" if where else key
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes(old, new, place)
        elif old != new:
            yield place, _shown(old), _shown(new)


def _shown(value: Any) -> str:
    return "default" if value is None else show(value)
