"""Train several models of one shape at once: their weights are stacked, and one step moves all of them.

For small nets the time of a step is mostly the calls that make it, so eight models cost little more than one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from safecompress.errors import UsageError
from safecompress.seeding import reseed, seeded
from safecompress.sparsity import SparsityPattern
from safecompress.training.loop import check_finite
from safecompress.training.state import TrainingState
from safecompress.training.steps import set_learning_rate
from safecompress.training.task import Loader, TrainingTask

STACKABLE = (
    nn.Linear, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.ELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Flatten,
    nn.Identity, nn.Sequential,
)  # fmt: skip
"""Layers that draw no random numbers, keep no statistics, and gain from stacking (convolutions do not, on a CPU)."""


def is_stackable(model: nn.Module, input_shape: Sequence[int] | None = None) -> bool:
    """Whether `train_many` takes this model: a stack of linear layers and activations, whatever class holds them.

    All of its state are weights that train, each under one name. With the ``input_shape`` of a row its forward pass is
    tried, too: a user's own class may draw at random or decide by values, and then models cannot share it.
    """
    leaves = [module for module in model.modules() if next(module.children(), None) is None]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    is_plain = (
        bool(trained)
        and trained == list(model.state_dict())
        and next(model.buffers(), None) is None
        and all(isinstance(leaf, STACKABLE) for leaf in leaves)
    )
    return is_plain and (input_shape is None or _shares_forward(model, input_shape))


def train_many(
    model: nn.Module,
    states: Sequence[TrainingState],
    tasks: Sequence[TrainingTask],
    *,
    until: int | None = None,
    pattern: SparsityPattern | None = None,
) -> list[TrainingState]:
    """Each of ``states`` trained to step ``until`` (the end of its task) as `train` would, to rounding.

    States are at step 0, and optimizer states are dropped. Tasks share recipe and number of rows; with a ``pattern``
    inactive weights stay zero. ``model`` is a scratch pad. Raises UsageError for a model that is not stackable or
    states and tasks that do not go together, and TrainingError as `train` does.
    """
    _check_together(model, states, tasks)
    stack = _Stack(model, states, tasks, pattern)
    until = tasks[0].total_steps if until is None else until
    loss_sum = torch.zeros((), device=next(model.parameters()).device)
    with seeded(tasks[0].seed, "steps"):
        for step in range(until):
            loss_sum += stack.step(step)
    check_finite(loss_sum + sum((t.detach() * 0).sum() for t in stack.weights.values()), until - 1, tasks[0].recipe)
    return [
        TrainingState(until, {name: t[k].detach().to("cpu", copy=True) for name, t in stack.weights.items()})
        for k in range(len(states))
    ]


def _check_together(model: nn.Module, states: Sequence[TrainingState], tasks: Sequence[TrainingTask]) -> None:
    """Raise UsageError unless these can be trained at once."""
    are_equal = len({(task.recipe, tuple(task.features.shape)) for task in tasks}) == 1
    have_begun = any(state.step for state in states)
    is_alone = not tasks[0].recipe.is_stackable
    if have_begun or is_alone or not are_equal or not is_stackable(model, tasks[0].features.shape[1:]):
        raise UsageError(
            "Models train together from step 0 on, when they are plain stacks of layers, on tasks of one recipe and "
            "as many rows, with an objective that has no opponent, and without clip_norm, micro_batches, amp, average "
            "or compiled in the recipe. Train these one after another."
        )


class _Stack:
    """The weights of K models as one tensor each, (K, ...), and what moves them."""

    def __init__(
        self,
        model: nn.Module,
        states: Sequence[TrainingState],
        tasks: Sequence[TrainingTask],
        pattern: SparsityPattern | None,
    ) -> None:
        self._model, self._tasks = model.train(), tasks
        self._device = next(model.parameters()).device
        self.weights = {
            name: torch.stack([state.model[name] for state in states]).to(self._device).requires_grad_()
            for name, _ in model.named_parameters()
        }
        self._masks = _masks(self.weights, pattern)
        with torch.no_grad():
            for name, mask in self._masks.items():
                self.weights[name].masked_fill_(mask == 0, 0.0)
        self._optimizer = tasks[0].recipe.make_optimizer(self.weights.values())
        self._loaders = [Loader(task, self._device) for task in tasks]

    def step(self, step: int) -> Tensor:
        """Take one step of every model; the sum of their losses."""
        recipe = self._tasks[0].recipe
        batches = []
        for task, loader in zip(self._tasks, self._loaders, strict=True):
            reseed(task.seed, "step", step, device=self._device)
            batches.append(recipe.objective.mix(loader.at(step)))
        x_KBF = torch.stack([batch.features for batch in batches])
        set_learning_rate(self._optimizer, recipe.learning_rate_at(step, self._tasks[0].total_steps))
        self._optimizer.zero_grad(set_to_none=True)
        logits_KBC = vmap(self._logits)(self.weights, x_KBF)
        losses = [recipe.objective(logits_KBC[k], batch) for k, batch in enumerate(batches)]
        loss = torch.stack(losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, mask in self._masks.items():
                gradient = self.weights[name].grad
                if gradient is not None:
                    gradient.mul_(mask)
        self._optimizer.step()
        return loss.detach()

    def _logits(self, weights: Mapping[str, Tensor], x_BF: Tensor) -> Tensor:
        scores: Tensor = functional_call(self._model, dict(weights), (x_BF,))
        return scores


def _shares_forward(model: nn.Module, input_shape: Sequence[int]) -> bool:
    scratch = copy.deepcopy(model).train()
    weights = {name: parameter.detach().unsqueeze(0) for name, parameter in scratch.named_parameters()}
    rows = next(iter(weights.values())).new_zeros(1, 2, *input_shape)
    try:
        vmap(lambda weights, rows: functional_call(scratch, weights, (rows,)))(weights, rows)
    except (RuntimeError, ValueError):  # what vmap refuses
        return False
    return True


def _masks(stacked: Mapping[str, Tensor], pattern: SparsityPattern | None) -> dict[str, Tensor]:
    if pattern is None:
        return {}
    return {name: mask.to(stacked[name]).unsqueeze(0) for name, mask in pattern.masks.items()}
