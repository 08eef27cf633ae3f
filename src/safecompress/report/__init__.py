"""The report: what a run found, as pure data and as text."""

from safecompress.report.build import build_report, describe_artifact, digest_json
from safecompress.report.describe import describe_measurements, describe_round
from safecompress.report.files import load_report, save_report
from safecompress.report.model import Report
from safecompress.report.text import to_markdown

__all__ = [
    "Report",
    "build_report",
    "describe_artifact",
    "describe_measurements",
    "describe_round",
    "digest_json",
    "load_report",
    "save_report",
    "to_markdown",
]
