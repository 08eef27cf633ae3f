"""The command that has a verdict again, without the folders of the machine that it was typed on."""

from __future__ import annotations

import shlex
from pathlib import Path

Option = str | int | Path | None


def again(verb: str, argument: Path, **options: Option) -> str:
    """``safecompress VERB ARGUMENT --option value ...``, ready for a shell; options that are None are left out.

    Of paths only the name is told: a report is published, and a folder's path names its owner.
    """
    words = ["safecompress", verb, argument.name]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value.name if isinstance(value, Path) else str(value)]
    return shlex.join(words)
