"""The report's files: report.json, the whole of it; report.html, report.md and model_card.md, made of it to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from jinja2 import TemplateError

from safecompress.errors import ArtifactError, UsageError
from safecompress.report.card import to_card
from safecompress.report.consistency import EXIT_CODES, contradictions
from safecompress.report.html import to_html
from safecompress.report.model import READABLE, SCHEMA_VERSION, Report
from safecompress.report.schema import load_schema
from safecompress.report.text import to_markdown
from safecompress.report.validate import faults_in
from safecompress.storage import PUBLISHED, read_json, write_bytes, write_json

JSON, HTML, MARKDOWN, CARD = "report.json", "report.html", "report.md", "model_card.md"

_MOST_FAULTS = 5

RENDERED: dict[str, Callable[[Report], str]] = {HTML: to_html, MARKDOWN: to_markdown, CARD: to_card}
"""What is written of a report for people, by file."""


def save_report(report: Report, folder: Path) -> None:
    """Write report.json into ``folder``, and what people read of it. Raises StorageError where the disk refuses."""
    write_json(folder / JSON, report.to_json(), mode=PUBLISHED)
    render_report(report, folder)


def require_own_pages(folder: Path) -> None:
    """Raise UsageError where `save_report` would write over files that are not a report's."""
    taken = [name for name in (JSON, *RENDERED) if (folder / name).exists()]
    try:
        if taken:
            load_report(folder)
    except ArtifactError as error:
        raise UsageError(
            f"{folder} holds {', '.join(taken)}, and no report of safecompress that they belong to. They would be "
            "written over: name another folder with --out."
        ) from error


def render_report(report: Report, folder: Path, *, license_id: str | None = None) -> None:
    """Write what people read of a report, all or nothing; report.json stays as it is.

    ``license_id`` goes into the model card. Raises ArtifactError for a report from a file whose parts are not what the
    schema says.
    """
    try:
        pages = {name: render(report) for name, render in RENDERED.items()}
        pages[CARD] = to_card(report, license_id=license_id)
    except (TypeError, ValueError, AttributeError, LookupError, TemplateError) as error:
        raise ArtifactError(
            f"The report {report.name!r} cannot be shown: something in it is missing or of another kind "
            f"({type(error).__name__}: {error}). Check it against the schema (safecompress report --schema), or run "
            "the job again to make it anew."
        ) from error
    for name, page in pages.items():
        write_bytes(folder / name, page.encode(), mode=PUBLISHED)


def load_report(folder: Path) -> Report:
    """The report of a run folder. Raises ArtifactError when there is none, or it is not what its schema says.

    One that contradicts itself (`contradictions`) comes back as an ERROR that says where. One of an older version comes
    back as one of today's, without what was added since.
    """
    path = folder / JSON if folder.is_dir() else folder
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema_version") not in READABLE:
        readable = " or ".join(map(str, READABLE))
        raise ArtifactError(f"{path} is no report of schema {readable}: this version of safecompress cannot read it.")
    try:
        report = Report.from_json({**data, "schema_version": SCHEMA_VERSION})
    except TypeError as error:
        raise ArtifactError(f"{path} is not a whole report ({error}). Run the job again to make it anew.") from error
    faults = [*islice(faults_in(json.loads(json.dumps(report.to_json())), load_schema()), _MOST_FAULTS)]
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise ArtifactError(
            f"{path} is not what the schema of reports says (safecompress report --schema):{listed}\n"
            "It was altered, or written by another program: run the job again to make it anew."
        )
    return _as_it_can_be_believed(report)


def _as_it_can_be_believed(report: Report) -> Report:
    """The report; as an ERROR, with the reasons as doubts, where it contradicts itself."""
    found = contradictions(report)
    if not found:
        return report
    words = "the report contradicts itself, so it was altered or written by another version: "
    doubts = [f"ERROR: {words}{reason}" for reason in found]
    return replace(report, verdict="ERROR", exit_code=EXIT_CODES["ERROR"], doubts=[*report.doubts, *doubts])
