"""Train from one state to a later one. The randomness of step t depends on the seed and t alone, so any split of the
steps into segments, in any process, ends in the same bits."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import TrainingError, UsageError
from safecompress.progress import Progress, Silent
from safecompress.seeding import derive, reseed, seeded
from safecompress.sparsity import Masker, SparsityPattern
from safecompress.sparsity.training import MOMENTUM_DECAY
from safecompress.training.augment import augmented, check_images
from safecompress.training.layout import laid_out
from safecompress.training.objective import Batch, Objective
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.trace import LossTrace

_CHECK_EVERY = 32


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What training runs on: the rows, the recipe and the seed that orders them. Features (N, ...), labels (N,).

    ``teacher`` are a teacher's logits (N, C) of the rows, ``reference`` other rows and their labels, for objectives
    that need them. Raises UsageError, with the remedy, when the recipe's objective needs what is not there, or rows
    that are no images are to be augmented.
    """

    features: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    recipe: Recipe
    seed: int
    teacher: Tensor | None = field(default=None, repr=False)
    reference: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        objective = self.recipe.objective
        if "teacher" in objective.needs and self.teacher is None:
            raise UsageError(
                f"The objective {objective!r} learns from a teacher, and none is given. Give the course the logits of "
                "a trained model on its rows (teacher=...); a compression takes its dense model."
            )
        if "reference" in objective.needs and (self.reference is None or not len(self.reference[1])):
            raise UsageError(
                f"The objective {objective!r} needs reference rows: data of the same kind that belongs to nobody's "
                "training set. Give the split a population (population = ...), or the course reference=(x, y)."
            )
        if self.teacher is not None and len(self.teacher) != len(self.labels):
            raise UsageError(
                f"The teacher's logits are of {len(self.teacher)} rows, the course has {len(self.labels)}."
            )
        check_images(self.features, self.recipe.augmentations)

    def towards(self, objective: Objective) -> Course:
        """The same course with another objective."""
        if objective == self.recipe.objective:
            return self
        return replace(self, recipe=replace(self.recipe, objective=objective))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole course."""
        return self.recipe.total_steps(len(self.labels))

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Row indices of each batch of an epoch; their order is drawn from the seed and the epoch's number."""
        order = derive(self.seed, "order", epoch).permutation(len(self.labels))
        return np.array_split(order, self.recipe.steps_per_epoch(len(self.labels)))


def train(
    model: nn.Module,
    state: TrainingState,
    course: Course,
    *,
    until: int,
    pattern: SparsityPattern | None = None,
    keep_momentum: bool = False,
    progress: Progress | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
    checkpoint_every_s: float = 20.0,
    trace: LossTrace | None = None,
) -> TrainingState:
    """The state at step ``until``. ``model`` is a scratch pad: its contents are overwritten and left undefined.

    With a ``pattern`` dormant weights stay zero; with ``keep_momentum`` the dense gradients' moving average is kept.
    ``progress`` is told every step, and the mean loss over some. ``checkpoint`` is called now and then with a state to
    save; ``trace`` keeps the rows' losses, and changes nothing.
    Raises TrainingError when the loss or a weight is not a finite number; no checkpoint is made of such a state. Raises
    UsageError when ``until`` lies before the state's step, or the trace is one of another course.
    """
    if until < state.step:
        raise UsageError(f"Training goes forward: the state is at step {state.step}, until={until} lies before it.")
    per_epoch = course.recipe.steps_per_epoch(len(course.labels))
    if trace is not None:
        trace.check_fits(len(course.labels), max(course.recipe.epochs, math.ceil(until / per_epoch)))
    watcher = progress or Silent()
    optimizer = course.recipe.make_optimizer(model.parameters())
    state.restore_(model, optimizer)
    masker = None
    if pattern is not None:
        decay = MOMENTUM_DECAY if keep_momentum else None
        masker = Masker(model, optimizer, pattern, momentum_decay=decay, momentum=state.momentum)
    device = next(model.parameters()).device
    loader = Loader(course, device)
    objective = course.recipe.objective
    opponent = objective.opponent(model, course)
    if opponent is not None:
        opponent.restore(state.opponent)
    model.train()

    def captured(step: int) -> TrainingState:
        momentum = None if masker is None else masker.momentum
        other = None if opponent is None else opponent.capture()
        return TrainingState.capture(step, model, optimizer, momentum, other)

    loss_sum, summed_from = torch.zeros((), device=device), state.step
    saved_at = time.monotonic()
    with contextlib.ExitStack() as ends, seeded(course.seed, "steps"):
        for hooked in (masker, opponent):
            if hooked is not None:
                ends.callback(hooked.detach)  # also when training diverges
        for step in range(state.step, until):
            if opponent is not None:
                opponent.advance(step)
            reseed(course.seed, "step", step, device=device)
            batch = objective.mix(loader.at(step))
            set_learning_rate(optimizer, course.recipe.learning_rate_at(step, course.total_steps))
            optimizer.zero_grad(set_to_none=True)
            logits = model(batch.features)
            loss = objective(logits, batch)
            if opponent is not None:
                loss = loss + opponent.penalty(logits, batch)
            if trace is not None:
                trace.record(batch.epoch, loader.rows(step), logits, batch.labels_B)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.detach()
            watcher.advance()
            is_last = step + 1 == until
            if is_last or (step + 1) % _CHECK_EVERY == 0:
                check_finite(loss_sum, step, course.recipe)
                watcher.measured(step + 1, {"loss": loss_sum.item() / (step + 1 - summed_from)})
                loss_sum, summed_from = torch.zeros_like(loss_sum), step + 1
                is_saving = checkpoint is not None and time.monotonic() - saved_at > checkpoint_every_s
                if is_last or is_saving:
                    check_finite(_probe(model), step, course.recipe)
                if checkpoint and is_saving and not is_last:
                    checkpoint(captured(step + 1))
                    saved_at = time.monotonic()
    return captured(until)


