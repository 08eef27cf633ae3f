"""How rows lie in memory: images with their channels last, in which convolutions run up to half faster on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def laid_out(features: Tensor) -> Tensor:
    """``features`` (N, ...), images (N, channels, H, W) with each pixel's channels side by side; shape and values stay.

    Layers pass the layout on, so that laying out the inputs is enough.
    """
    return features.contiguous(memory_format=torch.channels_last) if features.ndim == 4 else features
