"""How precisely a file keeps weights: as they are, in half precision, or in 8 bits with a scale for each channel.

Rounding comes before packing: the values that a device will compute with are the artifact's own, so that what was
rounded is what is tested, and packing loses nothing.
"""

# O outputs of a layer: the first dimension of its weight

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from safecompress.errors import ArtifactError, UsageError, suggest

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

LARGEST = 127
"""Of an 8-bit value: the range is symmetric, so that zero stays zero and -128 is never used."""


def require_precision(name: str) -> None:
    """Raise UsageError for a word that is no precision."""
    if name not in PRECISIONS:
        raise UsageError(f"Unknown precision {name!r}: it says how a file keeps weights. {suggest(name, PRECISIONS)}")


def is_rounded(tensor: Tensor) -> bool:
    """Whether a precision below float32 concerns ``tensor``: float32 matrices and kernels.

    Biases, norms and their statistics stay as they are: they are few, and a small variance would round to nothing.
    """
    return tensor.ndim >= 2 and tensor.dtype == torch.float32


def round_weights(tensors: Mapping[str, Tensor], precision: Precision) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """``tensors`` with float32 values that ``precision`` can hold, and the scales (O,) of those in 8 bits, by name.

    An 8-bit weight is a whole number from -127 to 127 times its channel's scale, which is the channel's largest
    |weight| / 127; a channel of zeros has the scale 0. No data is looked at. Zeros stay zeros, so masks stay true.
    Raises ArtifactError for a weight that half precision cannot hold, or that is not finite.
    """
    require_precision(precision)
    rounded, scales = dict(tensors), {}
    for name, tensor in tensors.items():
        if precision == "float32" or not is_rounded(tensor):
            continue
        if precision == "float16":
            rounded[name] = tensor.half().float()
        else:
            is_empty = tensor.numel() == 0
            largest_O = tensor.new_zeros(len(tensor)) if is_empty else tensor.flatten(1).abs().amax(dim=1)
            scales[name] = largest_O / LARGEST
            rounded[name] = from_int8(to_int8(tensor, scales[name]), scales[name])
        if not bool(rounded[name].isfinite().all()):
            raise ArtifactError(
                f"{name!r} holds weights up to {float(tensor.abs().max()):g}, which {precision} cannot keep. Keep "
                "float32, or find out why training made them so large."
            )
    return rounded, scales


def to_int8(tensor: Tensor, scales_O: Tensor) -> Tensor:
    """The whole numbers nearest to ``tensor`` (O, ...) over their channel's scale, as int8."""
    divisors = torch.where(scales_O > 0, scales_O, torch.ones_like(scales_O))
    return (tensor / _broadcast(divisors, tensor)).round().clamp(-LARGEST, LARGEST).to(torch.int8)


def from_int8(tensor: Tensor, scales_O: Tensor) -> Tensor:
    """``tensor`` (O, ...), int8, times their channel's scale, as float32; zeros are +0.0."""
    return tensor.float() * _broadcast(scales_O, tensor) + 0.0


def as_computed(tensors: Mapping[str, Tensor], precision: Precision, scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values that the network computes with, of those that the file keeps."""
    if (precision == "int8") != bool(scales) or not scales.keys() <= tensors.keys():
        raise ArtifactError(f"Its precision is {precision}, and it holds {len(scales)} scales: it is altered.")
    for name, scale in scales.items():
        _require_scale(name, tensors[name], scale, torch.int8)
    computed = {name: from_int8(tensors[name], scale) for name, scale in scales.items()}
    if precision == "float16":
        computed = {n: t.float() for n, t in tensors.items() if t.ndim >= 2 and t.dtype == torch.float16}
    return dict(tensors) | computed


def _require_scale(name: str, tensor: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    """Raise ArtifactError unless ``scale`` gives each channel of the matrix ``tensor`` a finite number from 0 up."""
    is_right = scale.dtype == torch.float32 and bool((scale.isfinite() & (scale >= 0)).all())
    if tensor.ndim < 2 or tensor.dtype != dtype or tuple(scale.shape) != (len(tensor),) or not is_right:
        raise ArtifactError(
            f"The scales of {name!r} do not belong to its channels: {tuple(scale.shape)} {scale.dtype} for a tensor of "
            f"{tuple(tensor.shape)}. Make them with Artifact.to_precision."
        )


def require_rounded(tensors: Mapping[str, Tensor], precision: Precision, scales: Mapping[str, Tensor]) -> None:
    """Raise ArtifactError unless every weight is one that ``precision`` holds without loss."""
    require_precision(precision)
    for name, scale in scales.items():
        if name not in tensors:
            raise ArtifactError(f"Scales are given for {name!r}, which the state dict does not have.")
        _require_scale(name, tensors[name], scale, torch.float32)
    if precision == "float32":
        kept: dict[str, Tensor] = {}
    elif precision == "int8":
        kept = {name: from_int8(to_int8(tensors[name], scale), scale) for name, scale in scales.items()}
    else:
        kept = {name: tensor.half().float() for name, tensor in tensors.items() if is_rounded(tensor)}
        if any(tensor.ndim >= 2 and tensor.dtype == torch.float16 for tensor in tensors.values()):
            raise ArtifactError("The network computes in float16 itself; keep it as it is, with precision float32.")
    needed = {name for name, tensor in tensors.items() if is_rounded(tensor)} if precision == "int8" else set(scales)
    if needed != set(scales) or (scales and precision != "int8"):
        raise ArtifactError(
            f"Precision {precision} and scales for {len(scales)} tensors do not go together. Use Artifact.to_precision."
        )
    broken = [name for name, tensor in kept.items() if not torch.equal(tensor, tensors[name])]
    if broken:
        raise ArtifactError(
            f"The weights of {', '.join(map(repr, broken[:3]))} are not rounded to {precision}, so that packing would "
            "change the model. Use Artifact.to_precision."
        )


def _broadcast(scales_O: Tensor, onto: Tensor) -> Tensor:
    return scales_O.view(-1, *[1] * (onto.ndim - 1))
