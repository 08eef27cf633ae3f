"""A model as it serves: raw samples in, through the fixed input transform, class scores out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.export.artifact import Artifact
from safecompress.export.task import TaskInfo
from safecompress.networks import copied


class ServedModel(nn.Module):
    """``network`` behind the transform of ``task``, so that an audit queries what a device would run."""

    def __init__(self, network: nn.Module, task: TaskInfo) -> None:
        super().__init__()
        self.network = network
        self._task = task

    @property
    def twin(self) -> nn.Module:
        """The model that controls are copies of: this one, or the network's own ``twin``."""
        network = getattr(self.network, "twin", self.network)
        return self if network is self.network else ServedModel(network, self._task)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (N, C) of raw samples (N, *input_shape)."""
        device = next(self.network.parameters()).device
        logits: Tensor = self.network(self._task.prepare(samples).to(device))
        return logits


def serve_dense(artifact: Artifact, weights: Mapping[str, Tensor], model: nn.Module | None = None) -> ServedModel:
    """The dense model with ``weights`` behind the artifact's input transform.

    ``model`` is an instance of the network for an artifact of a class of the user's own; without one ModelError.
    """
    if model is None and artifact.model_spec is None:
        raise ModelError("The artifact's network is a class of its author's: give an instance of it.")
    network = copied(model) if model is not None else artifact.model_spec.build()  # type: ignore[union-attr]
    network.load_state_dict(dict(weights))
    return ServedModel(network, artifact.task)
