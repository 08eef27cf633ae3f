"""What a study leaves in its folder: a page, a picture, or why there is none, and a JSON document."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from safecompress import __version__
from safecompress.errors import UsageError
from safecompress.progress import Progress
from safecompress.storage import PUBLISHED, write_bytes, write_json
from safecompress.training import engine_name

SCHEMA_VERSION = 1


class Page(Protocol):
    """A page as Markdown."""

    def __call__(self, *, picture: str | None, missing: str | None) -> str:
        """The page; ``picture`` is the file beside it, ``missing`` why there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A base for the result of a study: its name, and how it was obtained.

    ``spec`` is the study's spec, as written; ``split`` counts the rows of each part.
    """

    name: str
    environment: Mapping[str, Any]
    split: Mapping[str, Any] = field(repr=False)
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def document(self, exit_code: int, **body: Any) -> dict[str, Any]:
        """The whole study as a JSON object: the fields of all studies, and then ``body``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "exit_code": exit_code,
            "environment": dict(self.environment),
            "spec": dict(self.spec),
            "split": dict(self.split),
            **body,
        }


def environment(threads: int, *packages: str) -> dict[str, Any]:
    """What figures depend on beside the inputs; ``packages`` are the study's own."""
    return {
        "safecompress": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **{package: version(package) for package in packages},
        "machine": platform.machine(),
        "threads": threads,
        "engine": engine_name(),
    }


def write_outputs(
    folder: Path,
    stem: str,
    *,
    page: Page,
    document: Mapping[str, Any],
    draw: Callable[[Path], object] | None = None,
    progress: Progress,
) -> None:
    """Write ``stem``.svg, if it can be drawn, ``stem``.md and ``stem``.json."""
    picture, missing, path = None, None, folder / f"{stem}.svg"
    if draw is not None:
        try:
            draw(path)
            picture = path.name
        except UsageError as error:
            path.unlink(missing_ok=True)
            missing = str(error)
            progress.say(missing)
    write_bytes(folder / f"{stem}.md", page(picture=picture, missing=missing).encode(), mode=PUBLISHED)
    write_json(folder / f"{stem}.json", document, mode=PUBLISHED)
