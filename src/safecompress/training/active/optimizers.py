"""The optimizers of a recipe over one vector, with states named as PyTorch names them: a fifth of its calls' time."""

# P active numbers.

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from safecompress.training.active import kernels
from safecompress.training.recipe import Recipe

_BETA2, _EPSILON = 0.999, 1e-8


class FlatOptimizer(Protocol):
    """Moves a vector against its gradient, in place."""

    def step(self, rate: float) -> None:
        """Take one step at the learning ``rate``."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What it keeps from step to step, by PyTorch's names; it goes on changing."""
        ...


def make_optimizer(recipe: Recipe, active_P: Tensor, gradient_P: Tensor, kept: Mapping[str, Tensor]) -> FlatOptimizer:
    """The optimizer of ``recipe`` for ``active_P``, from the state ``kept`` on; an empty one is a fresh start."""
    if recipe.optimizer == "sgd":
        return _FlatSgd(recipe, active_P, gradient_P, kept)
    return _FlatAdam(recipe, active_P, gradient_P, kept)


class _FlatAdam:
    """Adam and AdamW, as `torch.optim.Adam` and `torch.optim.AdamW`."""

    def __init__(self, recipe: Recipe, active_P: Tensor, gradient_P: Tensor, kept: Mapping[str, Tensor]) -> None:
        self._recipe, self._numbers = recipe, active_P.numpy()
        self._gradient = gradient_P.numpy()
        self._step = int(kept["step"].item()) if kept else 0
        self._mean_P, self._square_P = (
            kept[name].clone() if kept else torch.zeros_like(active_P) for name in ("exp_avg", "exp_avg_sq")
        )
        self._moments = self._mean_P.numpy(), self._square_P.numpy()
        self._is_decoupled = recipe.optimizer == "adamw"

    def step(self, rate: float) -> None:
        """Take one step at the learning ``rate``."""
        self._step += 1
        beta1, decay = self._recipe.momentum, self._recipe.weight_decay
        corrections = 1 - beta1**self._step, 1 - _BETA2**self._step
        rates = np.array([rate, beta1, _BETA2, _EPSILON, decay, *corrections])
        kernels.adam(self._numbers, self._gradient, *self._moments, rates, self._is_decoupled)

    def state(self) -> dict[str, Tensor]:
        """Steps taken, and the moving averages of the gradient and its square."""
        if not self._step:
            return {}
        return {"step": torch.tensor(float(self._step)), "exp_avg": self._mean_P, "exp_avg_sq": self._square_P}


class _FlatSgd:
    """SGD with weight decay, momentum and Nesterov's look ahead, as `torch.optim.SGD`."""

    def __init__(self, recipe: Recipe, active_P: Tensor, gradient_P: Tensor, kept: Mapping[str, Tensor]) -> None:
        self._recipe, self._numbers = recipe, active_P.numpy()
        self._gradient = gradient_P.numpy()
        self._is_first = "momentum_buffer" not in kept
        fresh = torch.zeros_like(active_P) if recipe.momentum else torch.zeros(0)
        self._buffer_P = fresh if self._is_first else kept["momentum_buffer"].clone()

    def step(self, rate: float) -> None:
        """Take one step at the learning ``rate``."""
        recipe = self._recipe
        rates = np.array([rate, recipe.momentum, recipe.weight_decay, float(recipe.nesterov)])
        kernels.sgd(self._numbers, self._gradient, self._buffer_P.numpy(), rates, self._is_first)
        self._is_first = False

    def state(self) -> dict[str, Tensor]:
        """The momentum, from the first step on."""
        return {} if self._is_first or not len(self._buffer_P) else {"momentum_buffer": self._buffer_P}
