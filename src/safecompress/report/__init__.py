"""The report of a run or an audit: as plain data, as a page, as text, as a model card.

Names are loaded when they are first used: the gate lies in this room, and speaks before PyTorch is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safecompress.report.build import RunFacts, build_report, describe_artifact
    from safecompress.report.card import to_card
    from safecompress.report.describe import describe_arm, describe_measurements, describe_round
    from safecompress.report.files import load_report, render_report, save_report
    from safecompress.report.html import to_html
    from safecompress.report.model import Report
    from safecompress.report.text import to_markdown

_HOMES = {
    "Report": "model",
    "RunFacts": "build",
    "build_report": "build",
    "describe_arm": "describe",
    "describe_artifact": "build",
    "describe_measurements": "describe",
    "describe_round": "describe",
    "load_report": "files",
    "render_report": "files",
    "save_report": "files",
    "to_card": "card",
    "to_html": "html",
    "to_markdown": "text",
}

__all__ = [
    "Report",
    "RunFacts",
    "build_report",
    "describe_arm",
    "describe_artifact",
    "describe_measurements",
    "describe_round",
    "load_report",
    "render_report",
    "save_report",
    "to_card",
    "to_html",
    "to_markdown",
]


def __getattr__(name: str) -> Any:
    """The public name, from its module."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"safecompress.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'safecompress.report' has no attribute {name!r}")
