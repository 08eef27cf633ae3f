"""Dynamic sparse training for a loop of your own: wrap model and optimizer, call ``step()`` after each step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from safecompress.errors import UsageError, suggest
from safecompress.seeding import derive
from safecompress.sparsity.allocate import ALLOCATIONS, Allocation, count_active
from safecompress.sparsity.drop import DROP_RULES, DropRule
from safecompress.sparsity.granularity import SHAPES, EachWeight, Granularity, check_granularity
from safecompress.sparsity.grow import GROW_RULES, GrowRule
from safecompress.sparsity.initialise import Start, rescale_
from safecompress.sparsity.layers import find_maskable, view_layers
from safecompress.sparsity.masker import Masker
from safecompress.sparsity.pattern import SparsityPattern
from safecompress.sparsity.rewire import rewire
from safecompress.sparsity.schedule import GENTLE, SCHEDULES, CosineSchedule, Schedule
from safecompress.sparsity.trained import are_trained
from safecompress.sparsity.watch import ZeroWatch, needs_masking_after

SignalSource = Callable[[], Mapping[str, Tensor]]
"""Returns a signal of all sparse parameters, by name, at the model's present weights."""

GIVEN_SIGNALS = frozenset({"gap_gradient"})
"""Signals that rules may read and a loop cannot compute: the caller gives them."""

MOMENTUM_DECAY = 0.9
"""How slowly the moving average of gradients forgets: its memory is about ten steps."""


