"""Removes the units that a pattern leaves dead: nothing reads them, or they emit a constant. Outputs stay."""

# S units of a group, P places that a layer reads along its channels, O units that it makes

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.export.resize import resize_
from safecompress.networks import copied
from safecompress.sparsity import SparsityPattern
from safecompress.sparsity.unit_graph import Slice, UnitGroup, channel_dim, unit_groups

TOLERANCE = 1e-5  # of the largest logit: what outputs may differ by, after surgery
_STEADY = 1e-6  # of a constant: what an activation may differ by from one place in memory to the next


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A smaller ``network`` in evaluation mode on the CPU, its ``masks``, and how many units of which group are gone.

    ``masks`` has the names that came in, each of its weight's new shape; ``removed`` names groups as ``unit_groups``
    does, without those that lost nothing.
    """

    network: nn.Module = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    removed: Mapping[str, int]


def shrink(network: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]) -> Shrunk:
    """``network`` without the units that ``masks`` (by parameter name, True: active) leave dead; equal in its outputs.

    A unit leaves when every layer that reads it has only zeros for it; or when all weights that make it are zero, so
    that it emits a constant which its readers can take into their biases. What it emits is measured, behind whatever
    comes between. A convolution that pads with zeros sees no constant at the border: only a unit of exactly 0 leaves
    it. A reader without a bias gets one where it needs one. Leaving makes others dead, so this goes on until all that
    is left lives; one unit of each group stays (one block of it, where a norm shares statistics). The network itself,
    its weights read as zero wherever the masks are False, is left as it is.

    Raises ModelError where masks do not fit, where ``unit_groups`` does, and when outputs on random inputs come out
    different by more than TOLERANCE: a wrong network is never returned.
    """
    thin = copied(network).cpu().eval()
    SparsityPattern(masks).apply_(thin)
    groups = unit_groups(thin, input_shape)
    surgery = _Surgery(
        {name: tensor.clone() for name, tensor in thin.state_dict().items()},
        {name: mask.cpu().clone() for name, mask in masks.items()},
    )
    samples = _samples(thin, input_shape)
    with torch.no_grad():
        before = thin(samples)
    removed: Counter[str] = Counter()
    while True:
        emitted = _watch(thin, groups, samples)
        counts = {group.name: surgery.operate_(thin, group, emitted) for group in groups}
        changed = {name: count for name, count in counts.items() if count is not None}
        if not changed:
            return Shrunk(thin, surgery.masks, dict(+removed))
        removed.update(changed)
        resize_(thin, {name: tuple(tensor.shape) for name, tensor in surgery.state.items()})
        thin.load_state_dict(surgery.state)
        _require_equal(thin, samples, before, changed)


@dataclass(frozen=True, eq=False)
class _Emitted:
    """What arrived at each place of a layer's input: a value (P,), and whether it was the same everywhere."""

    value_P: Tensor
    is_constant_P: Tensor


