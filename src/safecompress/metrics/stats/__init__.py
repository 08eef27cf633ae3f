"""Figures of merit and their intervals: arrays in, numbers out; knows no model."""

from safecompress.metrics.stats.bootstrap import bootstrap_auc_interval
from safecompress.metrics.stats.draws import (
    DrawNoise,
    advantage_noise,
    auc_difference_noise,
    auc_noise,
    split_halves,
    tpr_noise,
)
from safecompress.metrics.stats.epsilon import epsilon_lower, epsilon_over_thresholds, epsilon_per_sample
from safecompress.metrics.stats.intervals import (
    PairedDifference,
    accuracy_drop_interval,
    advantage_interval,
    auc_difference,
    auc_interval,
    balanced_accuracy_interval,
    clopper_pearson,
    difference_of_intervals,
    tpr_at_fpr_interval,
)
from safecompress.metrics.stats.metrics import (
    Confusion,
    RocCurve,
    auc,
    best_threshold,
    confusion_at,
    roc_curve,
    tpr_at_fpr,
)
from safecompress.metrics.stats.planning import (
    auc_half_width,
    best_lower_limit,
    best_tpr_upper_limit,
    hits_by_chance,
    min_non_members,
    min_rows_for_auc,
    min_trials_for_lower_bound,
    passable_tpr,
)

__all__ = [
    "Confusion",
    "DrawNoise",
    "PairedDifference",
    "RocCurve",
    "accuracy_drop_interval",
    "advantage_interval",
    "advantage_noise",
    "auc",
    "auc_difference",
    "auc_difference_noise",
    "auc_half_width",
    "auc_interval",
    "auc_noise",
    "balanced_accuracy_interval",
    "best_lower_limit",
    "best_threshold",
    "best_tpr_upper_limit",
    "bootstrap_auc_interval",
    "clopper_pearson",
    "confusion_at",
    "difference_of_intervals",
    "epsilon_lower",
    "epsilon_over_thresholds",
    "epsilon_per_sample",
    "hits_by_chance",
    "min_non_members",
    "min_rows_for_auc",
    "min_trials_for_lower_bound",
    "passable_tpr",
    "roc_curve",
    "split_halves",
    "tpr_at_fpr",
    "tpr_at_fpr_interval",
    "tpr_noise",
]
