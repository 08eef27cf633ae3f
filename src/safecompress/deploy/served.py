"""A model as it serves: raw samples in, through the fixed input transform, class scores out."""

from __future__ import annotations

from torch import Tensor, nn

from safecompress.deploy.task import TaskInfo


class Served(nn.Module):
    """``network`` behind the transform of ``task``, so that an audit asks what a device would ask."""

    def __init__(self, network: nn.Module, task: TaskInfo) -> None:
        super().__init__()
        self.network = network
        self._task = task

    @property
    def twin(self) -> nn.Module:
        """What controls are copies of: this, or what the network itself says may stand for it (its ``twin``)."""
        network = getattr(self.network, "twin", None)
        return self if network is None else Served(network, self._task)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (N, C) of raw samples (N, *input_shape)."""
        device = next(self.network.parameters()).device
        logits: Tensor = self.network(self._task.prepare(samples).to(device))
        return logits
