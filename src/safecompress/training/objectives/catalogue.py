"""Objectives by name."""

from __future__ import annotations

from safecompress.registry import Registry
from safecompress.training.objectives.adversarial import AdversarialRegularisation
from safecompress.training.objectives.base import CrossEntropy, Objective
from safecompress.training.objectives.cross_fit import CrossFit
from safecompress.training.objectives.distill import Distillation, SplitDistillation
from safecompress.training.objectives.mixing import Mixup
from safecompress.training.objectives.regularisers import (
    ConfidencePenalty,
    ErrorEntropy,
    ErrorUniform,
    ThresholdedEntropy,
)
from safecompress.training.objectives.relax import RelaxLoss
from safecompress.training.objectives.soft_labels import HighEntropyLabels, LabelSmoothing

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
        "cross_fit": CrossFit,
        "adversarial": AdversarialRegularisation,
    },
)
