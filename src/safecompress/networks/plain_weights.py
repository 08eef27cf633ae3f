"""Weights that are computed (weight_norm, spectral_norm, torch.nn.utils.prune, parametrize): found and read through."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from safecompress.errors import ModelError


@dataclass(frozen=True)
class Reparametrised:
    """A tensor ``name`` of the module at ``place`` that is computed from others by ``kind``.

    ``remedy`` is the code that makes it a plain parameter of ``model``. ``stored`` are the names of the tensors that
    it is computed from, beside it in the state dict.
    """

    place: str
    name: str
    kind: str
    remedy: str
    stored: tuple[str, ...]

    @property
    def path(self) -> str:
        """Its full name: ``layer1.0.weight``."""
        return f"{self.place}.{self.name}".lstrip(".")


def find_reparametrised(model: nn.Module) -> list[Reparametrised]:
    """Every weight of ``model`` that is no plain parameter, in the order of its modules."""
    return [
        found for place, module in model.named_modules() for found in (*_new_style(place, module), *_old(place, module))
    ]


def _new_style(place: str, module: nn.Module) -> Iterator[Reparametrised]:
    if not parametrize.is_parametrized(module):
        return
    for name, steps in module.parametrizations.items():  # type: ignore[union-attr, operator]
        kind = " and ".join(type(step).__name__.strip("_") for step in steps)
        stored = tuple(f"parametrizations.{name}.{key}" for key, _ in steps.named_parameters(recurse=False))
        call = f"torch.nn.utils.parametrize.remove_parametrizations({_code(place)}, {name!r})"
        yield Reparametrised(place, name, f"parametrization {kind}", call, stored)


def _old(place: str, module: nn.Module) -> Iterator[Reparametrised]:
    """Those of hooks that compute the weight before each forward pass."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            call = f"torch.nn.utils.remove_weight_norm({_code(place)}, {hook.name!r})"
            yield Reparametrised(place, hook.name, "weight_norm", call, (f"{hook.name}_g", f"{hook.name}_v"))
        elif isinstance(hook, SpectralNorm):
            call = f"torch.nn.utils.remove_spectral_norm({_code(place)}, {hook.name!r})"
            yield Reparametrised(place, hook.name, "spectral_norm", call, (f"{hook.name}_orig",))
        elif isinstance(hook, prune.BasePruningMethod):
            name = str(hook._tensor_name)
            call = f"torch.nn.utils.prune.remove({_code(place)}, {name!r})"
            yield Reparametrised(place, name, "torch.nn.utils.prune", call, (f"{name}_orig", f"{name}_mask"))


def with_plain_weights(model: nn.Module) -> tuple[nn.Module, list[Reparametrised]]:
    """A copy of ``model`` in which every computed weight is a parameter of its value, and what was computed.

    Answers in evaluation mode stay as they are. Raises ModelError, naming the weight, where PyTorch refuses.
    """
    plain, found = copied(model), find_reparametrised(model)
    modes = {module: module.training for module in plain.modules()}
    plain.eval()  # spectral_norm would move its estimate
    for one in found:
        try:
            _make_plain_(plain.get_submodule(one.place), one)
        except Exception as error:  # a parametrization of whatever author
            raise ModelError(
                f"The weight {one.path!r} is computed by {one.kind}, and could not be read through "
                f"({type(error).__name__}: {error}). Make it a plain parameter first: {one.remedy}."
            ) from error
    for module, mode in modes.items():
        module.training = mode
    return plain, found


def _make_plain_(module: nn.Module, one: Reparametrised) -> None:
    if one.kind.startswith("parametrization"):
        _give_own_class_(module)
        parametrize.remove_parametrizations(module, one.name, leave_parametrized=True)
    elif one.kind == "weight_norm":
        remove_weight_norm(module, one.name)
    elif one.kind == "spectral_norm":
        remove_spectral_norm(module, one.name)
    else:
        prune.remove(module, one.name)  # type: ignore[no-untyped-call]


def _give_own_class_(module: nn.Module) -> None:
    """PyTorch keeps the computed weight as a property of a class, which a copy shares with its original."""
    kind = type(module)
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(kind.__name__, kind.__bases__, own)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of ``model``; tensors that hang on an autograd graph, which Python cannot copy, lose it.

    Such are weights that an old hook computed, and whatever a forward pass kept in an attribute.
    """
    known: dict[int, Tensor] = {}
    for module in model.modules():
        for value in _values(module):
            if isinstance(value, Tensor) and not value.is_leaf:
                known[id(value)] = value.detach().clone()
    with torch.no_grad():
        return copy.deepcopy(model, known)


def _values(module: nn.Module) -> Iterator[object]:
    """What the attributes of a module hold, lists and dicts opened."""
    waiting = list(vars(module).values())
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, nn.Module):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        else:
            yield value


def _code(place: str) -> str:
    """How Python names the module at ``place``: ``model.layer1[0]``."""
    parts = [f"[{part}]" if part.isdigit() else f".{part}" for part in place.split(".") if part]
    return "model" + "".join(parts)
