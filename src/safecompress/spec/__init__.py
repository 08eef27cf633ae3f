"""Requirements and specs: what must hold before a model is released."""

from safecompress.spec.requirement import Finding, Requirement, Verdict, at_least, at_most, within
from safecompress.spec.spec import Doubt, Findings, SafetySpec, metrics_of

__all__ = [
    "Doubt",
    "Finding",
    "Findings",
    "Requirement",
    "SafetySpec",
    "Verdict",
    "at_least",
    "at_most",
    "metrics_of",
    "within",
]