def dense_gradient(
    model: nn.Module, state: TrainingState, course: Course, names: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The gradient of the loss of the next batch for the parameters ``names``, dormant weights included."""
    state.restore_(model)
    device = next(model.parameters()).device
    objective = course.recipe.objective
    parameters = dict(model.named_parameters())
    model.train()
    model.zero_grad(set_to_none=True)
    with seeded(course.seed, "step", state.step):
        batch = objective.mix(Loader(course, device).at(state.step))
        loss = objective(model(batch.features), batch)
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    check_finite(loss.detach(), state.step, course.recipe)
    return {name: gradient.cpu() for name, gradient in zip(names, gradients, strict=True)}


class Loader:
    """The course's batches by step, augmented, on ``device``; the current epoch's order is drawn once."""

    def __init__(self, course: Course, device: torch.device) -> None:
        self._course = course
        self._features, self._labels = laid_out(course.features.to(device)), course.labels.to(device)
        self._teacher = None if course.teacher is None else course.teacher.to(device)
        self._per_epoch = course.recipe.steps_per_epoch(len(course.labels))
        self._epoch = -1
        self._current: list[np.ndarray] = []

    def rows(self, step: int) -> Tensor:
        """The row indices of the batch at ``step``."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._current = epoch, self._course.epoch_batches(epoch)
        return torch.from_numpy(self._current[position])

    def at(self, step: int) -> Batch:
        """The batch at ``step``."""
        rows, course = self.rows(step), self._course
        teacher = None if self._teacher is None else self._teacher[rows]
        features = self._features[rows]
        if course.recipe.augment:
            features = laid_out(augmented(features, course.recipe.augmentations, course.seed, step))
        return Batch(features, self._labels[rows], step // self._per_epoch, step / course.total_steps, teacher)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _probe(model: nn.Module) -> Tensor:
    """Zero when all weights are finite, NaN otherwise."""
    return torch.stack([(parameter.detach() * 0).sum() for parameter in model.parameters()]).sum()


def check_finite(loss: Tensor, step: int, recipe: Recipe) -> None:
    """Raise TrainingError, with advice, when ``loss`` is not a finite number."""
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The loss or a weight became {loss.item()} within the {_CHECK_EVERY} steps up to step {step + 1}. "
            "Training diverged; whatever was kept before is intact. "
            f"Lower the learning rate (it is {recipe.learning_rate:g}), or check the features' scale (normalise them)."
        )
