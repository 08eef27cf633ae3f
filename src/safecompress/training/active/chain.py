"""Reads a model as a chain of layers, each of which feeds the next one alone; says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.GELU, nn.ELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus,
)  # fmt: skip
"""Activations that look at one number at a time and have no weights."""

_KNOWN = (nn.Linear, nn.Flatten, nn.Dropout, nn.Identity, *ELEMENTWISE)


@dataclass(frozen=True, eq=False)
class Chain:
    """The layers of a model in the order in which they run, each with its name in the model; no `nn.Identity`.

    ``is_flattened`` says whether the input is flattened before anything else happens.
    """

    layers: tuple[tuple[str, nn.Module], ...]
    is_flattened: bool

    def linear_layers(self) -> Iterator[tuple[tuple[str, nn.Linear], list[nn.Module]]]:
        """Each linear layer with its name, and what follows it before the next one."""
        places = [place for place, (_, layer) in enumerate(self.layers) if isinstance(layer, nn.Linear)]
        for place, end in pairwise([*places, len(self.layers)]):
            name, layer = self.layers[place]
            assert isinstance(layer, nn.Linear)
            yield (name, layer), [one for _, one in self.layers[place + 1 : end]]


def read_chain(model: nn.Module) -> Chain | str:
    """The layers of ``model``, or why it is no chain that can be trained by its active weights alone.

    The forward pass is traced, so the class of the model does not matter. A pass that decides by values or at random
    is no chain. Whoever changes the code of a forward pass gives it to a new model.
    """
    if next(model.buffers(), None) is not None:
        return "the model has buffers"
    if any(not parameter.requires_grad or parameter.dtype != torch.float32 for parameter in model.parameters()):
        return "a parameter is frozen, or is not float32"
    if any(map(_is_hooked, model.modules())):
        return "a layer of the model has hooks"
    graph = _graph_of(model)
    if graph is None:
        return "the forward pass cannot be traced, or draws random numbers outside of layers"
    steps = _steps(model, graph)
    return steps if isinstance(steps, str) else _as_chain(model, steps)


def _as_chain(model: nn.Module, steps: list[tuple[str, nn.Module]]) -> Chain | str:
    """The ``steps`` without those that change nothing; or what is wrong with them."""
    steps = [step for step in steps if type(step[1]) is not nn.Identity]
    is_flattened = bool(steps) and isinstance(steps[0][1], nn.Flatten)
    layers = tuple(step for step in steps if not isinstance(step[1], nn.Flatten))
    linear = [layer for _, layer in layers if isinstance(layer, nn.Linear)]
    if layers and not isinstance(layers[0][1], nn.Linear):
        return "the model does something to its features before the first linear layer"
    weights = {id(tensor) for layer in linear for tensor in layer.parameters()}
    if not linear or len(weights) != sum(len(list(layer.parameters())) for layer in linear):
        return "the model has no linear layer, or uses a weight twice"
    if weights != {id(tensor) for tensor in model.parameters()}:
        return "the model has weights that its forward pass does not use"
    return Chain(layers, is_flattened)


_GRAPHS: WeakKeyDictionary[nn.Module, fx.Graph | None] = WeakKeyDictionary()
"""Of models that were traced: a training whose pattern moves asks after each move, of one model."""


def _graph_of(model: nn.Module) -> fx.Graph | None:
    """The graph of the forward pass, or None; a model is traced once."""
    if model not in _GRAPHS:
        _GRAPHS[model] = _traced(model)
    return _GRAPHS[model]


def _traced(model: nn.Module) -> fx.Graph | None:
    """The graph of the forward pass, or None; tracing runs it without numbers."""
    before = torch.get_rng_state()
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # whatever a user's forward pass raises when it is given no numbers
        return None
    return graph if torch.equal(before, torch.get_rng_state()) else None


def _steps(model: nn.Module, graph: fx.Graph) -> list[tuple[str, nn.Module]] | str:
    """What the graph calls, by name, where each step takes the last one's output and nothing else."""
    nodes = list(graph.nodes)
    if [node.op for node in nodes[:1]] != ["placeholder"] or nodes[-1].op != "output":
        return "the forward pass takes more than the features"
    steps = []
    for before, node in pairwise(nodes):
        if not node.args or node.args[0] is not before or len(before.users) != 1:
            return "the forward pass is no chain: a layer feeds another one than the next"
        if node.op == "output":
            break
        layer = _layer(model, node)
        if layer is None or (isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1)):
            return f"the forward pass does something that is not served: {node.format_node()}"
        steps.append((str(node.target), layer))
    return steps


def _layer(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The layer that ``node`` calls; None for what is unknown."""
    if node.op == "call_module" and len(node.args) == 1 and not node.kwargs:
        module = model.get_submodule(str(node.target))
        return module if type(module) in _KNOWN else None
    is_flatten = (node.op, node.target) in (("call_method", "flatten"), ("call_function", torch.flatten))
    options = {**dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)), **node.kwargs}
    if is_flatten and options in ({"start_dim": 1}, {"start_dim": 1, "end_dim": -1}):
        return nn.Flatten()
    return None


def _is_hooked(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind, None) for kind in kinds)


def has_shape(tensor: Tensor, chain: Chain) -> bool:
    """Whether rows ``tensor`` (N, ...) come to the chain's first layer as (N, F)."""
    return chain.is_flattened or tensor.ndim == 2
