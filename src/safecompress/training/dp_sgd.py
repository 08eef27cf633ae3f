"""DP-SGD: training whose noise bounds what any row can change, and what its epsilon does and does not cover."""

# N rows of a task, B of them drawn for a step; I inputs and O outputs of a linear layer.

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from safecompress.errors import ModelError, UsageError, suggest
from safecompress.progress import Progress, Silent
from safecompress.seeding import derive, derive_seed, reseed, seeded
from safecompress.sparsity import Masker, SparsityPattern
from safecompress.training.augment import augmented
from safecompress.training.loop import check_finite
from safecompress.training.objectives.base import CrossEntropy
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.steps import set_learning_rate
from safecompress.training.task import TrainingTask

AccountantName = Literal["prv", "rdp"]

ROW_GRADIENT_FLOATS = 2**22
"""How many numbers of single rows' gradients, or of their activations, exist at once (16 MB): a step goes in portions
of rows, which bounds memory."""

MOST_PRV_EPSILON = 20.0
"""Beyond it rdp stands in for prv, whose tables grow with epsilon until they take minutes and gigabytes."""

_CHECK_EVERY = 32

_NOT_PRIVATE = ("clip_norm", "micro_batches", "amp", "average", "compiled")
"""Fields of a recipe that private training refuses."""


@dataclass(frozen=True, slots=True)
class DpSgd:
    """How private a training shall be: an ``epsilon`` to be met, or a ``noise_multiplier``; exactly one of the two.

    Each row's gradient is clipped to the length ``max_grad_norm``; the noise on their sum has the deviation
    ``noise_multiplier * max_grad_norm`` in every coordinate. ``delta`` None stands for 1 / (10 N). ``accountant`` adds
    the steps up: prv (Gopi et al. 2021, tight; beyond an epsilon of 20, which bounds little, rdp stands in for it) or
    rdp (Mironov 2017, looser). Two data sets are neighbours when one has a row that the other lacks. Raises UsageError
    for values out of range.
    """

    epsilon: float | None = 8.0
    noise_multiplier: float | None = None
    max_grad_norm: float = 1.0
    delta: float | None = None
    accountant: AccountantName = "prv"

    def __post_init__(self) -> None:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise UsageError(
                "DP-SGD takes either an epsilon, from which the noise follows, or a noise_multiplier, from which "
                f"epsilon follows; got epsilon={self.epsilon!r} and noise_multiplier={self.noise_multiplier!r}. Set "
                "one of them to None."
            )
        values = [self.epsilon, self.noise_multiplier, self.max_grad_norm, self.delta]
        are_positive = all(value is None or 0 < value < math.inf for value in values)
        if not (are_positive and (self.delta is None or self.delta < 1)):
            raise UsageError(
                "DP-SGD needs epsilon, noise_multiplier and max_grad_norm to be finite and above 0, and delta to lie "
                f"in (0, 1); got {self}."
            )
        if self.accountant not in get_args(AccountantName):
            raise UsageError(
                f"DP-SGD: accountant {self.accountant!r} is unknown. "
                f"{suggest(self.accountant, get_args(AccountantName))}"
            )


