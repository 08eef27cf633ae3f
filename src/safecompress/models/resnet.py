"""Residual networks for small images: ResNet-8 by default; ResNet-20, or ResNet-18 with a small stem, by options."""

# N samples, H height, W width, F features of one sample, C classes (in inputs_NCHW: colour channels)

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.models.checks import require_classes, require_image, require_norm, require_sizes

NormName = Literal["batch", "group"]


class Resnet(nn.Module):
    """A 3x3 stem without pooling, stages of residual blocks, a global average, a linear head.

    ``widths`` holds the channels of each stage and ``blocks`` how many blocks it has; every stage but the first halves
    the image. (1, 1, 1) is ResNet-8, (3, 3, 3) ResNet-20; widths (64, 128, 256, 512) with blocks (2, 2, 2, 2) are
    ResNet-18 for small images, 11,271,232 parameters without the head's bias at 200 classes. ``norm`` is "batch", or
    "group" (8 channels a group), which mixes no rows, as private training asks. ``forward`` maps (N, *input_shape) to
    logits (N, num_classes). Raises ModelError for an input that is no image, or sizes that do not go together.

    Source: He et al. 2016. Differs from the paper: where a block changes the shape, its shortcut is a 1x1 convolution
    with a norm (the paper's option B), also in the networks for CIFAR-10, which have option A there.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        blocks: tuple[int, ...] = (1, 1, 1),
        widths: tuple[int, ...] = (16, 32, 64),
        norm: NormName = "batch",
    ) -> None:
        super().__init__()
        require_image("resnet", input_shape)
        require_sizes("blocks", blocks)
        require_sizes("widths", widths)
        require_classes(num_classes)
        require_norm(norm)
        if not widths or len(blocks) != len(widths):
            raise ModelError(
                "blocks and widths name one number for each stage, such as blocks=(1, 1, 1) and widths=(16, 32, 64); "
                f"got blocks={tuple(blocks)} and widths={tuple(widths)}."
            )
        self.stem = nn.Sequential(_conv(input_shape[0], widths[0], 3), _norm(norm, widths[0]), nn.ReLU())
        self.body = nn.Sequential()
        width_in = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stride = 2 if stage and not block else 1
                self.body.append(ResidualBlock(width_in, width, stride, norm))
                width_in = width
        self.head = nn.Linear(width_in, num_classes)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W)."""
        features_NF = self.body(self.stem(inputs_NCHW)).mean(dim=(-2, -1))
        logits_NC: Tensor = self.head(features_NF)
        return logits_NC


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with norms beside a shortcut; ReLU between them and after the sum."""

    def __init__(self, width_in: int, width_out: int, stride: int, norm: NormName) -> None:
        super().__init__()
        self.first = nn.Sequential(_conv(width_in, width_out, 3, stride), _norm(norm, width_out), nn.ReLU())
        self.second = nn.Sequential(_conv(width_out, width_out, 3), _norm(norm, width_out))
        is_same = stride == 1 and width_in == width_out
        self.shortcut = (
            nn.Identity() if is_same else nn.Sequential(_conv(width_in, width_out, 1, stride), _norm(norm, width_out))
        )
        self.activation = nn.ReLU()

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """The block's output, of its output width and stride."""
        output_NCHW: Tensor = self.activation(self.second(self.first(inputs_NCHW)) + self.shortcut(inputs_NCHW))
        return output_NCHW


def _conv(width_in: int, width_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, size, stride=stride, padding=size // 2, bias=False)


def _norm(norm: NormName, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(max(1, width // 8), width)
