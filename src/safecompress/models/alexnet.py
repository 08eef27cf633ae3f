"""AlexNet for small images; the default is AlexNet-s, which the SafeCompress papers compress."""

# N samples, H height, W width, F features of one sample, C classes (in inputs_NCHW: colour channels)

from __future__ import annotations

import itertools

from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.models.checks import require_classes, require_dropout, require_image, require_sizes
from safecompress.models.linear import hidden_layers

KERNELS = (11, 5, 3)
"""Sides of the first three kernels; those after them are 3x3 too."""


class Alexnet(nn.Module):
    """Convolutions of stride 2 with batch norm and ReLU (no pooling), then hidden linear layers with the same.

    ``widths`` holds the channels of each convolution, kernels 11x11, 5x5, then 3x3; ``hidden`` the widths of the linear
    layers; ``dropout`` precedes each of them and the head. By default 5,077,066 parameters for 10 classes of 32x32
    images, AlexNet-s. ``forward`` maps (N, *input_shape) to logits (N, num_classes). Raises ModelError for an input
    that is no image, or sizes that do not go together.

    Source: Krizhevsky, Sutskever & Hinton 2012; sizes as in the network of Zhu, Wang & Han 2022. Differs from the paper
    of 2012: strides instead of pooling, and batch norm.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        widths: tuple[int, ...] = (96, 256, 384, 384, 256),
        hidden: tuple[int, ...] = (1024, 1024),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("alexnet", input_shape)
        require_sizes("widths", widths)
        require_sizes("hidden", hidden)
        require_classes(num_classes)
        require_dropout(dropout)
        if not widths:
            raise ModelError("widths must name at least one convolution, such as (96, 256, 384, 384, 256); got none.")
        colours, *sides = input_shape
        self.body = nn.Sequential()
        for place, (width_in, width) in enumerate(itertools.pairwise((colours, *widths))):
            size = KERNELS[min(place, len(KERNELS) - 1)]
            conv = nn.Conv2d(width_in, width, size, stride=2, padding=size // 2)
            self.body.extend([conv, nn.BatchNorm2d(width), nn.ReLU()])
            sides = [(side + 1) // 2 for side in sides]
        self.body.append(nn.Flatten())
        features = widths[-1] * sides[0] * sides[1]
        self.body.extend(hidden_layers(features, hidden, dropout))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((features, *hidden)[-1], num_classes)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W)."""
        logits_NC: Tensor = self.head(self.dropout(self.body(inputs_NCHW)))
        return logits_NC
