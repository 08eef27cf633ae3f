"""Training: one recipe, one loop, for target, candidate and shadow alike."""

from safecompress.training.accuracy import classified_right, measure_accuracy, measure_rate
from safecompress.training.augment import AUGMENTATIONS, Augmentation
from safecompress.training.engines import engine_name, trains_active
from safecompress.training.gap import gap_gradient
from safecompress.training.inference import evaluating, predict_logits, reestimate_batch_norm_
from safecompress.training.loop import Watch, dense_gradient, train
from safecompress.training.objectives.base import Adversary, Batch, CrossEntropy, Objective
from safecompress.training.objectives.catalogue import OBJECTIVES
from safecompress.training.ranks import sharing_batches
from safecompress.training.recipe import Recipe
from safecompress.training.stacked import is_stackable, train_many
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask
from safecompress.training.teachers import TeacherTrainer
from safecompress.training.trace import LossTrace

__all__ = [
    "AUGMENTATIONS",
    "OBJECTIVES",
    "Adversary",
    "Augmentation",
    "Batch",
    "CrossEntropy",
    "LossTrace",
    "Objective",
    "Recipe",
    "TeacherTrainer",
    "TrainingState",
    "TrainingTask",
    "Watch",
    "classified_right",
    "dense_gradient",
    "engine_name",
    "evaluating",
    "gap_gradient",
    "is_stackable",
    "measure_accuracy",
    "measure_rate",
    "predict_logits",
    "reestimate_batch_norm_",
    "sharing_batches",
    "train",
    "train_many",
    "trains_active",
]
