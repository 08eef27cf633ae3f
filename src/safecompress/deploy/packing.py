"""How a trained model becomes the file that ships: dead units removed, weights rounded."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from torch import nn

from safecompress.deploy.artifact import Artifact
from safecompress.deploy.precision import Precision, require_precision


@dataclass(frozen=True, slots=True)
class Packing:
    """What is done between training and shipping; by default nothing.

    ``shrink`` removes units whose inputs or outputs are all masked, which changes no answer (needs Torch-Pruning);
    ``precision`` is how the file keeps weights: float32, float16, or int8 with a scale for each channel. Raises
    UsageError for an unknown precision.
    """

    shrink: bool = False
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_precision(self.precision)

    @property
    def changes_weights(self) -> bool:
        """Whether what ships is not, tensor for tensor, what was trained."""
        return self != Packing()

    def __call__(self, artifact: Artifact, model: nn.Module | None = None) -> Artifact:
        """The artifact that ships, of the one as trained. ``model`` is an instance of a network of the user's own.

        Raises UsageError without Torch-Pruning, ArtifactError for weights that the precision cannot keep, and
        ModelError for a network whose units cannot be traced.
        """
        whole = shrunk_artifact(artifact, model) if self.shrink else artifact
        return whole.to_precision(self.precision)


def shrunk_artifact(artifact: Artifact, model: nn.Module | None = None) -> Artifact:
    """The artifact without its dead units, itself where none is dead. Raises as `Packing` does."""
    from safecompress.deploy.shrink import shrink

    shrunk = shrink(artifact.build(copy.deepcopy(model)), artifact.masks, artifact.task.input_shape)
    if not any(shrunk.removed.values()):
        return artifact
    return replace(artifact, state=shrunk.network.state_dict(), masks=shrunk.masks, resized_from=artifact.num_weights)
