"""Certification: newly trained attackers, on held-out rows that played no part in selection, test the shipped file."""

from safecompress.certify.exposure import Exposure
from safecompress.certify.feasibility import Feasibility, check_feasibility
from safecompress.certify.health import HealthCheck
from safecompress.certify.ledger import HoldoutUse, Ledger, judged_parts
from safecompress.certify.released import Released, load_released
from safecompress.certify.verdict import Certification, JudgedModels, certify

__all__ = [
    "Certification",
    "Exposure",
    "Feasibility",
    "HealthCheck",
    "HoldoutUse",
    "JudgedModels",
    "Ledger",
    "Released",
    "certify",
    "check_feasibility",
    "judged_parts",
    "load_released",
]
