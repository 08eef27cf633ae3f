"""VGG networks for small images; the default is VGG16-C, which the SafeCompress papers compress."""

# N samples, H height, W width, F features of one sample, C classes (in inputs_NCHW: colour channels)

from __future__ import annotations

from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.models.checks import require_classes, require_dropout, require_image, require_sizes
from safecompress.models.linear import hidden_layers

SMALLEST_POOLED = 4  # a map with a shorter side is not halved again: 32x32 ends at 2x2


class Vgg(nn.Module):
    """Blocks of convolutions with batch norm and ReLU, each halved by max pooling, then hidden linear layers.

    ``widths`` holds the channels of each block and ``depths`` how many convolutions it has: 3x3, and the third of a
    block 1x1. ``hidden`` holds the widths of the linear layers, which have batch norm and ReLU too; ``dropout``
    precedes each of them and the head. By default 11,369,636 parameters for 100 classes of 32x32 images. ``forward``
    maps (N, *input_shape) to logits (N, num_classes). Raises ModelError for an input that is no image, or sizes that
    do not go together.

    Source: Simonyan & Zisserman 2015, configuration C; sizes as in the network of Zhu, Wang & Han 2022.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        depths: tuple[int, ...] = (2, 2, 3, 3, 3),
        hidden: tuple[int, ...] = (512, 512),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_image("vgg", input_shape)
        for name, sizes in (("widths", widths), ("depths", depths), ("hidden", hidden)):
            require_sizes(name, sizes)
        require_classes(num_classes)
        require_dropout(dropout)
        if not widths or len(widths) != len(depths):
            raise ModelError(
                "widths and depths name one number for each block, such as widths=(32, 64) and depths=(2, 2); "
                f"got widths={tuple(widths)} and depths={tuple(depths)}."
            )
        width_in, *sides = input_shape
        self.body = nn.Sequential()
        for width, depth in zip(widths, depths, strict=True):
            for place in range(depth):
                size = 1 if place == 2 else 3
                conv = nn.Conv2d(width_in, width, size, padding=size // 2)
                self.body.extend([conv, nn.BatchNorm2d(width), nn.ReLU()])
                width_in = width
            if min(sides) >= SMALLEST_POOLED:
                self.body.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
        self.body.append(nn.Flatten())
        features = width_in * sides[0] * sides[1]
        self.body.extend(hidden_layers(features, hidden, dropout))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((features, *hidden)[-1], num_classes)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W)."""
        logits_NC: Tensor = self.head(self.dropout(self.body(inputs_NCHW)))
        return logits_NC
