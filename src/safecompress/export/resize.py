"""Gives a fresh network the smaller sizes of a stored one, known from the shapes of its tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from safecompress.errors import ArtifactError, suggest

Shape = tuple[int, ...]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def resize_(network: nn.Module, shapes: Mapping[str, Shape]) -> None:
    """Give the layers of ``network`` the sizes that ``shapes``, by name for a whole state dict, ask for.

    Linear layers, convolutions (a depthwise one keeps a group for each channel), batch, instance, group (its groups
    stay as large as they are) and layer norms (over one dimension) and PReLU can shrink, never grow; kernels stay. A
    linear layer or a convolution without a bias gets one where ``shapes`` has it. What changes holds zeros until a
    state dict is loaded; the rest stays. Works on the meta device. Whether the layers still fit one another shows in
    the next forward pass only.

    Raises ArtifactError, naming the tensor, for shapes that the network cannot take; it is then left as it was.
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    layers = dict(network.named_modules())
    wanted: dict[str, dict[str, Shape]] = {name: {} for name in layers}
    _require_names(layers, own, shapes)
    for name, shape in shapes.items():
        _require_smaller(name, own.get(name), tuple(shape))
        wanted[name.rpartition(".")[0]][name.rpartition(".")[2]] = tuple(shape)
    sizes = {}
    for name, layer in layers.items():
        sizes[name], allowed = _fit(layer, wanted[name])
        for tensor, shape in wanted[name].items():
            if shape != allowed[tensor]:
                raise ArtifactError(
                    f"The tensor {f'{name}.{tensor}'.lstrip('.')!r} has shape {shape} in the file; beside the other "
                    f"tensors of this {type(layer).__name__} it can have {allowed[tensor]} only. The file is altered, "
                    "or of another model."
                )
    for name, layer in layers.items():
        for attribute, size in sizes[name].items():
            setattr(layer, attribute, size)
        _resize_tensors_(layer, wanted[name])


def _require_names(modules: Mapping[str, nn.Module], own: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> None:
    addable = {
        f"{name}.bias".lstrip(".")
        for name, layer in modules.items()
        if isinstance(layer, (nn.Linear, *_CONVOLUTIONS)) and layer.bias is None
    }
    for name in own:
        if name not in shapes:
            raise ArtifactError(f"The network's tensor {name!r} is absent in the file: it is of another model.")
    for name in shapes:
        if name not in own and name not in addable:
            raise ArtifactError(f"The file has a tensor {name!r}, the network has not. {suggest(name, own)}")


def _require_smaller(name: str, own: Shape | None, new_shape: Shape) -> None:
    most = new_shape if own is None else own  # an added bias is held to its layer's size afterwards
    if len(new_shape) != len(most) or any(not 1 <= size <= limit for size, limit in zip(new_shape, most, strict=True)):
        raise ArtifactError(
            f"The tensor {name!r} has shape {new_shape} in the file and {own} in the network. A stored network has the "
            "same dimensions, each at least 1 and at most as large. The file is altered, or of another model."
        )


def _fit(module: Any, shapes: Mapping[str, Shape]) -> tuple[dict[str, Any], dict[str, Shape]]:
    """The attributes of ``module`` at the sizes of ``shapes``, and the shapes that all its tensors then have."""
    allowed = {name: tuple(tensor.shape) for name, tensor in _tensors(module).items()}
    per_unit = [name for name, shape in allowed.items() if len(shape) == 1 and name in shapes]
    if isinstance(module, (nn.Linear, *_CONVOLUTIONS)) and "weight" in shapes:
        size, depth, *_ = shapes["weight"]
        sizes, kernel = {"out_features": size, "in_features": depth}, allowed["weight"][2:]
        if isinstance(module, _CONVOLUTIONS):
            sizes = {"out_channels": size, "in_channels": depth}
            if module.groups > 1:
                sizes = {"out_channels": size, "in_channels": size, "groups": size}  # depthwise; the depth is 1
                if not module.groups == module.in_channels == module.out_channels:
                    return {}, allowed | {"bias": (module.out_channels,)}
        return sizes, allowed | {"weight": (size, depth, *kernel), "bias": (size,)}
    if not per_unit:
        return {}, allowed
    size = shapes[per_unit[0]][0]
    attributes: dict[str, Any]
    if isinstance(module, nn.modules.batchnorm._NormBase):
        attributes = {"num_features": size}
    elif isinstance(module, nn.GroupNorm):
        each = module.num_channels // module.num_groups
        size = max(1, size // each) * each
        attributes = {"num_channels": size, "num_groups": size // each}
    elif isinstance(module, nn.LayerNorm):
        attributes = {"normalized_shape": (size,)}
    elif isinstance(module, nn.PReLU):
        attributes = {"num_parameters": size}
    else:
        return {}, allowed
    return attributes, allowed | dict.fromkeys(per_unit, (size,))


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))


def _resize_tensors_(layer: nn.Module, shapes: Mapping[str, Shape]) -> None:
    held = _tensors(layer)
    for name, shape in shapes.items():
        if name in held and tuple(held[name].shape) == shape:
            continue
        like = held.get(name, held.get("weight"))
        assert like is not None  # a bias is added to layers with a weight only
        sized: Tensor = torch.zeros(shape, dtype=like.dtype, device=like.device)
        is_parameter = isinstance(like, nn.Parameter)
        setattr(layer, name, nn.Parameter(sized, requires_grad=like.requires_grad) if is_parameter else sized)
