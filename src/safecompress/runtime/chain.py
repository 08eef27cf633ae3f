"""A network read as a chain of linear layers with ReLUs between, if it is one."""

# F features, O units of a layer

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from safecompress.export import TaskInfo
from safecompress.runtime.predictor import Floats

SILENT = (
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.Sequential,
)  # change no value, in evaluation mode and without children


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """``weight_OF`` x + ``bias_O``, then max(0, .) if ``has_relu``."""

    weight_OF: Floats = field(repr=False)
    bias_O: Floats = field(repr=False)
    has_relu: bool


def read_chain(network: nn.Module, task: TaskInfo) -> tuple[Layer, ...] | str:
    """The layers of ``network`` in the order in which it calls them, or the reason why it is no chain, in words.

    What a module computes outside its children is not seen: whoever uses the chain compares its answers.
    """
    layers: list[Layer] = []
    for module in _called(network, task):
        if type(module) is nn.Linear:
            layers.append(_layer(module))
        elif type(module) is nn.ReLU and layers:
            layers[-1] = Layer(layers[-1].weight_OF, layers[-1].bias_O, has_relu=True)
        elif type(module) not in SILENT:
            return f"it calls a {type(module).__name__}{'' if layers else ' before any linear layer'}"
    widths = [math.prod(task.input_shape), *(len(layer.bias_O) for layer in layers)]
    read = [layer.weight_OF.shape[1] for layer in layers]
    if not layers or read != widths[:-1] or widths[-1] != task.num_classes:
        return "its linear layers do not follow one another"
    return tuple(layers)


def _called(network: nn.Module, task: TaskInfo) -> list[nn.Module]:
    called: list[nn.Module] = []

    def note(module: nn.Module, _inputs: Any, _output: Any) -> None:
        called.append(module)

    leaves = [module for module in network.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        with torch.no_grad():
            network(task.prepare(torch.zeros(2, *task.input_shape)))
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _layer(module: nn.Linear) -> Layer:
    weight_OF = module.weight.detach().float().contiguous().numpy()
    bias = torch.zeros(module.out_features) if module.bias is None else module.bias.detach().float()
    return Layer(weight_OF, bias.contiguous().numpy(), has_relu=False)
