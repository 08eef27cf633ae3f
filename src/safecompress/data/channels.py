"""Where the channels of images stand: first here, as PyTorch has them; other libraries have them last."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from safecompress.errors import DataError, UsageError, suggest

Channels = Literal["first", "last"]

_COLOURS = (1, 3, 4)


def channels_first(features: Tensor, channels: Channels | None) -> torch.Tensor:
    """``features`` with each image as (channels, height, width); anything but images (N, A, B, C) is left as it is.

    ``channels`` says where they stand. Raises DataError where nobody said it and they look as if they came last.
    """
    if channels is not None and channels not in get_args(Channels):
        raise UsageError(
            f"Channels stand first or last, got {channels!r}. {suggest(str(channels), get_args(Channels))}"
        )
    shape = tuple(features.shape)
    if len(shape) != 4 or channels == "first":
        return features
    if channels == "last":
        return features.movedim(-1, 1).contiguous()
    if shape[-1] in _COLOURS and shape[1] not in _COLOURS:
        raise DataError(
            f"Images of shape {shape[1:]} look as if their channels came last: networks, scaling and attacks would "
            f"take {shape[1]} rows of pixels for {shape[1]} colours. Say channels='last' to have them moved to the "
            f"front ({shape[-1]}, {shape[1]}, {shape[2]}), or channels='first' where the first axis is the channels."
        )
    return features


def as_image(value: Any) -> Any:
    """A picture of Pillow's as an array (channels, height, width); anything else as it is."""
    if not callable(getattr(value, "getbands", None)):
        return value
    pixels = np.asarray(value)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
