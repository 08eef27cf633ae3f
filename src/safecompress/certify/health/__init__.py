"""Health of attacks: whether an attack that found nothing could have found something. It judges no model."""

from safecompress.certify.health.check import HealthCheck
from safecompress.certify.health.controls import (
    SHARED_ALPHA,
    WEAK_ALPHA,
    blind_baseline,
    negative_control,
    positive_control,
    weak_control,
)
from safecompress.certify.health.examine import HealthCase, examine_health
from safecompress.certify.health.knows_members import knows_members
from safecompress.certify.health.near_duplicates import near_duplicates
from safecompress.certify.health.own_rows import own_rows
from safecompress.certify.health.scores import LARGEST_TIE, largest_tie, saturation, sign_agreement, ties
from safecompress.certify.health.shadow_models import (
    DECISIVE,
    LARGEST_GAP,
    LARGEST_SHIFT,
    Answers,
    likeness,
    shadow_gap,
)
from safecompress.certify.health.strength import MARGIN, strength

__all__ = [
    "DECISIVE",
    "LARGEST_GAP",
    "LARGEST_SHIFT",
    "LARGEST_TIE",
    "MARGIN",
    "SHARED_ALPHA",
    "WEAK_ALPHA",
    "Answers",
    "HealthCase",
    "HealthCheck",
    "blind_baseline",
    "examine_health",
    "knows_members",
    "largest_tie",
    "likeness",
    "near_duplicates",
    "negative_control",
    "own_rows",
    "positive_control",
    "saturation",
    "shadow_gap",
    "sign_agreement",
    "strength",
    "ties",
    "weak_control",
]
