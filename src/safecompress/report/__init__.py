"""The report of a run or an audit: as plain data, as a page, as text, as a model card."""

from safecompress.report.build import RunFacts, build_report, describe_artifact
from safecompress.report.card import to_card
from safecompress.report.describe import describe_measurements, describe_round
from safecompress.report.files import load_report, render_report, save_report
from safecompress.report.html import to_html
from safecompress.report.model import Report
from safecompress.report.text import to_markdown

__all__ = [
    "Report",
    "RunFacts",
    "build_report",
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
