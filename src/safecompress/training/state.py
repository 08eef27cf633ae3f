"""A TrainingState: all that training needs to continue from a step, as named tensors that safetensors can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from safecompress.digests import digest_tensors
from safecompress.sparsity import Fill

_GROUPS = ("model", "optimizer", "momentum", "opponent", "moving", "scaler")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """Weights and buffers, optimizer state and gradient averages after ``step`` optimizer steps.

    ``optimizer`` is keyed ``parameter-name/state-name``; ``momentum`` (dense gradient averages by parameter name) is
    empty unless a grow rule reads it, ``opponent`` unless the objective has one, ``scaler`` unless losses are scaled.

    ``model`` is what is tested and shipped. Where the recipe averages weights that is the average, and ``moving`` are
    the weights that training goes on from; else ``moving`` is empty. Tensors lie on the CPU and are never changed in
    place.
    """

    step: int
    model: Mapping[str, Tensor] = field(repr=False)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    momentum: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    opponent: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    moving: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    scaler: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def capture(
        cls,
        step: int,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        momentum: Mapping[str, Tensor] | None = None,
        opponent: Mapping[str, Tensor] | None = None,
        average: Mapping[str, Tensor] | None = None,
        scaler: Mapping[str, Tensor] | None = None,
    ) -> TrainingState:
        """A copy of everything, on the CPU; with an ``average`` (a state dict) that is the state's ``model``."""
        states: dict[str, Tensor] = {}
        if optimizer is not None:
            for name, parameter in model.named_parameters():
                for key, value in optimizer.state.get(parameter, {}).items():
                    if torch.is_tensor(value):
                        states[f"{name}/{key}"] = _copy(value)
        weights = model.state_dict()
        return cls(
            step,
            _copies(weights if average is None else average),
            states,
            _copies(momentum or {}),
            _copies(opponent or {}),
            _copies({} if average is None else weights),
            _copies(scaler or {}),
        )

    def restore_(self, model: nn.Module) -> None:
        """Load the weights that are tested and shipped into ``model``."""
        model.load_state_dict(self.model)

    def resume_(self, model: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Load the weights that training goes on from into ``model``, and the optimizer's state into ``optimizer``."""
        model.load_state_dict(self.moving or self.model)
        if optimizer is None:
            return
        parameters = dict(model.named_parameters())
        optimizer.state.clear()
        for key, value in self.optimizer.items():
            name, _, state_name = key.rpartition("/")
            parameter = parameters[name]
            like_parameter = value.shape == parameter.shape and value.is_floating_point()
            optimizer.state[parameter][state_name] = (
                value.to(parameter, copy=True) if like_parameter else value.to(parameter.device, copy=True)
            )

    def filled(self, fills: Mapping[str, Fill]) -> TrainingState:
        """The state with ``fills`` written into weights and buffers, by name; their optimizer state starts at zero."""
        if not fills:
            return self
        model, moving, optimizer = dict(self.model), dict(self.moving), dict(self.optimizer)
        for name, fill in fills.items():
            for weights in (model, moving) if moving else (model,):
                weights[name] = weights[name].clone()
                fill.write_(weights[name])
            for key, state in self.optimizer.items():
                if key.rpartition("/")[0] == name and state.shape == model[name].shape:
                    optimizer[key] = state.clone()
                    fill.clear_(optimizer[key])
        return replace(self, model=model, optimizer=optimizer, moving=moving)

    def to_tensors(self) -> dict[str, Tensor]:
        """All tensors under one flat namespace, for a file."""
        groups = {name: getattr(self, name) for name in _GROUPS}
        return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, step: int, tensors: Mapping[str, Tensor]) -> TrainingState:
        """The state that `to_tensors` flattened."""
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in _GROUPS}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        return cls(step, **groups)

    def digest(self) -> str:
        """SHA-256 over the weights and buffers (not the optimizer): equal for models that compute the same."""
        return digest_tensors(self.model)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in tensors.items()}
