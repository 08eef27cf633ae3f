"""Tuning: which density, branches, objective and learning rate to take. Exploratory: `compress` certifies."""

from safecompress.studies.hyperparameters.found import Found
from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.run import tune
from safecompress.studies.hyperparameters.space import Choice, Range, Space
from safecompress.studies.hyperparameters.spec import TuningSpec, load_tuning, parse_tuning
from safecompress.studies.hyperparameters.table import to_markdown
from safecompress.studies.hyperparameters.trial import Tried

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
