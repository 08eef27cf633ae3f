"""The gate: a verdict as the files and lines that pipelines obey. Whatever is not a whole PASS reads as a failure."""

from safecompress.gate.files import GateFiles
from safecompress.gate.github import annotation_lines
from safecompress.gate.junit import to_junit
from safecompress.gate.outcome import Case, Outcome
from safecompress.gate.sarif import to_sarif

__all__ = ["Case", "GateFiles", "Outcome", "annotation_lines", "to_junit", "to_sarif"]
