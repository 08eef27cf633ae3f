"""The multi-layer perceptron: flat features in, logits out."""

# N samples, F features of one sample, C classes

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from safecompress.models.checks import require_classes, require_dropout, require_sizes


class Mlp(nn.Module):
    """Linear layers with ReLU between them; a sample of any shape is flattened first.

    ``hidden`` holds the widths of the hidden layers (empty: softmax regression); ``dropout`` follows each ReLU.
    ``forward`` maps (N, *input_shape) to logits (N, num_classes). Raises ModelError for a size below 1, fewer
    than two classes, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        hidden: tuple[int, ...] = (256, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sizes("input_shape", input_shape)
        require_sizes("hidden", hidden)
        require_classes(num_classes)
        require_dropout(dropout)
        widths = (math.prod(input_shape), *hidden)
        self.body = nn.Sequential()
        for width_in, width_out in itertools.pairwise(widths):
            self.body.extend([nn.Linear(width_in, width_out), nn.ReLU()])
            if dropout:
                self.body.append(nn.Dropout(dropout))
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) of ``inputs`` (N, *input_shape)."""
        features_NF = inputs.flatten(start_dim=1)
        logits_NC: Tensor = self.head(self.body(features_NF))
        return logits_NC
