"""What stands behind a network's head: whether outputs are a function, and a continuous one, of what the head gives.

N rows, C classes, T points between two rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from safecompress.attacks.lastlayer import predict_with_hidden
from safecompress.training import evaluating

SAME = 1e-4
"""How much outputs may differ, as a share of what they differ by between rows, and be taken for equal."""

STEPS = 256
"""Steps from one row to another."""

JUMP = 0.8
"""The largest step over the largest double step: a half where outputs are smooth, one where they jump or are noise."""

PAIRS = 8
"""Pairs of rows between which outputs are followed."""


@dataclass(eq=False)
class _Calls:
    """What layers with weights gave in a forward pass, in the order of their calls."""

    layers: list[nn.Module] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


FEW = 64
"""Rows of which what every layer gives is kept."""


def fault_behind_head(network: nn.Module, samples: Tensor) -> str | None:
    """Why the outputs of ``samples`` (N, ...) are no plain function of what the last layer gives; None where they are.

    The head is the layer with weights that is called last, and with it all that give C numbers a row, so that the mean
    of several networks has several heads. Nothing is wrong where its output is the network's. Else two things must
    hold: outputs are the same for all rows where the heads are made to give all rows the same, so that nothing else
    reads the row; and they change continuously where the heads' output is moved from one row's to another's, as they do
    behind a softmax or a temperature, and do not behind noise that is keyed to it or a rounding that hides it.
    """
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        everything, samples = samples, samples[spread_over(len(samples), FEW)]
        calls, outputs_NC = _recorded(network, samples)
        if not calls.layers:
            return (
                "It has no layer of torch.nn with weights, so that nobody can tell what its outputs are made of. Build "
                "it from layers of torch.nn."
            )
        if any(gave.shape == outputs_NC.shape and torch.equal(gave, outputs_NC) for gave in calls.outputs):
            return _unlike_the_rest(network, everything)
        spread = float((outputs_NC - outputs_NC[:1]).abs().max())
        heads = _heads(calls, outputs_NC.shape[1])
        alike_NC = _forced(network, samples, heads, _one_for_all(calls, outputs_NC.shape[1]))
        if not float((alike_NC - alike_NC[:1]).abs().max()) <= SAME * spread:
            return (
                f"Its outputs differ from row to row even where {_named(network, heads)} gives all rows the same: "
                "something else reads the row, such as noise that is keyed to it. Audit the network without what "
                "stands behind that layer."
            )
        if spread and _jumps(network, samples, heads, spread):
            return (
                f"Its outputs jump where what {_named(network, heads)} gives changes a little: they are rounded, or "
                "carry noise that is keyed to it, and whoever has the weights reads it before that. Audit the network "
                "without what stands behind that layer."
            )
    return None


def spread_over(length: int, count: int) -> Tensor:
    """At most ``count`` row numbers, spread evenly over ``length``: pools have members first."""
    return torch.linspace(0, length - 1, min(count, length)).long()


def _unlike_the_rest(network: nn.Module, samples: Tensor) -> str | None:
    """What is wrong where outputs are what the head gives for some rows, and not for others."""
    if predict_with_hidden(network, samples)[2] is None:
        return None
    return (
        "Its outputs are what its last linear layer gives for some rows, and something else for others. Audit the "
        "network without what stands behind that layer."
    )


def _recorded(network: nn.Module, samples: Tensor) -> tuple[_Calls, Tensor]:
    """The calls of all layers with weights, those that give a tensor; and the outputs."""
    calls = _Calls()

    def note(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.layers.append(layer)
            calls.outputs.append(output.clone())

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if has_weights(layer)]
    try:
        return calls, network(samples)
    finally:
        for hook in hooks:
            hook.remove()


def has_weights(layer: nn.Module) -> bool:
    """Whether it is a layer of torch.nn with parameters of its own."""
    is_known = any(kind.__module__.startswith("torch.nn.") for kind in type(layer).__mro__[:-2])
    return is_known and any(weight is not None for weight in layer._parameters.values()) and not list(layer.children())


def _width(layer: nn.Module, output: Tensor) -> int:
    """How many numbers a row, or a place of it, has in the output."""
    return output.shape[1 if isinstance(layer, nn.modules.conv._ConvNd) and output.ndim > 1 else -1]


def _heads(calls: _Calls, num_classes: int) -> list[nn.Module]:
    """The layer called last, and all that give C numbers."""
    wide = [
        layer
        for layer, gave in zip(calls.layers, calls.outputs, strict=True)
        if gave.ndim > 1 and _width(layer, gave) == num_classes
    ]
    return list(dict.fromkeys([*wide, calls.layers[-1]]))


Replace = Callable[[nn.Module, Tensor], Tensor]
"""What a layer gives in the place of its output."""


def _forced(network: nn.Module, samples: Tensor, heads: Sequence[nn.Module], replace: Replace) -> Tensor:
    """The outputs where each of ``heads`` gives something else."""
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: replace(layer, output).clone()) for layer in heads
    ]
    try:
        outputs: Tensor = network(samples)
        return outputs
    finally:
        for hook in hooks:
            hook.remove()


def _one_for_all(calls: _Calls, num_classes: int) -> Replace:
    """Gives all rows, and all their places, one vector: all layers that give C numbers the same one."""
    vectors: dict[int, Tensor] = {}
    for layer, gave in zip(calls.layers, calls.outputs, strict=True):  # the last call stays
        channels = gave.movedim(1, -1) if isinstance(layer, nn.modules.conv._ConvNd) and gave.ndim > 1 else gave
        vectors[channels.shape[-1]] = channels.reshape(-1, channels.shape[-1])[0]

    def replace(layer: nn.Module, output: Tensor) -> Tensor:
        vector = vectors[_width(layer, output)]
        if isinstance(layer, nn.modules.conv._ConvNd) and output.ndim > 1:
            vector = vector.reshape(-1, *[1] * (output.ndim - 2))
        return vector.expand_as(output)

    return replace


def _jumps(network: nn.Module, samples: Tensor, heads: Sequence[nn.Module], spread: float) -> bool:
    """Whether outputs jump between most pairs of rows, or stay between all of them."""
    count = min(PAIRS, len(samples) // 2)
    ratios = [_roughness(network, samples[pair], samples[-1 - pair], heads, spread) for pair in range(count)]
    moving = [ratio for ratio in ratios if ratio is not None]
    return not moving or sum(ratio > JUMP for ratio in moving) * 2 > len(moving)


def _roughness(
    network: nn.Module, first: Tensor, second: Tensor, heads: Sequence[nn.Module], spread: float
) -> float | None:
    """The largest step of the outputs over the largest double step, on the way of the heads' output from one row to
    the other; None where outputs stay as they are."""
    ends = [_recorded(network, row[None])[0] for row in (first, second)]
    given = [[gave for layer, gave in zip(c.layers, c.outputs, strict=True) if layer in heads] for c in ends]
    shares_T = torch.linspace(0, 1, STEPS + 1, device=first.device)
    turn = iter(zip(*given, strict=True))

    def between(layer: nn.Module, output: Tensor) -> Tensor:
        start, end = next(turn)
        if output.numel() != start.numel() * (STEPS + 1):  # of something else than the rows, such as prototypes
            return output
        share = shares_T.reshape(-1, *[1] * start.ndim)
        return torch.lerp(start[None], end[None], share.to(start.dtype)).reshape(output.shape)

    outputs_TC = _forced(network, first[None].expand(STEPS + 1, *first.shape), heads, between)
    single, double = (float((outputs_TC[size::size] - outputs_TC[:-size:size]).norm(dim=1).max()) for size in (1, 2))
    return None if double <= SAME * spread else single / double


def _named(network: nn.Module, layers: Sequence[nn.Module]) -> str:
    names = {module: name for name, module in network.named_modules()}
    return f"the head ({', '.join(repr(names[layer]) for layer in layers)})"
