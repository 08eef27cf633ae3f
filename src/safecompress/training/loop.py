"""Train from one state to a later one. The randomness of step t depends on the seed and t alone, so any split of the
steps into segments, in any process, ends in the same bits."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from safecompress.errors import TrainingError, UsageError
from safecompress.progress import Progress, Silent
from safecompress.seeding import seeded
from safecompress.sparsity import Masker, SparsityPattern
from safecompress.sparsity.training import MOMENTUM_DECAY
from safecompress.training.amp import Amp
from safecompress.training.average import WeightAverage
from safecompress.training.gradients import Descent
from safecompress.training.ranks import current_ranks
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.task import Course
from safecompress.training.trace import LossTrace

_CHECK_EVERY = 32


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
    save; ``trace`` keeps the rows' losses, and changes nothing. Within `sharing_batches` all ranks train together.

    Raises TrainingError when the loss or a weight is not a finite number; no checkpoint is made of such a state. Raises
    UsageError when ``until`` lies before the state's step, or the trace is one of another course.
    """
    if until < state.step:
        raise UsageError(f"Training goes forward: the state is at step {state.step}, until={until} lies before it.")
    per_epoch = course.recipe.steps_per_epoch(len(course.labels))
    if trace is not None:
        trace.check_fits(len(course.labels), max(course.recipe.epochs, math.ceil(until / per_epoch)))
    recipe, watcher = course.recipe, progress or Silent()
    optimizer = recipe.make_optimizer(model.parameters())
    state.resume_(model, optimizer)
    masker = None
    if pattern is not None:
        decay = MOMENTUM_DECAY if keep_momentum else None
        masker = Masker(model, optimizer, pattern, momentum_decay=decay, momentum=state.momentum)
    average = WeightAverage(model, state.model, recipe.average, pattern) if recipe.average else None
    device = next(model.parameters()).device
    amp = Amp(recipe.amp, device, state.scaler)
    opponent = recipe.objective.opponent(model, course)
    if opponent is not None:
        opponent.restore(state.opponent)
    descent = Descent(model, course, amp, opponent=opponent, trace=trace)
    parameters = list(model.parameters())
    model.train()

    def captured(step: int) -> TrainingState:
        return TrainingState.capture(
            step,
            model,
            optimizer,
            momentum=None if masker is None else masker.momentum,
            opponent=None if opponent is None else opponent.capture(),
            average=None if average is None else average.averaged(),
            scaler=amp.capture(),
        )

    loss_sum, summed_from = torch.zeros((), device=device), state.step
    saved_at = time.monotonic()
    with contextlib.ExitStack() as ends, seeded(course.seed, "steps"):
        for hooked in (masker, opponent):
            if hooked is not None:
                ends.callback(hooked.detach)  # also when training diverges
        for step in range(state.step, until):
            if opponent is not None:
                opponent.advance(step)
            loss_sum += descent(step)
            set_learning_rate(optimizer, recipe.learning_rate_at(step, course.total_steps))
            take_step(optimizer, parameters, amp, masker, recipe.clip_norm)
            if average is not None:
                average.update(step)
            watcher.advance()
            is_last = step + 1 == until
            if is_last or (step + 1) % _CHECK_EVERY == 0:
                check_finite(loss_sum, step, recipe)
                watcher.measured(step + 1, {"loss": loss_sum.item() / (step + 1 - summed_from)})
                loss_sum, summed_from = torch.zeros_like(loss_sum), step + 1
                is_saving = checkpoint is not None and time.monotonic() - saved_at > checkpoint_every_s
                if is_last or is_saving:
                    check_finite(_probe(parameters), step, recipe)
                if checkpoint and is_saving and not is_last:
                    checkpoint(captured(step + 1))
                    saved_at = time.monotonic()
    trained = captured(until)
    masks = {} if pattern is None else {f"mask/{name}": mask for name, mask in pattern.masks.items()}
    current_ranks().check_alike(f"After step {until}", {**trained.to_tensors(), **masks})
    return trained


def take_step(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], amp: Amp, masker: Masker | None, clip_norm: float
) -> None:
    """One step of the optimizer with the gradients that lie at ``parameters``.

    A ``clip_norm`` above 0 is the longest that the gradient may be, all parameters taken together and without dormant
    weights: they are masked first, or they would shorten the step of the others.
    """
    if clip_norm and amp.unscale_(optimizer, parameters):
        if masker is not None:
            masker.mask_gradients_()
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    amp.step(optimizer)


def dense_gradient(
    model: nn.Module, state: TrainingState, course: Course, names: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The gradient of the loss of the next batch for the parameters ``names``, dormant weights included.

    It is what training would see: augmented, in parts, in mixed precision and joined over ranks as the recipe says;
    of the weights that training moves, not of their average.
    """
    state.resume_(model)
    amp = Amp(course.recipe.amp, next(model.parameters()).device, state.scaler)
    parameters = dict(model.named_parameters())
    model.train()
    descent = Descent(model, course, amp)
    with seeded(course.seed, "steps"):
        loss = descent(state.step)
        check_finite(loss, state.step, course.recipe)
        while not amp.unscale_gradients_(list(parameters.values())):  # fp16 overflowed
            amp.lower()
            descent(state.step)
    gradients = {name: parameters[name].grad for name in names}
    return {
        name: torch.zeros(parameters[name].shape) if gradient is None else gradient.cpu()
        for name, gradient in gradients.items()
    }


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


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
