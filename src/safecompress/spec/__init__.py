"""Requirements and specs: what must hold before a model is released."""

from safecompress.spec.meaning import meaning_of
from safecompress.spec.requirement import Finding, Requirement, Verdict, at_least, at_most, within
from safecompress.spec.spec import Findings, SafetySpec, ValidityIssue, metrics_of

__all__ = [
    "Finding",
    "Findings",
    "Requirement",
    "SafetySpec",
    "ValidityIssue",
    "Verdict",
    "at_least",
    "at_most",
    "meaning_of",
    "metrics_of",
    "within",
]
