"""The report's files: report.json, the whole of it, and report.md, to read."""

from __future__ import annotations

from pathlib import Path

from safecompress.errors import ArtifactError
from safecompress.report.model import READABLE, SCHEMA_VERSION, Report
from safecompress.report.text import to_markdown
from safecompress.storage import read_json, write_bytes, write_json

JSON, MARKDOWN = "report.json", "report.md"


def save_report(report: Report, folder: Path) -> None:
    """Write both files into ``folder``."""
    write_json(folder / JSON, report.to_json())
    write_bytes(folder / MARKDOWN, to_markdown(report).encode())


def load_report(folder: Path) -> Report:
    """The report of a run folder. Raises ArtifactError when there is none, or it is of a schema that is not read.

    One of an older version comes back as one of today's, without what was added since.
    """
    path = folder / JSON if folder.is_dir() else folder
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema_version") not in READABLE:
        readable = " or ".join(map(str, READABLE))
        raise ArtifactError(f"{path} is no report of schema {readable}: this version of safecompress cannot read it.")
    try:
        return Report.from_json({**data, "schema_version": SCHEMA_VERSION})
    except TypeError as error:
        raise ArtifactError(f"{path} is not a whole report ({error}). Run the job again to make it anew.") from error
