"""Tuning: which density, branches, objective and learning rate to take. Exploratory: `compress` certifies."""

from safecompress.tuning.found import Found
from safecompress.tuning.plan import Tuning
from safecompress.tuning.run import tune
from safecompress.tuning.space import Choice, Range, Space
from safecompress.tuning.spec import TuningSpec, load_tuning, parse_tuning
from safecompress.tuning.table import to_markdown
from safecompress.tuning.trial import Tried

__all__ = [
    "Choice",
    "Found",
    "Range",
    "Space",
    "Tried",
    "Tuning",
    "TuningSpec",
    "load_tuning",
    "parse_tuning",
    "to_markdown",
    "tune",
]
