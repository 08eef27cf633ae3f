"""Certification: fresh attackers on rows that chose nothing, on the file as shipped."""

from safecompress.certify.exposure import Exposure
from safecompress.certify.feasibility import Prospect, foresee
from safecompress.certify.health import HealthCheck
from safecompress.certify.ledger import Ledger, Opening, judged_parts
from safecompress.certify.released import Released, load_released
from safecompress.certify.verdict import Certification, JudgedModels, certify

__all__ = [
    "Certification",
    "Exposure",
    "HealthCheck",
    "JudgedModels",
    "Ledger",
    "Opening",
    "Prospect",
    "Released",
    "certify",
    "foresee",
    "judged_parts",
    "load_released",
]