@dataclass(frozen=True, slots=True)
class PrivacySpent:
    """What an accountant says of ``steps`` noisy steps at ``sample_rate``: (``epsilon``, ``delta``).

    ``is_guarantee`` says whether that holds for the trained weights as a whole, ``why`` on what grounds, or what is
    not covered. Print epsilon as a guarantee only where it is one.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    steps: int
    sample_rate: float
    is_guarantee: bool
    why: str


def train_privately(
    model: nn.Module,
    state: TrainingState,
    task: TrainingTask,
    privacy: DpSgd,
    *,
    data_independent: bool,
    pattern: SparsityPattern | None = None,
    progress: Progress | None = None,
) -> tuple[TrainingState, PrivacySpent]:
    """The state at the end of the task, and what that spent. ``model`` is a scratch pad, as in `train`.

    DP-SGD (Abadi et al. 2016, algorithm 1) with Opacus. Every step draws each row with probability batch size / N
    (Poisson sampling, so that batches differ in size and may be empty), clips each row's gradient, adds noise to the
    sum and divides by the expected batch size; optimizer and learning rate are the recipe's. With a ``pattern`` each
    row's gradient is masked before it is clipped and their noisy sum again, so that inactive weights stay zero and take
    no share of the clipping length.

    ``data_independent`` is the caller's word that nothing before or beside the noisy steps has seen the rows: neither
    initial weights nor pattern (as from a dense model trained on them, gradient growth, or selection by attacks on
    members) nor the features' scaling. Only then, and from step 0 of the task, is epsilon a guarantee. A test row is
    no part of this: what is later chosen among several trained models by looking at the rows is not covered either.

    Sampling and noise come from the task's seed, so that research can be repeated. Who knows the seed can take the
    noise off: for a release use a fresh, secret seed that is kept nowhere, and mind that PyTorch's generator is not a
    cryptographic one (Opacus's secure mode is for that).

    Differs from the paper: Poisson sampling at every step, as its analysis assumes; masks.

    Raises UsageError without Opacus, for an objective other than cross entropy, a state at the end of the task or
    an epsilon that cannot be met; ModelError, before any training, for layers that mix rows (batch norm) or work in
    place; TrainingError as `train` does.
    """
    _refuse_task(state, task)
    model.train()
    with _opacus_at_work():
        _refuse_layers(model)
        sample_rate, delta = _sample_rate(task), _delta(privacy, task)
        steps = task.total_steps - state.step
        noise, epsilon = _plan(privacy, delta, sample_rate, steps)
        drawn = _Noise(privacy.max_grad_norm, noise, sample_rate)
        trained = _train(model, state, task, drawn, pattern, progress or Silent())
    is_guarantee = data_independent and state.step == 0
    why = _why(data_independent, state.step)
    return trained, PrivacySpent(epsilon, delta, noise, steps, sample_rate, is_guarantee, why)


def share_out(privacy: DpSgd, task: TrainingTask, times: int) -> tuple[DpSgd, float]:
    """What each of ``times`` trainings on such a task may spend, and the epsilon that all of them spend together.

    One accountant adds up the steps of all, which allows less noise than a share of epsilon for each. Each must be
    given a seed of its own. Raises UsageError without Opacus, or when no noise meets the epsilon.
    """
    with _opacus_at_work():
        delta = _delta(privacy, task)
        noise, epsilon = _plan(privacy, delta, _sample_rate(task), times * task.total_steps)
    return replace(privacy, epsilon=None, noise_multiplier=noise, delta=delta), epsilon


def _sample_rate(task: TrainingTask) -> float:
    return min(1.0, task.recipe.batch_size / len(task.labels))


def _delta(privacy: DpSgd, task: TrainingTask) -> float:
    return 1 / (10 * len(task.labels)) if privacy.delta is None else privacy.delta


@dataclass(frozen=True)
class _Noise:
    """How much is added to the sum of a step's clipped gradients, and how likely each row is in it."""

    max_grad_norm: float
    multiplier: float
    sample_rate: float


def _train(
    model: nn.Module,
    state: TrainingState,
    task: TrainingTask,
    noise: _Noise,
    pattern: SparsityPattern | None,
    watcher: Progress,
) -> TrainingState:
    """The state at the end of the task."""
    optimizer = task.recipe.make_optimizer(model.parameters())
    state.resume_(model, optimizer)
    masker = None if pattern is None else Masker(model, optimizer, pattern)  # masks the noisy sum, before the update
    stepper = _NoisySteps(model, optimizer, task, noise, pattern)
    loss_sum = torch.zeros((), device=next(model.parameters()).device)
    try:
        with seeded(task.seed, "steps"):
            for step in range(state.step, task.total_steps):
                loss_sum += stepper.step(step)
                watcher.advance()
                if (step + 1) % _CHECK_EVERY == 0 or step + 1 == task.total_steps:
                    check_finite(loss_sum + sum((p.detach() * 0).sum() for p in stepper.trained), step, task.recipe)
    finally:
        stepper.clear()
    if masker is not None:
        masker.detach()
    return TrainingState.capture(task.total_steps, model, optimizer)


class _NoisySteps:
    """The model under Opacus's hooks and the optimizer that clips and adds noise; a step draws its own rows."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        task: TrainingTask,
        noise: _Noise,
        pattern: SparsityPattern | None,
    ) -> None:
        from opacus.optimizers import DPOptimizerFastGradientClipping

        self._task, self._sample_rate, self._optimizer = task, noise.sample_rate, optimizer
        self._device = next(model.parameters()).device
        self._features, self._labels = task.features.to(self._device), task.labels.to(self._device)
        pairs = [] if pattern is None else pattern.pairs(model)
        masks: dict[Tensor, Tensor] = {weight: mask.to(self._device) for weight, mask in pairs}
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._portion = max(1, ROW_GRADIENT_FLOATS // _floats_per_row(model))
        self._generator = torch.Generator(self._device)
        self._clipped = _clipped_by_row(model, masks, noise.max_grad_norm)
        self._noisy = DPOptimizerFastGradientClipping(
            optimizer,
            noise_multiplier=noise.multiplier,
            max_grad_norm=noise.max_grad_norm,
            expected_batch_size=noise.sample_rate * len(self._labels),
            generator=self._generator,
        )

    def step(self, step: int) -> Tensor:
        """Draw rows, clip, add noise, and take the step; the sum of the rows' losses."""
        task = self._task
        reseed(task.seed, "step", step, device=self._device)
        self._generator.manual_seed(derive_seed(task.seed, "noise", step))
        is_drawn_N = derive(task.seed, "sample", step).random(len(self._labels)) < self._sample_rate
        rows = torch.from_numpy(np.flatnonzero(is_drawn_N)).to(self._device)
        set_learning_rate(self._optimizer, task.recipe.learning_rate_at(step, task.total_steps))
        loss_sum = torch.zeros((), device=self._device)
        portions = torch.split(rows, self._portion)
        for place, part in enumerate(portions, start=1):
            self._noisy.zero_grad(set_to_none=True)
            self._noisy.signal_skip_step(place < len(portions))  # so far sum only
            if len(part):
                own_lots = derive_seed(task.seed, "portion", place)  # each row's variant is its own
                x = augmented(self._features[part], task.recipe.augmentations, own_lots, step)
                losses_B = cross_entropy(_logits(self._clipped, x), self._labels[part], reduction="none")
                backward_clipped_(self._clipped, losses_B)
                loss_sum += losses_B.detach().sum()
            for parameter in self.trained:
                if parameter.grad is None:  # nobody was drawn: nothing but noise
                    parameter.grad = torch.zeros_like(parameter)
            self._noisy.step()
        return loss_sum

    def clear(self) -> None:
        """Leave nothing of a row on the model: what Opacus keeps has no noise on it."""
        self._clipped.to_standard_module()
        for parameter in self.trained:
            for kept in ("summed_grad", "_norm_sample"):
                if hasattr(parameter, kept):
                    delattr(parameter, kept)


def _clipped_by_row(model: nn.Module, masks: Mapping[Tensor, Tensor], max_grad_norm: float) -> Any:
    """``model`` under Opacus's hooks, which measure the length of each row's masked gradient in a backward pass.

    A linear layer's lengths come from its inputs and the gradients of its outputs (ghost clipping, Li et al. 2022), so
    that no row's gradient is ever made; other layers make it, one layer at a time. Masks apply to either.
    """
    from opacus.grad_sample.functorch import ft_compute_per_sample_gradient
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

    clipped = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=max_grad_norm)
    samplers = clipped.GRAD_SAMPLERS

    def row_gradients(layer: nn.Module, activations: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
        by_parameter = samplers.get(type(layer), ft_compute_per_sample_gradient)(layer, activations, backprops)
        return {p: gradients * masks[p] if p in masks else gradients for p, gradients in by_parameter.items()}

    def row_lengths(layer: nn.Linear, activations: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
        if backprops.dim() != 2:
            by_parameter = row_gradients(layer, activations, backprops)
            return {p: gradients.flatten(start_dim=1).norm(dim=1) for p, gradients in by_parameter.items()}
        return linear_row_lengths(layer, activations[0], backprops, masks.get(layer.weight))

    # of the instance: Opacus's own tables, which are the class's, stay as they are
    clipped.GRAD_SAMPLERS = {type(module): row_gradients for module in model.modules()}
    clipped.NORM_SAMPLERS = {nn.Linear: row_lengths}
    return clipped


def linear_row_lengths(
    layer: nn.Linear, inputs_BI: Tensor, gradients_BO: Tensor, mask_OI: Tensor | None
) -> dict[Tensor, Tensor]:
    """The lengths (B,) of each row's gradient of a linear layer's parameters, without making those gradients.

    A row's gradient of the weight is g a^T, with g of its outputs and a its inputs; the square of its masked length is
    the sum over i, j of M_ij g_i^2 a_j^2.
    """
    squares_BI, squares_BO = inputs_BI.square(), gradients_BO.square()
    lengths: dict[Tensor, Tensor] = {}
    if layer.weight.requires_grad and mask_OI is None:
        lengths[layer.weight] = (squares_BO.sum(dim=1) * squares_BI.sum(dim=1)).sqrt()
    elif layer.weight.requires_grad and mask_OI is not None:
        lengths[layer.weight] = ((squares_BO @ mask_OI.to(squares_BO.dtype)) * squares_BI).sum(dim=1).sqrt()
    if layer.bias is not None and layer.bias.requires_grad:
        lengths[layer.bias] = squares_BO.sum(dim=1).sqrt()
    return lengths


def _logits(clipped: Any, features: Tensor) -> Tensor:
    """Raises ModelError for a linear layer that is used twice: two lengths do not tell that of their sum."""
    try:
        logits_BC: Tensor = clipped(features)
    except NotImplementedError as error:
        raise ModelError(
            f"Private training does not take this model: {error}. A linear layer may be used once in a pass; give "
            "each use a layer of its own."
        ) from error
    return logits_BC


def backward_clipped_(clipped: Any, losses_B: Tensor) -> None:
    """Set every parameter's gradient to the sum over rows of their clipped gradients, by two backward passes.

    The first tells each row's length, the second weights each row's loss by what clips it (Lee & Kifer 2021)."""
    losses_B.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    shares_B = clipped.get_clipping_coef()
    clipped.zero_grad(set_to_none=True)
    clipped.disable_hooks()
    try:
        (shares_B * losses_B).sum().backward()
    finally:
        clipped.enable_hooks()


def _floats_per_row(model: nn.Module) -> int:
    """How many numbers one row takes at once: the largest gradient that is made row by row, or a layer's widest end."""
    linear = [size for m in model.modules() if type(m) is nn.Linear for size in (m.in_features, m.out_features)]
    others = [p.numel() for m in model.modules() if type(m) is not nn.Linear for p in m.parameters(recurse=False)]
    return max([1, *linear, *others])


def _plan(privacy: DpSgd, delta: float, sample_rate: float, steps: int) -> tuple[float, float]:
    """The noise multiplier and the epsilon that the steps spend with it. Raises UsageError when no noise will do."""
    if privacy.epsilon is not None:
        name: AccountantName = privacy.accountant if privacy.epsilon <= MOST_PRV_EPSILON else "rdp"
        noise = _least_noise(name, privacy.epsilon, delta, sample_rate, steps)
        return noise, accounted(name, noise, delta, sample_rate, steps)
    noise = float(privacy.noise_multiplier or 0.0)
    by_rdp = accounted("rdp", noise, delta, sample_rate, steps)
    if privacy.accountant == "rdp" or by_rdp > MOST_PRV_EPSILON:
        return noise, by_rdp
    return noise, accounted("prv", noise, delta, sample_rate, steps)


def _least_noise(accounting: AccountantName, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise multiplier, to 0.01 of epsilon, that meets ``epsilon``. Raises UsageError when none does."""
    from opacus.accountants.utils import get_noise_multiplier

    try:
        noise = get_noise_multiplier(
            target_epsilon=epsilon, target_delta=delta, sample_rate=sample_rate, steps=steps, accountant=accounting
        )
    except ValueError as error:
        raise UsageError(
            f"No noise meets epsilon {epsilon:g} at delta {delta:g} in {steps} steps of sampling rate "
            f"{sample_rate:g}, says the accountant {accounting} ({error}). Allow a larger epsilon, train for fewer "
            "epochs, or use more rows."
        ) from error
    return float(noise)


def accounted(
    accounting: AccountantName, noise_multiplier: float, delta: float, sample_rate: float, steps: int
) -> float:
    """The epsilon at ``delta`` of so many steps of the Poisson-sampled Gaussian mechanism, by Opacus's accountant."""
    from opacus.accountants import create_accountant

    accountant = create_accountant(mechanism=accounting)
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    return float(accountant.get_epsilon(delta=delta))


def _refuse_task(state: TrainingState, task: TrainingTask) -> None:
    """Raise UsageError for a task that cannot be trained privately."""
    if type(task.recipe.objective) is not CrossEntropy:
        raise UsageError(
            "Private training bounds each row's own gradient, which the objective "
            f"{task.recipe.objective!r} may not have. Train with the objective cross_entropy, or without DP-SGD."
        )
    recipe, plain = task.recipe, Recipe()
    refused = [name for name in _NOT_PRIVATE if getattr(recipe, name) != getattr(plain, name)]
    if refused:
        raise UsageError(
            f"Private training does not take {', '.join(refused)} from a recipe: it clips each row's gradient itself "
            "(max_grad_norm), goes through a step in portions of rows, and computes in float32. Leave it out."
        )
    if state.step >= task.total_steps:
        raise UsageError(
            f"The state is at step {state.step} of {task.total_steps}: nothing is left to train privately. Begin "
            "with a fresh state (step 0), or give the recipe more epochs."
        )


def _refuse_layers(model: nn.Module) -> None:
    """Raise ModelError for layers in which a row's gradient depends on other rows, or is out of Opacus's reach."""
    from opacus.grad_sample import GradSampleModule
    from opacus.validators import ModuleValidator

    mixing = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    # an instance norm mixes no rows, but may keep statistics of them
    mixing = [name for name in mixing if _keeps_of_others(model.get_submodule(name))]
    if mixing:
        raise ModelError(
            f"Private training cannot use layers that mix rows or keep statistics of them: {', '.join(mixing)}. Put "
            "nn.GroupNorm (or nn.LayerNorm) in place of batch norm; the built-in cnn takes batch_norm=False."
        )
    in_place = [name for name, module in model.named_modules() if getattr(module, "inplace", False)]
    if in_place:
        raise ModelError(
            f"Private training reads the layers' outputs, and these work in place: {', '.join(in_place)}. Make them "
            "with inplace=False."
        )
    faults = [*ModuleValidator.validate(model, strict=False), *GradSampleModule.validate(model, strict=False)]
    if faults:
        raise ModelError(
            "Private training does not take this model: " + "; ".join(str(fault) for fault in faults) + " Replace "
            "these layers by ones without statistics and of Opacus's kind (nn.GroupNorm, opacus.layers)."
        )


def _keeps_of_others(module: nn.Module) -> bool:
    is_instance_norm = isinstance(module, nn.modules.instancenorm._InstanceNorm)
    return not is_instance_norm or bool(module.track_running_stats)


def _why(data_independent: bool, first_step: int) -> str:
    gaps = [] if data_independent else ["initial weights, mask or scaling may depend on the rows"]
    if first_step:
        gaps.append(f"the task's first {first_step} steps were taken before, without this noise")
    if gaps:
        return f"training steps only, not a guarantee: {', and '.join(gaps)}"
    return (
        "initial weights, mask and scaling do not depend on the rows (the caller's word), and every step is noisy; it "
        "holds while the seed is secret, and not for a choice among several such models by looking at the rows"
    )


@contextmanager
def _opacus_at_work() -> Iterator[None]:
    """Import Opacus, and quiet what it and PyTorch's backward hooks warn of. Raises UsageError where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import opacus  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Private training needs Opacus, which is not installed. Install it with: pip install opacus"
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha")
        warnings.filterwarnings("ignore", message="(overflow|divide by zero) encountered", category=RuntimeWarning)
        yield
