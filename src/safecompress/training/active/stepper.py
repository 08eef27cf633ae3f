"""Takes training steps with the active weights alone: forward and backward pass by compiled loops over them.

The objective sees logits (B, C) as ever, and PyTorch gives the gradient of its loss; the optimizer is the recipe's own,
over one vector of all active numbers.
"""

# B rows of a batch, C classes, F features, W columns (B filled up to whole vectors), P active numbers.

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from safecompress.seeding import reseed
from safecompress.sparsity import SparsityPattern
from safecompress.training.active.chain import Chain
from safecompress.training.active.flat import FlatLayout
from safecompress.training.active.layers import Dropout, Elementwise, Layer, Relu, SparseLinear
from safecompress.training.state import TrainingState
from safecompress.training.steps import set_learning_rate, take_step
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
        self._flat_P = self._layout.gather(state.moving or state.model).requires_grad_()
        self._flat_P.grad = torch.zeros_like(self._flat_P)
        self._optimizer = self.recipe.make_optimizer([self._flat_P])
        if state.optimizer:
            self._optimizer.state[self._flat_P] = self._layout.gather_optimizer(state.optimizer)
        self._loader = Loader(task, _CPU)
        largest = math.ceil(len(task.labels) / self.recipe.steps_per_epoch(len(task.labels)))
        self._width = math.ceil(largest / _VECTOR) * _VECTOR
        self._layers = self._made(chain, pattern)
        num_features = task.features[0].numel()
        self._x_FW = torch.zeros(num_features, self._width)
        self.parameters = [self._flat_P]

    @torch.no_grad()
    def __call__(self, step: int) -> Tensor:
        """Take the step; its loss."""
        reseed(self._task.seed, "step", step, device=_CPU)
        batch, rows = self.recipe.objective.mix(self._loader.at(step)), self._loader.rows(step)
        set_learning_rate(self._optimizer, self.recipe.learning_rate_at(step, self._task.total_steps))
        logits_BC = self._forward(batch.features).requires_grad_()
        with torch.enable_grad():
            loss = self.recipe.objective(logits_BC, batch)
            (gradient_BC,) = torch.autograd.grad(loss, logits_BC)
        if self._trace is not None:
            self._trace.record(batch.epoch, rows, logits_BC, batch.labels_B)
        self._backward(gradient_BC)
        take_step(self._optimizer, self.parameters, None, None, self.recipe.clip_norm)
        return loss.detach()

    def captured(self, step: int) -> TrainingState:
        """The state before ``step``, in dense tensors."""
        weights = self._layout.scatter(self._flat_P.detach())
        state = {name: t for name, t in self._optimizer.state.get(self._flat_P, {}).items() if torch.is_tensor(t)}
        return TrainingState(step, weights, self._layout.scatter_optimizer(state))

    def detach(self) -> None:
        """Nothing hangs on the model."""

    def _forward(self, features: Tensor) -> Tensor:
        """The logits (B, C) of a batch."""
        num_rows = len(features)
        self._x_FW[:, :num_rows] = features.reshape(num_rows, -1).T
        x_FW = self._x_FW
        for layer in self._layers:
            x_FW = layer.forward(x_FW, num_rows)
        self._num_classes = len(x_FW)
        return x_FW[:, :num_rows].T.contiguous()

    def _backward(self, gradient_BC: Tensor) -> None:
        """Fill in the gradient of all active numbers from that of the logits; columns that are no rows have none."""
        gradient_FW = torch.zeros(self._num_classes, self._width)
        gradient_FW[:, : len(gradient_BC)] = gradient_BC.T
        for layer in reversed(self._layers):
            gradient_FW = layer.backward(gradient_FW)
            if not len(gradient_FW):
                break

    def _made(self, chain: Chain, pattern: SparsityPattern) -> list[Layer]:
        """The layers of ``chain``, over slices of the vector and of its gradient."""
        layers: list[Layer] = []
        is_first = True
        for name, module in chain.layers:
            if isinstance(module, nn.Linear):
                layers.append(self._linear(name, module, pattern, is_first=is_first))
                is_first = False
            elif isinstance(module, nn.Dropout):
                layers.append(Dropout(module.p))
            else:
                layers.append(Relu() if isinstance(module, nn.ReLU) else Elementwise(module))
        return layers

    def _linear(self, name: str, module: nn.Linear, pattern: SparsityPattern, *, is_first: bool) -> SparseLinear:
        mask = pattern.masks.get(f"{name}.weight")
        is_active = torch.ones(module.weight.shape, dtype=torch.bool) if mask is None else mask.bool().cpu()
        parts = [self._layout.slices.get(f"{name}.{part}", slice(0)) for part in ("weight", "bias")]
        numbers, gradients = (
            (tensor[parts[0]], tensor[parts[1]]) for tensor in (self._flat_P.detach(), self._gradient_P)
        )
        return SparseLinear(is_active, self._width, numbers, gradients, has_input_gradient=not is_first)

    @property
    def _gradient_P(self) -> Tensor:
        assert self._flat_P.grad is not None
        return self._flat_P.grad
