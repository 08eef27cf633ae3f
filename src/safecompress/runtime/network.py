"""A network in PyTorch, as it is built: what every other engine must agree with."""

# N samples, C classes

from __future__ import annotations

import torch
from torch import nn

from safecompress.export import TaskInfo
from safecompress.runtime.predictor import Floats, InputOutputSpec


def facts_of(task: TaskInfo) -> InputOutputSpec:
    """What ``task`` says, without PyTorch's types."""
    shift, scale = (None if part is None else part.numpy() for part in (task.shift, task.scale))
    return InputOutputSpec(task.input_shape, task.num_classes, task.class_names, shift, scale, task.table)


class TorchEngine:
    """``network``, in evaluation mode, behind the transform of ``task``."""

    name = "torch"

    def __init__(self, network: nn.Module, task: TaskInfo) -> None:
        self._network, self._task = network, task

    def logits(self, samples_N: Floats) -> Floats:
        """Logits (N, C) of raw samples (N, *input_shape)."""
        with torch.inference_mode():
            logits_NC: Floats = self._network(self._task.prepare(torch.from_numpy(samples_N))).float().numpy()
        return logits_NC
