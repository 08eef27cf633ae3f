"""A small convolutional network for images from 8x8 digits to 32x32 photographs."""

# N samples, H height, W width, F features of one sample, C classes (in inputs_NCHW: colour channels)

from __future__ import annotations

import itertools

from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.models.checks import require_classes, require_dropout, require_image, require_sizes

SMALLEST_POOLED = 4  # a map with a shorter side is not halved again: 8x8 -> 4x4 -> 2x2


class SmallCnn(nn.Module):
    """3x3 convolutions (+ batch norm) with ReLU, halved by max pooling between blocks; global average; linear head.

    ``channels`` holds the width of each block. ``dropout`` precedes the head. ``forward`` maps (N, *input_shape) to
    logits (N, num_classes). Raises ModelError for an input that is no (channels, height, width) image, no block at
    all, a size below 1, fewer than two classes, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        channels: tuple[int, ...] = (16, 32, 64),
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("cnn", input_shape)
        require_sizes("channels", channels)
        require_classes(num_classes)
        require_dropout(dropout)
        if not channels:
            raise ModelError("channels must name at least one block, such as (16, 32, 64); got none.")
        colours, *sides = input_shape
        self.body = nn.Sequential()
        for block, (width_in, width_out) in enumerate(itertools.pairwise((colours, *channels))):
            if block and min(sides) >= SMALLEST_POOLED:
                self.body.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            self.body.append(nn.Conv2d(width_in, width_out, kernel_size=3, padding=1, bias=not batch_norm))
            if batch_norm:
                self.body.append(nn.BatchNorm2d(width_out))
            self.body.append(nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], num_classes)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W)."""
        features_NF = self.body(inputs_NCHW).mean(dim=(-2, -1))
        logits_NC: Tensor = self.head(self.dropout(features_NF))
        return logits_NC
