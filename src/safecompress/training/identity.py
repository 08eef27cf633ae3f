"""What the weights of a training depend on, as strings: names under which trained weights are kept by content."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from safecompress import __version__
from safecompress.digests import digest_tensors
from safecompress.training.engines import engine_name
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask


def training_facts(model: nn.Module, state: TrainingState, task: TrainingTask) -> list[Any]:
    """Everything that the weights of ``model`` depend on, trained on ``task`` from ``state``, the pattern apart."""
    tensors = {"x": task.features, "y": task.labels}
    if task.teacher is not None:
        tensors["teacher"] = task.teacher
    if task.reference is not None:
        tensors |= {"reference x": task.reference[0], "reference y": task.reference[1]}
    return [
        __version__,
        torch.__version__,
        torch.get_num_threads(),
        engine_name(),
        repr(model),
        state.digest(),
        task.recipe.to_json(),
        task.seed,
        digest_tensors(tensors),
    ]
