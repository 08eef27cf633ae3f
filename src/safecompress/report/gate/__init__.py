"""The gate: a verdict as the files and lines that pipelines obey. Whatever is not a whole PASS reads as a failure."""

from safecompress.report.gate.files import GateFiles
from safecompress.report.gate.github import annotation_lines
from safecompress.report.gate.junit import to_junit
from safecompress.report.gate.outcome import Case, GateOutcome
from safecompress.report.gate.sarif import to_sarif

__all__ = ["Case", "GateFiles", "GateOutcome", "annotation_lines", "to_junit", "to_sarif"]
