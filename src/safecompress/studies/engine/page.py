"""Pieces that the pages of studies share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from safecompress.report.markdown import plain_text
from safecompress.studies.engine.study import Figure, Measured


def with_interval(point: Figure) -> str:
    """``0.912 [0.870, 0.943]``."""
    return f"{point['value']:.3f} [{point['low']:.3f}, {point['high']:.3f}]"


def picture_lines(picture: str | None, missing: str | None) -> list[str]:
    """The picture, or why there is none."""
    shown = [f"![Accuracy against leakage]({picture})"] if picture else []
    return [*shown, *([f"No picture: {plain_text(missing)}"] if missing else [])]


def failure_lines(results: Mapping[str, Measured]) -> list[str]:
    """A section on what failed, if anything did; ``results`` by what a reader calls them."""
    lines = [f"- {name}: {plain_text(one.error)}" for name, one in results.items() if one.error is not None]
    lines += [
        f"- {name}: the attack {attack} gave no number ({plain_text(reason)})"
        for name, one in results.items()
        for attack, reason in one.broken.items()
    ]
    return ["## What failed", "\n".join(lines)] if lines else []


def note_lines(lines: Iterable[str]) -> list[str]:
    """A section of notes, if there are any."""
    text = "\n".join(lines)
    return ["## Notes", text] if text else []


def environment_line(facts: Mapping[str, Any]) -> str:
    """What figures depend on, and where all of them are."""
    return (
        f"Environment: {plain_text(listed(facts))}. The spec as written and every figure are in the JSON document "
        "beside this page."
    )


def listed(facts: Mapping[str, Any]) -> str:
    """``torch 2.5, threads 1``."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def changed_options(value: Any) -> dict[str, tuple[Any, Any]] | None:
    """The fields of a frozen value that differ from what it has when made without any: (its own, the usual).

    None for what is no dataclass, or cannot be made without any.
    """
    if not is_dataclass(value) or isinstance(value, type):
        return None
    try:
        usual = type(value)()
    except TypeError:
        return None
    pairs = {one.name: (getattr(value, one.name), getattr(usual, one.name)) for one in fields(value) if one.init}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
