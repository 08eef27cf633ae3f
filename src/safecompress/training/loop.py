"""Train from one state to a later one. The randomness of step t depends on the seed and t alone, so any split of the
steps into segments, in any process, ends in the same bits."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from safecompress.errors import TrainingError, UsageError
from safecompress.progress import Progress, Silent
from safecompress.seeding import seeded
from safecompress.sparsity import Masker, SparsityPattern
from safecompress.sparsity.training import MOMENTUM_DECAY
from safecompress.training.amp import Amp
from safecompress.training.average import WeightAverage
from safecompress.training.engines import chain_to_train
from safecompress.training.gradients import GradientComputer
from safecompress.training.ranks import current_ranks
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.steps import set_learning_rate, take_step
from safecompress.training.task import TrainingTask
from safecompress.training.trace import LossTrace

_CHECK_EVERY = 32


@dataclass(frozen=True, eq=False)
class Watch:
    """What observes a training; it changes no weight.

    ``progress`` receives every step, and the mean loss over some. ``checkpoint`` is called with a state to save every
    ``checkpoint_every_s`` seconds. ``trace`` keeps the rows' losses.
    """

    progress: Progress = field(default_factory=Silent)
    checkpoint: Callable[[TrainingState], None] | None = None
    checkpoint_every_s: float = 20.0
    trace: LossTrace | None = None


def train(
    model: nn.Module,
    state: TrainingState,
    task: TrainingTask,
    *,
    until: int,
    pattern: SparsityPattern | None = None,
    keep_momentum: bool = False,
    watch: Watch | None = None,
) -> TrainingState:
    """The state at step ``until``. ``model`` is a scratch pad: its contents are overwritten and left undefined.

    With a ``pattern`` inactive weights stay zero; with ``keep_momentum`` the dense gradients' moving average is kept.
    Within `sharing_batches` all ranks train together.

    Raises TrainingError when the loss or a weight is not a finite number; no checkpoint is made of such a state. Raises
    UsageError when ``until`` lies before the state's step, or the trace is one of another task.
    """
    if until < state.step:
        raise UsageError(f"Training goes forward: the state is at step {state.step}, until={until} lies before it.")
    watch = watch or Watch()
    if watch.trace is not None:
        per_epoch = task.recipe.steps_per_epoch(len(task.labels))
        watch.trace.check_fits(len(task.labels), max(task.recipe.epochs, math.ceil(until / per_epoch)))
    stepper = _stepper(model, state, task, pattern, keep_momentum, watch.trace)
    losses = _Losses(stepper, watch, state.step)
    with contextlib.ExitStack() as ends, seeded(task.seed, "steps"):
        ends.callback(stepper.detach)  # also when training diverges
        for step in range(state.step, until):
            losses.add(stepper(step))
            watch.progress.advance()
            if step + 1 == until or (step + 1) % _CHECK_EVERY == 0:
                losses.check(step, is_last=step + 1 == until)
    trained = stepper.captured(until)
    masks = {} if pattern is None else {f"mask/{name}": mask for name, mask in pattern.masks.items()}
    current_ranks().check_alike(f"After step {until}", {**trained.to_tensors(), **masks})
    return trained


def _stepper(
    model: nn.Module,
    state: TrainingState,
    task: TrainingTask,
    pattern: SparsityPattern | None,
    keep_momentum: bool,
    trace: LossTrace | None,
) -> Stepper:
    """What takes the steps: the active engine where it is served."""
    chain = chain_to_train(model, state, task, pattern, has_momentum=keep_momentum)
    if pattern is None or isinstance(chain, str):
        return MaskedStepper(model, state, task, pattern, keep_momentum, trace)
    from safecompress.training.active.stepper import ActiveStepper  # which loads Numba

    return ActiveStepper(model, chain, state, task, pattern, trace)


class MaskedStepper:
    """The model and all that moves with it: optimizer, masks, averaged weights, mixed precision, the adversary."""

    def __init__(
        self,
        model: nn.Module,
        state: TrainingState,
        task: TrainingTask,
        pattern: SparsityPattern | None,
        keep_momentum: bool,
        trace: LossTrace | None,
    ) -> None:
        self.recipe, self.model, self._total_steps = task.recipe, model, task.total_steps
        self._optimizer = self.recipe.make_optimizer(model.parameters())
        state.resume_(model, self._optimizer)
        self._masker = None
        if pattern is not None:
            decay = MOMENTUM_DECAY if keep_momentum else None
            self._masker = Masker(model, self._optimizer, pattern, momentum_decay=decay, momentum=state.momentum)
        self._average = WeightAverage(model, state.model, self.recipe.average, pattern) if self.recipe.average else None
        self._amp = Amp(self.recipe.amp, next(model.parameters()).device, state.scaler)
        self._adversary = self.recipe.objective.opponent(model, task)
        if self._adversary is not None:
            self._adversary.restore(state.opponent)
        self._gradients = GradientComputer(model, task, self._amp, adversary=self._adversary, trace=trace)
        self.parameters: list[Tensor] = list(model.parameters())
        model.train()

    def __call__(self, step: int) -> Tensor:
        """Take the step; its loss."""
        if self._adversary is not None:
            self._adversary.advance(step)
        loss = self._gradients(step)
        set_learning_rate(self._optimizer, self.recipe.learning_rate_at(step, self._total_steps))
        take_step(self._optimizer, self.parameters, self._amp, self._masker, self.recipe.clip_norm)
        if self._average is not None:
            self._average.update(step)
        return loss

    def captured(self, step: int) -> TrainingState:
        """The state before ``step``."""
        return TrainingState.capture(
            step,
            self.model,
            self._optimizer,
            momentum=None if self._masker is None else self._masker.momentum,
            opponent=None if self._adversary is None else self._adversary.capture(),
            average=None if self._average is None else self._average.averaged(),
            scaler=self._amp.capture(),
        )

    def detach(self) -> None:
        """Remove the hooks from the model."""
        for hooked in (self._adversary, self._masker):
            if hooked is not None:
                hooked.detach()


class Stepper(Protocol):
    """Takes the steps of a training with the numbers in ``parameters``, by ``recipe``."""

    recipe: Recipe
    parameters: list[Tensor]

    def __call__(self, step: int) -> Tensor:
        """Take the step; its loss."""
        ...

    def captured(self, step: int) -> TrainingState:
        """The state before ``step``."""
        ...

    def detach(self) -> None:
        """Remove what hangs on the model."""
        ...


class _Losses:
    """Adds up losses, and from time to time checks them, reports progress, and saves a checkpoint."""

    def __init__(self, stepper: Stepper, watch: Watch, first: int) -> None:
        self._stepper, self._watch, self._summed_from = stepper, watch, first
        self._sum = torch.zeros((), device=stepper.parameters[0].device)
        self._saved_at = time.monotonic()

    def add(self, loss: Tensor) -> None:
        self._sum += loss

    def check(self, step: int, *, is_last: bool) -> None:
        """Look at all steps since the last check, up to ``step``. Raises TrainingError for what is not finite."""
        recipe, checkpoint = self._stepper.recipe, self._watch.checkpoint
        check_finite(self._sum, step, recipe)
        mean = self._sum.item() / (step + 1 - self._summed_from)
        self._watch.progress.measured(step + 1, {"loss": mean})
        self._sum, self._summed_from = torch.zeros_like(self._sum), step + 1
        is_due = checkpoint is not None and time.monotonic() - self._saved_at > self._watch.checkpoint_every_s
        if is_last or is_due:
            check_finite(_probe(self._stepper.parameters), step, recipe)
        if checkpoint is not None and is_due and not is_last:
            checkpoint(self._stepper.captured(step + 1))
            self._saved_at = time.monotonic()


def dense_gradient(
    model: nn.Module, state: TrainingState, task: TrainingTask, tracked: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The gradient of the loss of the next batch for the parameters ``tracked``, inactive weights included.

    It is what training would see: augmented, in parts, in mixed precision and joined over ranks as the recipe says;
    of the weights that training moves, not of their average.
    """
    state.resume_(model)
    amp = Amp(task.recipe.amp, next(model.parameters()).device, state.scaler)
    parameters = dict(model.named_parameters())
    model.train()
    compute = GradientComputer(model, task, amp)
    with seeded(task.seed, "steps"):
        loss = compute(state.step)
        check_finite(loss, state.step, task.recipe)
        while not amp.unscale_gradients_(list(parameters.values())):  # fp16 overflowed
            amp.lower()
            compute(state.step)
    gradients = {name: parameters[name].grad for name in tracked}
    return {
        name: torch.zeros(parameters[name].shape) if gradient is None else gradient.cpu()
        for name, gradient in gradients.items()
    }


def _probe(parameters: Sequence[Tensor]) -> Tensor:
    """Zero when all weights are finite, NaN otherwise."""
    return torch.stack([(parameter.detach() * 0).sum() for parameter in parameters]).sum()


def check_finite(loss: Tensor, step: int, recipe: Recipe) -> None:
    """Raise TrainingError, with advice, when ``loss`` is not a finite number."""
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The loss or a weight became {loss.item()} within the {_CHECK_EVERY} steps up to step {step + 1}. "
            "Training diverged; whatever was kept before is intact. "
            f"Lower the learning rate (it is {recipe.learning_rate:g}), or check the features' scale (normalise them)."
        )
