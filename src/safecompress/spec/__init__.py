"""Requirements and specs: what must hold before a model is released."""

from safecompress.spec.requirement import Finding, Requirement, Verdict, at_least, at_most, within
from safecompress.spec.spec import TASK_METRICS, Doubt, Findings, SafetySpec, direction_of

__all__ = [
    "TASK_METRICS",
    "Doubt",
    "Finding",
    "Findings",
    "Requirement",
    "SafetySpec",
    "Verdict",
    "at_least",
    "at_most",
    "direction_of",
    "within",
]
