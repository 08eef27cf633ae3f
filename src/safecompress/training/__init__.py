"""Training: one recipe, one loop, for target, candidate and shadow alike."""

from safecompress.training.accuracy import classified_right, measure_accuracy
from safecompress.training.inference import evaluating, predict_logits, reestimate_batch_norm_
from safecompress.training.loop import Course, dense_gradient, train
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState, digest_tensors

__all__ = [
    "Course",
    "Recipe",
    "TrainingState",
    "classified_right",
    "dense_gradient",
    "digest_tensors",
    "evaluating",
    "measure_accuracy",
    "predict_logits",
    "reestimate_batch_norm_",
    "train",
]
