"""Networks of anybody's making: read as classifiers, given plain weights or new ones, and checked before use."""

from safecompress.networks.answers import fault_of_answers, fault_of_training
from safecompress.networks.class_scores import ClassScores, Reading, as_classifier, count_classes, unwrapped
from safecompress.networks.fresh import FreshNetwork, WeightFactory, draw_anew_, has_own_draw, undrawable
from safecompress.networks.plain_weights import Reparametrised, copied, find_reparametrised, with_plain_weights
from safecompress.networks.read import read_for_audit, read_for_training
from safecompress.networks.state_dicts import fault_of_fit, fitted

__all__ = [
    "ClassScores",
    "FreshNetwork",
    "Reading",
    "Reparametrised",
    "WeightFactory",
    "as_classifier",
    "copied",
    "count_classes",
    "draw_anew_",
    "fault_of_answers",
    "fault_of_fit",
    "fault_of_training",
    "find_reparametrised",
    "fitted",
    "has_own_draw",
    "read_for_audit",
    "read_for_training",
    "undrawable",
    "unwrapped",
    "with_plain_weights",
]
