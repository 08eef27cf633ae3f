"""Takes training steps with the active weights alone: forward and backward pass by compiled loops over them.

The objective sees logits (B, C) as ever.
"""

# B rows of a batch, C classes, F features, W columns (B filled up to whole vectors), P active numbers.

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.seeding import reseed
from safecompress.sparsity import SparsityPattern
from safecompress.training.active.chain import Chain
from safecompress.training.active.flat import FlatLayout
from safecompress.training.active.layers import ChainLayer, Dropout, Elementwise, Numbers, Reads, SparseLinear
from safecompress.training.active.losses import loss_and_gradient
from safecompress.training.active.optimizers import make_optimizer
from safecompress.training.state import TrainingState
from safecompress.training.task import Loader, TrainingTask
from safecompress.training.trace import LossTrace

_VECTOR = 16
"""Columns come in multiples of this: the widest vectors hold so many numbers."""

_CPU = torch.device("cpu")


class ActiveStepper:
    """The active numbers of ``model`` and all that moves them, from ``state`` on."""

    def __init__(
        self,
        model: nn.Module,
        chain: Chain,
        state: TrainingState,
        task: TrainingTask,
        pattern: SparsityPattern,
        trace: LossTrace | None,
    ) -> None:
        self.recipe, self._task, self._trace = task.recipe, task, trace
        self._layout = FlatLayout(model, pattern)
        self._flat_P = self._layout.gather(state.moving or state.model)
        self._flat_P.grad = torch.zeros_like(self._flat_P)
        kept = self._layout.gather_optimizer(state.optimizer)
        self._optimizer = make_optimizer(self.recipe, self._flat_P, self._gradient_P, kept)
        self._loader = Loader(task, _CPU)
        largest = math.ceil(len(task.labels) / self.recipe.steps_per_epoch(len(task.labels)))
        self._width = math.ceil(largest / _VECTOR) * _VECTOR
        self._layers = self._made(chain)
        num_features = task.features[0].numel()
        self._x_FW = np.zeros((num_features, self._width), np.float32)
        self.parameters = [self._flat_P]

    @torch.no_grad()
    def __call__(self, step: int) -> Tensor:
        """Take the step; its loss."""
        reseed(self._task.seed, "step", step, device=_CPU)
        batch, rows = self.recipe.objective.mix(self._loader.at(step)), self._loader.rows(step)
        logits_BC = self._forward(batch.features)
        loss, gradient_BC = loss_and_gradient(self.recipe.objective, logits_BC, batch)
        if self._trace is not None:
            self._trace.record(batch.epoch, rows, logits_BC, batch.labels_B)
        self._backward(gradient_BC)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self._flat_P, self.recipe.clip_norm)
        self._optimizer.step(self.recipe.learning_rate_at(step, self._task.total_steps))
        return loss

    def captured(self, step: int) -> TrainingState:
        """The state before ``step``, in dense tensors."""
        weights = self._layout.scatter(self._flat_P)
        return TrainingState(step, weights, self._layout.scatter_optimizer(self._optimizer.state()))

    def detach(self) -> None:
        """Nothing hangs on the model."""

    def _forward(self, features: Tensor) -> Tensor:
        """The logits (B, C) of a batch."""
        num_rows = len(features)
        x_FW = self._x_FW
        x_FW[:, :num_rows] = features.reshape(num_rows, -1).numpy().T
        for layer in self._layers:
            x_FW = layer.forward(x_FW, num_rows)
        return torch.from_numpy(x_FW[:, :num_rows].T.copy())

    def _backward(self, gradient_BC: Tensor) -> None:
        """Fill in the gradient of all active numbers from that of the logits; columns that are no rows have none."""
        gradient_FW = np.zeros((gradient_BC.shape[1], self._width), np.float32)
        gradient_FW[:, : len(gradient_BC)] = gradient_BC.numpy().T
        for layer in reversed(self._layers):
            gradient_FW = layer.backward(gradient_FW)

    def _made(self, chain: Chain) -> list[ChainLayer]:
        """The layers of ``chain``, over slices of the vector and of its gradient; a ReLU joins the layer before it."""
        layers: list[ChainLayer] = []
        reads: Reads = "features"
        linear = list(chain.linear_layers())
        for (name, module), between in linear:
            kinds = [type(one) for one in between if not isinstance(one, nn.Dropout)]
            has_relu = kinds == [nn.ReLU] and module is not linear[-1][0][1]  # the next layer masks
            by_rows = self._layout.by_rows(f"{name}.weight")
            layers.append(SparseLinear(by_rows, self._numbers(name), self._width, reads=reads, has_relu=has_relu))
            layers += [_activation(one) for one in between if not (has_relu and isinstance(one, nn.ReLU))]
            reads = "relu" if has_relu else "other"
        return layers

    def _numbers(self, name: str) -> Numbers:
        """Those of the linear layer ``name``."""
        parts = [self._layout.slices.get(f"{name}.{part}", slice(0)) for part in ("weight", "bias")]
        return Numbers(*(tensor[part] for tensor in (self._flat_P, self._gradient_P) for part in parts))

    @property
    def _gradient_P(self) -> Tensor:
        assert self._flat_P.grad is not None
        return self._flat_P.grad


def _activation(module: nn.Module) -> ChainLayer:
    return Dropout(module.p) if isinstance(module, nn.Dropout) else Elementwise(module)
