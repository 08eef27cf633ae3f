"""Objectives by name."""

from __future__ import annotations

from safecompress.registry import Registry
from safecompress.training.adversarial import AdversarialRegularisation
from safecompress.training.distill import Distillation, SplitDistillation
from safecompress.training.mixing import Mixup
from safecompress.training.objective import CrossEntropy, Objective
from safecompress.training.regularisers import ConfidencePenalty, ErrorEntropy, ErrorUniform, ThresholdedEntropy
from safecompress.training.relax import RelaxLoss
from safecompress.training.softlabels import HighEntropyLabels, LabelSmoothing

OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    "safecompress.objectives",
    {
        "cross_entropy": CrossEntropy,
        "label_smoothing": LabelSmoothing,
        "confidence_penalty": ConfidencePenalty,
        "thresholded_entropy": ThresholdedEntropy,
        "error_entropy": ErrorEntropy,
        "error_uniform": ErrorUniform,
        "relax_loss": RelaxLoss,
        "high_entropy_labels": HighEntropyLabels,
        "mixup": Mixup,
        "distillation": Distillation,
        "split_distillation": SplitDistillation,
        "adversarial": AdversarialRegularisation,
    },
)
