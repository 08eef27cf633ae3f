"""Units: which slices of which tensors belong to one neuron or channel, found by tracing and then put to the test."""

# S units of a group, M numbers that one unit has in a tensor

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from safecompress.errors import ModelError, UsageError

Role = Literal["makes", "carries", "reads"]

_MAKERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CARRIERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)
_SUPPORTED = "Linear, Conv1d-3d (plain or depthwise), BatchNorm, InstanceNorm, GroupNorm, LayerNorm and PReLU"


@dataclass(frozen=True, slots=True)
class Slice:
    """One parameter or buffer that the units of a group run through.

    ``name`` is its name in the state dict. Unit s owns the ``width`` consecutive places from s * width along ``dim``;
    the width is 1 except behind a flattened map. ``role`` is "makes" (rows that compute a unit from others: incoming
    weights, bias), "carries" (what passes it on by itself: norms with their statistics, depthwise kernels) or "reads"
    (columns of a layer that computes others from it).
    """

    name: str
    dim: int
    width: int
    role: Role

    def per_unit(self, tensor: Tensor) -> Tensor:
        """Each unit's own numbers in ``tensor``, the one called ``name``, as (S, M); a view where that is possible."""
        front = tensor.movedim(self.dim, 0)
        return front.reshape(front.shape[0] // self.width, -1)

    def places(self, units: Tensor) -> Tensor:
        """Places along ``dim`` of the ``units`` (int64), in their order; ``width`` times as many."""
        return (units[:, None] * self.width + torch.arange(self.width)).reshape(-1)


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units that exist together: the neurons of a layer, or the channels that a residual sum forces to be equally many.

    ``name`` is that of the first layer that makes them, ``size`` their number. ``block`` consecutive units share the
    statistics of a norm (GroupNorm's groups, all of a LayerNorm), so that none of them leaves alone; 1 elsewhere.
    """

    name: str
    size: int
    slices: tuple[Slice, ...]
    block: int = 1

    def with_role(self, role: Role) -> tuple[Slice, ...]:
        """The slices of one role."""
        return tuple(part for part in self.slices if part.role == role)


def unit_groups(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[UnitGroup, ...]:
    """The groups of units of ``model``, which maps (N, *input_shape) to one tensor, in the order of its layers.

    What the network reads (colours, features) and what it gives (classes) are in no group, nor is what a sum ties to
    either. A tensor has at most one group along each dimension. The model itself is left as it is: a copy is traced on
    the CPU in evaluation mode.

    Raises ModelError, by name, for a layer or operation whose units cannot be told: one that is called twice, shares
    its weights, concatenates or splits, is a grouped convolution other than a depthwise one, or mixes channels outside
    a layer; and UsageError where Torch-Pruning is not installed.

    Source: Fang et al. 2023 (DepGraph), as implemented in Torch-Pruning.
    """
    traced = copy.deepcopy(model).cpu().eval()
    layers = dict(traced.named_modules())
    _require_known(traced, layers)
    graph, entry = _trace(traced, layers, input_shape)
    makers = {name: layer for name, layer in layers.items() if isinstance(layer, _MAKERS) and not _is_depthwise(layer)}
    groups: list[UnitGroup] = []
    seen: set[str] = set()
    for name, layer in makers.items():
        if name in seen:
            continue
        items = graph.get_pruning_group(
            layer, graph.get_pruner_of_module(layer).prune_out_channels, list(range(layer.weight.shape[0]))
        ).items
        names = {id(module): name for name, module in layers.items()}
        seen |= {names[id(item.dep.target.module)] for item in items if _makes(graph, item.dep)}
        if not _is_tied(graph, items, entry):
            groups.append(_group(graph, items, name, layers))
    _probe(traced, layers, groups, input_shape)
    return tuple(groups)


def _require_known(model: nn.Module, modules: dict[str, nn.Module]) -> None:
    for name, layer in modules.items():
        held = dict(layer.named_parameters(recurse=False))
        if not isinstance(layer, (*_MAKERS, *_CARRIERS)) and any(p.numel() > 1 for p in held.values()):
            raise ModelError(
                f"The units of {name or 'the model'!r} ({type(layer).__name__}, which holds {', '.join(held)}) cannot "
                f"be told. Known are {_SUPPORTED}. Compress this model by single weights."
            )
        if isinstance(layer, _MAKERS) and getattr(layer, "groups", 1) > 1 and not _is_depthwise(layer):
            raise ModelError(
                f"{name!r} is a convolution in {layer.groups} groups of several channels each, whose units cannot be "
                "told. Known are groups=1 and depthwise convolutions (groups = in_channels = out_channels)."
            )
        if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
            raise ModelError(
                f"{name!r} is a LayerNorm over {layer.normalized_shape}, whose units cannot be told. "
                "Known are those over one dimension."
            )
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = owners.setdefault(id(parameter), name)
        if first != name:
            raise ModelError(
                f"{first!r} and {name!r} are one tensor: the units of tied weights cannot be told. Untie them."
            )


def _trace(model: nn.Module, modules: dict[str, nn.Module], input_shape: tuple[int, ...]) -> tuple[Any, nn.Parameter]:
    """Torch-Pruning's graph of ``model``, and the parameter that stands for the network's input in it."""
    try:
        import torch_pruning
    except ImportError as error:
        raise UsageError(
            "Units are found by Torch-Pruning, which is not installed: pip install torch-pruning."
        ) from error
    entered: list[str] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _layer, _inputs, name=name: entered.append(name))
        for name, layer in modules.items()
    ]
    wrapped = _Entry(model, input_shape)
    try:
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(
                wrapped, _sample(model, input_shape), forward_fn=_Entry.__call__, verbose=False
            )
    except Exception as error:  # the model is anybody's code
        reason = (str(error) or repr(error)).splitlines()[0]
        where = f"in or after {entered[-1]!r}" if entered and entered[-1] else "before its first layer"
        raise ModelError(
            f"The model could not be traced on samples of {input_shape}, {where}: {reason}. Its forward must take one "
            "float tensor (N, *input_shape) and return one tensor."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    calls = Counter(entered)
    for name, layer in modules.items():
        if isinstance(layer, (*_MAKERS, *_CARRIERS)) and calls[name] != 1:
            raise ModelError(
                f"{name!r} is called {calls[name]} times in one forward pass; units can be told only of layers that "
                "are called once."
            )
        if isinstance(layer, _MAKERS) and layer not in graph.module2node:
            raise ModelError(f"{name!r} has no part in the model's output that could be traced. Remove the layer.")
    return graph, wrapped.entry


class _Entry(nn.Module):
    """The model behind a parameter of its input's shape, by which sums with the raw input show in the graph.

    The graph follows gradients; by this parameter it passes through frozen layers too.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.entry = nn.Parameter(torch.ones_like(_sample(model, input_shape)[0]))

    def forward(self, inputs: Tensor) -> Any:
        """What the model makes of ``inputs`` (N, *input_shape)."""
        return self.model(inputs * self.entry)


def _sample(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.rand((2, *input_shape), generator=torch.Generator().manual_seed(0), dtype=dtype)


def _is_depthwise(module: Any) -> bool:
    groups = getattr(module, "groups", 1)
    return bool(groups > 1 and groups == module.in_channels == module.out_channels)


def _makes(graph: Any, dep: Any) -> bool:
    layer = dep.target.module
    return isinstance(layer, _MAKERS) and not _is_depthwise(layer) and graph.is_out_channel_pruning_fn(dep.handler)


def _is_tied(graph: Any, items: Iterable[Any], entry: nn.Parameter) -> bool:
    """Whether the units of a group are also places of the network's input, or reach its output."""
    return any(
        item.dep.target.module is entry
        or (not item.dep.target.outputs and graph.is_out_channel_pruning_fn(item.dep.handler))
        for item in items
    )


def _group(graph: Any, items: Iterable[Any], name: str, modules: dict[str, nn.Module]) -> UnitGroup:
    items = list(items)
    size, block = len(items[0].idxs), 1
    by_layer: dict[nn.Module, list[Any]] = {}
    for item in items:
        target = item.dep.target
        if target.type.name in ("CONCAT", "SPLIT", "SLICE", "UNBIND", "EXPAND"):
            raise ModelError(
                f"The outputs of {name!r} go through a {target.type.name.lower()} operation, behind which units cannot "
                "be told. Compress this model by single weights."
            )
        by_layer.setdefault(target.module, []).append(item)
    slices: list[Slice] = []
    for layer_name, layer in modules.items():  # in the model's order, not in the trace's
        for item in by_layer.get(layer, []):
            width = _width(item, size, name, layer_name)
            slices += _slices(layer, layer_name, width, _makes(graph, item.dep))
            block = math.lcm(block, _block(layer, size))
    for part in slices:
        layer_name, _, tensor = part.name.rpartition(".")
        places = getattr(modules[layer_name], tensor).shape[part.dim]
        if places != size * part.width:
            raise ModelError(
                f"{part.name!r} has {places} places where the {size} units of {name!r} need {size * part.width}: a sum "
                "or product stretches one to the other. Compress this model by single weights."
            )
    return UnitGroup(name, size, tuple(slices), min(block, size))


def _width(element: Any, size: int, group_name: str, layer_name: str) -> int:
    width = len(element.idxs) // size
    by_unit = sorted(zip(element.root_idxs, element.idxs, strict=True))
    if by_unit != [(place // width, place) for place in range(size * width)] if width else True:
        raise ModelError(
            f"Each of the {size} units of {group_name!r} should own equally many neighbouring places in "
            f"{layer_name!r}; the operations between the two shuffle or merge them. Compress this model by single "
            "weights."
        )
    return width


def _block(layer: nn.Module, size: int) -> int:
    if isinstance(layer, nn.GroupNorm) and layer.affine:
        return size // layer.num_groups
    holds_none = isinstance(layer, (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)) and not layer.state_dict()
    # a norm that holds no tensor cannot tell its size to a file, so its units stay together
    return size if isinstance(layer, nn.LayerNorm) or holds_none else 1


def _slices(layer: nn.Module, name: str, width: int, makes: bool) -> Iterator[Slice]:
    own = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    if isinstance(layer, _MAKERS) and not makes and not _is_depthwise(layer):
        yield Slice(f"{name}.weight", 1, width, "reads")
        return
    role: Role = "makes" if makes else "carries"
    for held, tensor in own.items():
        if tensor.numel() > 1 or (tensor.ndim > 0 and not isinstance(layer, nn.PReLU)):
            yield Slice(f"{name}.{held}", 0, width, role)


def _probe(
    model: nn.Module, modules: dict[str, nn.Module], unit_groups: list[UnitGroup], input_shape: tuple[int, ...]
) -> None:
    """Let the last block of each group emit NaN, and see that it arrives in its own columns and nowhere else.

    The trace knows operations by name; what they do to channels is asked here. Readers take NaN off again, so that one
    pass tests all groups. Raises ModelError where NaN arrives elsewhere.
    """
    with _poisoned(modules, unit_groups), torch.no_grad():
        outputs = model(_sample(model, input_shape))
    if not isinstance(outputs, Tensor):
        raise ModelError(f"The model must return one tensor for its units to be told; got a {type(outputs).__name__}.")
    if outputs.isnan().any():
        raise ModelError(
            "Some unit reaches the model's output around the layers that read it, so that its place there cannot be "
            "told. Compress this model by single weights."
        )


@contextmanager
def _poisoned(modules: dict[str, nn.Module], unit_groups: list[UnitGroup]) -> Iterator[None]:
    reads = {
        part.name.removesuffix(".weight"): (group, part.width)
        for group in unit_groups
        for part in group.with_role("reads")
    }
    hooks = []
    for group in unit_groups:
        for name in {part.name.rpartition(".")[0] for part in group.with_role("makes")}:
            hooks.append(modules[name].register_forward_hook(_emit_nan(modules[name], group)))
    for name, layer in modules.items():
        if isinstance(layer, _MAKERS) and not _is_depthwise(layer):
            hooks.append(layer.register_forward_pre_hook(_check_nan(layer, name, *reads.get(name, (None, 1)))))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def channel_dim(layer: nn.Module) -> int:
    """Where a layer that makes or reads has its units, counted from the end of its input or output."""
    return -1 if isinstance(layer, nn.Linear) else 1 - cast(Tensor, layer.weight).ndim


def _emit_nan(layer: nn.Module, group: UnitGroup) -> Any:
    def hook(_layer: nn.Module, _inputs: Any, outputs: Tensor) -> Tensor:
        poisoned = outputs.clone()
        poisoned.movedim(channel_dim(layer), 0)[-group.block :] = torch.nan
        return poisoned

    return hook


def _check_nan(layer: nn.Module, name: str, group: UnitGroup | None, width: int) -> Any:
    def hook(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        read = inputs[0]
        is_nan = read.movedim(channel_dim(layer), 0).flatten(1).isnan().any(dim=1)
        arrived = is_nan.reshape(-1, width).any(dim=1)
        expected = torch.zeros(len(arrived), dtype=torch.bool)
        if group is not None:
            expected[-group.block :] = True
        if not torch.equal(arrived, expected):
            whose = f"the units of {group.name!r}" if group else "no units that could be told"
            raise ModelError(
                f"{name!r} should read {whose}, but a test signal arrives in other columns: an operation before it "
                "mixes or moves channels. Compress this model by single weights."
            )
        return (read.nan_to_num(),)

    return hook