@dataclass(eq=False)
class _Surgery:
    """The tensors of a network and its masks, while units are taken out of them."""

    state: dict[str, Tensor]
    masks: dict[str, Tensor]

    def operate_(self, network: nn.Module, group: UnitGroup, emitted: Mapping[str, _Emitted]) -> int | None:
        """Take the dead units of ``group`` out; return how many left, or None if there was nothing to do."""
        dead_S = self._find_dead(network, group, emitted)
        if not dead_S.any():
            return None
        has_folded = False
        for part in group.with_role("reads"):
            has_folded |= self._fold_(part, dead_S, emitted[_layer(part)])
        keep_S = ~dead_S
        if not keep_S.any():
            keep_S[: group.block] = True  # a layer of no units is none
        if not keep_S.all():
            self._remove_(group, keep_S)
        num_left = int((~keep_S).sum())
        return num_left if num_left or has_folded else None

    def _find_dead(self, network: nn.Module, group: UnitGroup, emitted: Mapping[str, _Emitted]) -> Tensor:
        kernels = [part for part in group.with_role("makes") if self.state[part.name].ndim > 1]
        is_silent_S = torch.stack([self._is_zero(part) for part in kernels]).all(dim=0)
        is_unread, is_settled = [], []
        for part in group.with_role("reads"):
            here = emitted[_layer(part)]
            can_fold_P = here.is_constant_P
            if _pads_with_zeros(network.get_submodule(_layer(part))):
                can_fold_P = can_fold_P & (here.value_P == 0)
            is_unread.append(self._is_zero(part))
            is_settled.append(is_unread[-1] | can_fold_P.reshape(-1, part.width).all(dim=1))
        dead_S = torch.stack(is_unread).all(dim=0) | (is_silent_S & torch.stack(is_settled).all(dim=0))
        return dead_S.reshape(-1, group.block).all(dim=1).repeat_interleave(group.block)

    def _is_zero(self, part: Slice) -> Tensor:
        return (part.per_unit(self.state[part.name]) == 0).all(dim=1)

    def _fold_(self, part: Slice, dead_S: Tensor, here: _Emitted) -> bool:
        """Move what a reader gets from the dead units into its bias; return whether it got anything."""
        weight = self.state[part.name]
        places = part.places(dead_S.nonzero()[:, 0])
        columns = weight.index_select(part.dim, places)
        if not columns.any():
            return False
        gain_O = columns.double().flatten(2).sum(dim=2) if weight.ndim > 2 else columns.double()
        gain_O = gain_O @ here.value_P[places].double()
        if gain_O.any():
            bias_O = self.state.get(_bias(part), torch.zeros_like(gain_O, dtype=weight.dtype))
            self.state[_bias(part)] = (bias_O.double() + gain_O).to(weight.dtype)
        self.state[part.name] = weight.index_fill(part.dim, places, 0)
        if part.name in self.masks:
            self.masks[part.name] = self.masks[part.name].index_fill(part.dim, places, False)
        return True

    def _remove_(self, group: UnitGroup, keep_S: Tensor) -> None:
        known = {part.name for part in group.slices}
        biases = [
            Slice(_bias(part), 0, part.width, "makes")  # one that an earlier fold added
            for part in group.with_role("makes")
            if _bias(part) in self.state and _bias(part) not in known
        ]
        for part in (*group.slices, *biases):
            places = part.places(keep_S.nonzero()[:, 0])
            for tensors in (self.state, self.masks):
                if part.name in tensors:
                    tensors[part.name] = tensors[part.name].index_select(part.dim, places)


def _layer(part: Slice) -> str:
    return part.name.rpartition(".")[0]


def _bias(part: Slice) -> str:
    return f"{_layer(part)}.bias".lstrip(".")


def _pads_with_zeros(layer: nn.Module) -> bool:
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and any(size > 1 for size in layer.kernel_size)
    return any(layer.padding)


def _samples(network: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Four random samples (4, *input_shape) of growing scale, the same at every call."""
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    samples = torch.randn((4, *input_shape), generator=torch.Generator().manual_seed(0), dtype=dtype)
    return samples * torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=dtype).reshape(-1, *[1] * len(input_shape))


def _watch(network: nn.Module, unit_groups: tuple[UnitGroup, ...], samples: Tensor) -> dict[str, _Emitted]:
    """What each layer that reads units gets of ``samples``, by the layer's name."""
    emitted: dict[str, _Emitted] = {}
    readers = {_layer(part) for group in unit_groups for part in group.with_role("reads")}
    with _hooked(network, readers, emitted), torch.no_grad():
        network(samples)
    return emitted


@contextmanager
def _hooked(network: nn.Module, readers: set[str], emitted: dict[str, _Emitted]) -> Iterator[None]:
    def note(name: str, layer: nn.Module, read: Tensor) -> None:
        low_P, high_P = read.movedim(channel_dim(layer), 0).flatten(1).aminmax(dim=1)
        is_constant_P = high_P - low_P <= _STEADY * torch.maximum(low_P.abs(), high_P.abs())
        emitted[name] = _Emitted((low_P + high_P) / 2, is_constant_P)

    hooks = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda layer, inputs, name=name: note(name, layer, inputs[0])
        )
        for name in readers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _require_equal(network: nn.Module, samples: Tensor, original: Tensor, changed: Mapping[str, int]) -> None:
    removed = ", ".join(f"{count} of {name!r}" for name, count in changed.items())
    try:
        with torch.no_grad():
            after = network(samples)
        largest = float(original.abs().max())
        difference = float((after - original).abs().max())
    except (RuntimeError, ValueError, IndexError) as error:  # such as a size that the forward pass assumes
        raise ModelError(
            f"The network does not run without the dead units taken out ({removed}): {error}. Its forward pass may "
            "name sizes; read them from the tensors, or ship the network as it is."
        ) from error
    if not difference <= TOLERANCE * largest:  # nan is not
        raise ModelError(
            f"Without the dead units taken out ({removed}), outputs differ by {difference:.3g}, with logits up to "
            f"{largest:.3g}: more than {TOLERANCE:g} of that. Ship the network as it is."
        )