class SparseTraining:
    """Trains ``model`` at ``density`` inside any loop: a hook masks gradients and moves weights every ``every`` steps.

        sparse = SparseTraining(model, optimizer, density=0.1, total_steps=10_000)
        for x, y in loader:
            optimizer.zero_grad(); loss(model(x), y).backward()
            optimizer.step()      # the hook masks the gradients, and rewires when it is time
            sparse.step()         # counts the step; with automatic=True this line falls away

    ``start="pretrained"`` keeps the largest weights of each layer as they are, ``"scratch"`` a random pattern of fresh
    weights, rescaled. By default trained weights are recognised (`are_trained`) and kept; `start` says what was done.
    Without a ``schedule`` a rewire moves half of the weights at first and fewer later, of kept ones a tenth at first.

    Rewiring happens inside ``optimizer.step()``, where the dense gradient is at hand, so gradient growth costs no
    second backward pass. The last rewire comes no later than ``stop`` (share of ``total_steps``; with 0 the first
    pattern stays). ``drop``, ``grow``, ``schedule``, ``allocation`` and ``shape`` take a name or an object; ``include``
    and ``exclude`` are globs over parameters. The shape "unit" needs the ``input_shape`` of one sample, and a grow rule
    that reads no gradient.

    With ``automatic`` a hook counts the optimizer's steps, for loops that are somebody else's. ``state`` is what
    `state_dict` gave: training resumes from it, with the weights that model and optimizer already have.
    Call `mask_gradients` before gradients are clipped, so that the norm is that of active weights.

    Raises UsageError where no weight would ever move, where the state is of another schedule, for an optimizer whose
    state mixes weights; and in a step: where steps are not counted, and where an inactive weight is not zero.

    ``signals`` give what only the caller can compute, by name: for the drop rule "leak" ``gap_gradient``, a function
    without arguments that is called at each rewire and returns a gradient for every sparse parameter by its name
    (`safecompress.training.gap_gradient` computes it from rows of members and of non-members).

    With a gradient scaler a skipped step skips the rewire, which is made up for at the next step.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        density: float,
        total_steps: int,
        every: int = 100,
        stop: float = 0.75,
        drop: DropRule | str = "magnitude",
        grow: GrowRule | str = "gradient",
        schedule: Schedule | str | None = None,
        allocation: Allocation | str = "erk",
        shape: Granularity | str = "weight",
        input_shape: tuple[int, ...] | None = None,
        start: Start | str | None = None,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        seed: int = 0,
        automatic: bool = False,
        state: Mapping[str, Any] | None = None,
        signals: Mapping[str, SignalSource] | None = None,
    ) -> None:
        _check_schedule(every, total_steps, stop)
        self._drop: DropRule = DROP_RULES.make(drop)
        self._grow: GrowRule = GROW_RULES.make(grow)
        self._every, self._total, self._stop, self._seed = every, total_steps, stop, seed
        weights = find_maskable(model, include=include, exclude=exclude)
        made, shares = SHAPES.make(shape), ALLOCATIONS.make(allocation)
        check_granularity(made, shares, [self._grow], [self._drop])
        self._fold = made.fit(model, input_shape, weights)
        self.start = _start_of(weights) if start is None else Start(start)
        usual = CosineSchedule() if self.start is Start.SCRATCH else GENTLE
        self._schedule: Schedule = usual if schedule is None else SCHEDULES.make(schedule)
        if state is None:
            pattern = self._fold.initial(weights, density, allocation=shares, start=self.start, seed=seed)
        else:
            pattern = _pattern_of(state)
            if made == EachWeight() and pattern.num_active != count_active(weights, density):
                raise UsageError(
                    f"The state that training should resume from has density {pattern.density:.4g}, and density="
                    f"{density:g} is asked for. Give the density that it began with, or start anew."
                )
        reads = self._drop.reads | self._grow.reads
        self._signals = _check_signals(signals or {}, reads)
        decay = MOMENTUM_DECAY if "momentum" in reads else None
        self._weights = weights
        self._masks_after = needs_masking_after(optimizer)
        self._watch = ZeroWatch(optimizer)
        self._masker = _RewiringMasker(model, optimizer, pattern, momentum_decay=decay, owner=self)
        if self.start is Start.SCRATCH and state is None:
            rescale_(model, pattern)
        self._fired = {name: mask.clone() for name, mask in pattern.masks.items()}
        self.num_steps = self.num_rewires = 0
        self._num_uncounted = 0
        self._is_automatic = automatic
        self._after = optimizer.register_step_post_hook(self._after_step)
        if state is not None:
            self.load_state_dict(state)

    @property
    def pattern(self) -> SparsityPattern:
        """The current pattern."""
        return self._masker.pattern

    @property
    def coverage(self) -> float:
        """Share of weights that were ever active (ITOP, Liu et al. 2021)."""
        return SparsityPattern(self._fired).density

    def step(self) -> None:
        """Count one optimizer step. Raises UsageError where a hook counts them."""
        if self._is_automatic:
            raise UsageError("automatic=True counts the optimizer's steps by itself: leave out sparse.step().")
        self.num_steps += 1
        self._num_uncounted = 0

    def _before_step(self) -> None:
        """What must hold when the optimizer begins a step."""
        if self._num_uncounted:
            raise UsageError(
                "optimizer.step() was called again without sparse.step(): steps that are not counted never move a "
                "weight. Call sparse.step() after every optimizer.step(), or give SparseTraining automatic=True."
            )
        self._watch.before_step()

    def _after_step(self, *_: Any) -> None:
        if self._masks_after:
            self.pattern.apply_(self._masker.model)
        self._watch.after_step()
        if self._is_automatic:
            self.num_steps += 1
        else:
            self._num_uncounted += 1

    def mask_gradients(self) -> None:
        """Mask the gradients now, before they are measured or clipped; a rewire that is due happens now, too."""
        self._masker.mask_gradients_()

    def mask_early(self) -> None:
        """Mask gradients as backward makes them, for loops that clip where nobody else can act.

        Not in a step that rewires, nor with a rule that reads momentum: those need dense gradients, and there the norm
        is of the dense gradient.
        """
        if not self._masker.momentum:
            self._masker.mask_early(unless=self.is_due)

    def detach(self) -> None:
        """Stop masking, rewiring and counting; the weights stay as they are."""
        self._masker.detach()
        self._after.remove()

    def is_due(self) -> bool:
        """Whether the optimizer step that comes next rewires."""
        due = min(self.num_steps, int(self._stop * self._total)) // self._every
        return due > self.num_rewires

    def _rewire(self, gradients: Mapping[str, Tensor]) -> None:
        unused = {name: torch.zeros_like(p) for name, p in self._weights.items() if name not in gradients}
        layers = view_layers(
            self._weights,
            self.pattern.masks,
            gradient={**gradients, **unused},
            momentum=self._masker.momentum or None,
            fired=self._fired,
            **{name: self._given(name) for name in self._signals},
        )
        fraction = self._schedule(self.num_steps / self._total)
        stream = partial(derive, self._seed, "rewire", self.num_rewires)
        folded = rewire(self._fold.fold(layers), self._drop, self._grow, fraction, stream=stream)
        rewiring = self._fold.unfold(folded, layers, stream=stream)
        pattern = rewiring.applied_to(self.pattern)
        self._masker.assign_(pattern)
        self._masker.fill_(rewiring.values)
        for name, mask in pattern.masks.items():
            self._fired[name] |= mask
        self.num_rewires = min(self.num_steps, int(self._stop * self._total)) // self._every

    def _given(self, name: str) -> dict[str, Tensor]:
        """The signal called ``name`` as its source has it now, checked."""
        tensors = self._signals[name]()
        shapes = {key: tuple(tensors[key].shape) if key in tensors else "missing" for key in self._weights}
        wrong = [key for key, weight in self._weights.items() if shapes[key] != tuple(weight.shape)]
        if wrong:
            raise UsageError(
                f"The signal {name!r} must have a tensor for every sparse parameter, in its shape; of {wrong[0]!r} it "
                f"is {shapes[wrong[0]]} and should be {tuple(self._weights[wrong[0]].shape)}."
            )
        return {key: tensors[key] for key in self._weights}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume after a restart, beside the optimizer's own state: tensors, integers and a text.

        Raises UsageError where an inactive weight of the model is not zero.
        """
        self._watch.check()
        return {
            "settings": json.dumps(self._settings()),
            "masks": dict(self.pattern.masks),
            "fired": dict(self._fired),
            "momentum": dict(self._masker.momentum),
            "num_steps": self.num_steps,
            "num_rewires": self.num_rewires,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from ``state``; load the model's and the optimizer's own states first.

        Raises UsageError where it was made by another schedule or other rules.
        """
        _check_settings(json.loads(state.get("settings", "{}")), self._settings())
        self._masker.assign_(_pattern_of(state))
        self._fired = {name: fired.bool().clone() for name, fired in state["fired"].items()}
        for name, momentum in state["momentum"].items():
            self._masker.momentum[name].copy_(momentum)
        self.num_steps, self.num_rewires = int(state["num_steps"]), int(state["num_rewires"])
        self._num_uncounted = 0

    def _settings(self) -> dict[str, Any]:
        """What a state must be resumed with, for its steps to mean the same."""
        rules = {"schedule": self._schedule, "drop": self._drop, "grow": self._grow}
        told = {name: repr(rule) if is_dataclass(rule) else type(rule).__qualname__ for name, rule in rules.items()}
        return {"every": self._every, "total_steps": self._total, "stop": self._stop, "seed": self._seed, **told}


def _start_of(weights: Mapping[str, nn.Parameter]) -> Start:
    """Where sparse training begins if the caller does not say: trained weights are kept."""
    return Start.PRETRAINED if are_trained(weights) else Start.SCRATCH


def _check_schedule(every: int, total_steps: int, stop: float) -> None:
    """Raise UsageError for a schedule that moves no weight, unless that is asked for (stop=0)."""
    if every < 1 or total_steps < 1:
        raise UsageError(f"every and total_steps must be at least 1, got {every} and {total_steps}.")
    if not 0 <= stop <= 1:
        raise UsageError(
            f"stop must lie in [0, 1], got {stop}: the share of training after which the pattern is final."
        )
    last = int(stop * total_steps)
    if stop and last < every:
        remedy = f"Give every={max(1, last // 10)} (ten rewires), or" if last else "Train for more steps, or give"
        raise UsageError(
            f"No weight would ever move: weights move every {every} steps, and no later than step {last} "
            f"(stop={stop:g} of total_steps={total_steps}). {remedy} stop=0 to keep the first pattern."
        )


def _check_settings(began: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise UsageError where training ``began`` with other settings than those ``asked`` for now."""
    differing = [
        f"{name} was {began[name]} and is {asked[name]}"
        for name in asked
        if began.get(name, asked[name]) != asked[name]
    ]
    if differing:
        raise UsageError(
            f"The state was made by another schedule: {'; '.join(differing)}. Resume with the settings that it began "
            "with; or begin anew from the weights as they are: make SparseTraining without this state and with "
            'start="pretrained".'
        )


def _check_signals(signals: Mapping[str, SignalSource], reads: frozenset[str]) -> dict[str, SignalSource]:
    """The ``signals`` that rules read. Raises UsageError for an unknown one, and for one that is read and missing."""
    unknown = sorted(signals.keys() - GIVEN_SIGNALS)
    if unknown:
        raise UsageError(f"Unknown signal {unknown[0]!r}. {suggest(unknown[0], sorted(GIVEN_SIGNALS))}")
    missing = sorted((reads & GIVEN_SIGNALS) - signals.keys())
    if missing:
        raise UsageError(
            f"A rule reads {missing[0]}, which a training loop cannot compute by itself: it takes rows that the model "
            f"trained on and rows that it did not. Give a function that returns it, by parameter name: "
            f"signals={{{missing[0]!r}: function}}. safecompress.training.gap_gradient computes it from such rows; "
            "`compress` does all of that by itself."
        )
    return {name: source for name, source in signals.items() if name in reads}


def _pattern_of(state: Mapping[str, Any]) -> SparsityPattern:
    return SparsityPattern({name: mask.bool() for name, mask in state["masks"].items()})


class _RewiringMasker(Masker):
    """A Masker that lets its owner rewire first, while the gradients are still dense."""

    def __init__(self, *args: Any, owner: SparseTraining, **kwargs: Any) -> None:
        self._owner = owner
        super().__init__(*args, **kwargs)

    @property
    def model(self) -> nn.Module:
        """The model that is masked."""
        return self._model

    def assign_(self, pattern: SparsityPattern) -> None:
        """Switch to ``pattern``, and watch its inactive weights."""
        super().assign_(pattern)
        self._owner._watch.follow(self._parameters, pattern.masks)

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Check, then mask."""
        self._owner._before_step()
        return super()._before_step(optimizer, args, kwargs)

    def _read_dense(self, gradients: dict[str, Tensor]) -> None:
        """Feed the average, and rewire when due; masking follows, with the pattern that holds from this step on."""
        super()._read_dense(gradients)
        if self._owner.is_due() and all(
            bool(g.isfinite().all()) for g in gradients.values()
        ):  # else it will be skipped
            self._owner._rewire(gradients)
