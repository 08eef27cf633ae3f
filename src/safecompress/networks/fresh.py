"""New weights for a network, as for shadow models and controls: nothing that was learned may be left in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.networks.plain_weights import copied, with_plain_weights
from safecompress.networks.state_dicts import fitted
from safecompress.seeding import seeded

WeightFactory = Callable[[], nn.Module]
"""Returns the network with weights as they are before training."""


@torch.no_grad()
def draw_anew_(model: nn.Module) -> tuple[str, ...]:
    """Give ``model`` new weights from PyTorch's global generator; return the parameters that no module could draw.

    A module draws by its ``reset_parameters`` (``_reset_parameters`` in nn.MultiheadAttention), a Hugging Face model by
    its own initialisation. Modules whose parameters are all frozen keep them. Any other parameter, such as one of a
    user's own module, is drawn from a normal law with the mean and the deviation that it has; one that holds a single
    value everywhere keeps it.
    """
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    drawing = [module for module in model.modules() if not _is_frozen(module)]
    for module in drawing:
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.fill_(torch.nan)  # what is left of it was not drawn, whatever a module draws
    for module in drawing:
        if (reset := _reset_of(module)) is not None:
            reset()
    _initialise_pretrained_(model)
    left = []
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and bool(parameter.isnan().any()):
            parameter.copy_(before[name])
            if not _is_constant(parameter):
                parameter.normal_(float(parameter.mean()), float(parameter.std()))
                left.append(name)
    return tuple(left)


def has_own_draw(model: nn.Module) -> bool:
    """Whether any module of ``model`` can draw new weights by itself."""
    return any(_reset_of(module) is not None for module in model.modules())


def undrawable(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters of ``model`` that no module of it can draw anew; it is left as it is."""
    with seeded(0, "undrawable"):
        return draw_anew_(copied(model))


@dataclass(frozen=True, eq=False)
class FreshNetwork:
    """Fresh copies of ``template``: by ``factory`` where there is one, else by its modules' own ways to draw."""

    template: nn.Module = field(repr=False)
    factory: WeightFactory | None = None

    def __call__(self) -> nn.Module:
        """One with weights of its own, by PyTorch's global generator. Raises ModelError for a factory of another."""
        model = copied(self.template)
        if self.factory is None:
            draw_anew_(model)
        else:
            model.load_state_dict(weights_by(self.factory, model))
        return model


def weights_by(factory: WeightFactory, model: nn.Module) -> dict[str, Tensor]:
    """The weights of what ``factory`` makes, by the names of ``model``. Raises ModelError where they do not fit."""
    try:
        made: Any = factory()
    except Exception as error:  # the user's own code runs
        raise ModelError(
            f"model_factory raised {type(error).__name__}: {error}. It is called without arguments and returns the "
            "network with the weights that training begins with."
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"model_factory gave a {type(made).__name__}; it must return a new torch.nn.Module.")
    return fitted(with_plain_weights(made)[0].state_dict(), model, "What model_factory returns")


def _initialise_pretrained_(model: nn.Module) -> None:
    """Draw as Hugging Face does, in its own scale; its flags say of what was loaded that it is not to be drawn."""
    roots = [module for module in model.modules() if callable(getattr(module, "_init_weights", None))]
    for root in roots[:1]:
        if not callable(getattr(root, "init_weights", None)) or _is_frozen(root):
            continue
        things: list[Any] = [*root.modules(), *root.parameters(), *root.buffers()]
        for thing in things:
            if getattr(thing, "_is_hf_initialized", False):
                thing._is_hf_initialized = False
        root.init_weights()  # type: ignore[operator]


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    """How a module draws its own parameters anew; None where it cannot."""
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return reset if callable(reset) else None


def _is_frozen(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())
