"""Methods: published ways to a small classifier, each a composition of the other rooms, for side-by-side tables."""

from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, MethodShadowTrainer
from safecompress.studies.methods.methods import METHODS
from safecompress.studies.methods.training_cache import TrainingCache

__all__ = ["METHODS", "Method", "MethodInputs", "MethodResult", "MethodShadowTrainer", "TrainingCache"]
