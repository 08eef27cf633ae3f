"""Builds the command line that reproduces a verdict, with local paths stripped."""

from __future__ import annotations

import shlex
from pathlib import Path


def reproduce_command(verb: str, argument: Path, **options: str | int | Path | None) -> str:
    """``safecompress VERB ARGUMENT --option value ...``, ready for a shell; options that are None are left out.

    Paths are reduced to their last part: a report is published, and a folder's path may name its owner.
    """
    words = ["safecompress", verb, argument.name]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value.name if isinstance(value, Path) else str(value)]
    return shlex.join(words)
