"""Tuning: which density, branches, objective and learning rate to take. Exploratory: `compress` certifies."""

from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.result import StudyResult
from safecompress.studies.hyperparameters.run import tune
from safecompress.studies.hyperparameters.space import Range, Space, TrialParams
from safecompress.studies.hyperparameters.spec import HyperparameterSpec, load_tuning, parse_tuning
from safecompress.studies.hyperparameters.table import to_markdown
from safecompress.studies.hyperparameters.trial import TrialResult

__all__ = [
    "HyperparameterSpec",
    "Range",
    "Space",
    "StudyResult",
    "TrialParams",
    "TrialResult",
    "Tuning",
    "load_tuning",
    "parse_tuning",
    "to_markdown",
    "tune",
]
