"""The task's own figure: the share of rows classified right, with its interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.metrics import stats
from safecompress.metrics.catalogue import ACCURACY, Metric
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.training.inference import predict_logits


def classified_right(model: nn.Module, features: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """For each row (N,) whether the largest logit is the label's."""
    return np.asarray((predict_logits(model, features).argmax(dim=1) == labels).numpy())


def measure_accuracy(is_right: NDArray[np.bool_], levels: Levels) -> Measurement:
    """Accuracy with Clopper-Pearson intervals."""
    return measure_rate(ACCURACY, is_right, levels)


def measure_rate(metric: Metric, is_hit: NDArray[np.bool_], levels: Levels) -> Measurement:
    """The share of rows (N,) that are hits, as ``metric``, with Clopper-Pearson intervals."""
    hits, trials = int(is_hit.sum()), len(is_hit)
    return Measurement(
        metric.name,
        hits / trials,
        stats.clopper_pearson(hits, trials, levels.alpha),
        stats.clopper_pearson(hits, trials, levels.simultaneous_alpha),
        trials,
        metric.direction,
    )
