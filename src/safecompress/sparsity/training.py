"""Dynamic sparse training for a loop of your own: wrap model and optimizer, call ``step()`` after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from safecompress.sparsity.schedule import SCHEDULES, Schedule

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

    Rewiring happens inside ``optimizer.step()``, where the dense gradient is at hand, so gradient growth costs no
    second backward pass. The last rewire comes no later than ``stop`` (share of ``total_steps``). ``drop``, ``grow``,
    ``schedule``, ``allocation`` and ``shape`` take a name or an object; ``include`` and ``exclude`` are globs over
    parameters. The shape "unit" needs the ``input_shape`` of one sample, and a grow rule that reads no gradient.

    With ``automatic`` a hook counts the optimizer's steps, for loops that are somebody else's. ``state`` is what
    `state_dict` gave: training goes on from it, with the weights that model and optimizer already have.
    Call `mask_gradients` before gradients are clipped, so that the norm is that of active weights.

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
        schedule: Schedule | str = "cosine",
        allocation: Allocation | str = "erk",
        shape: Granularity | str = "weight",
        input_shape: tuple[int, ...] | None = None,
        start: Start | str = Start.SCRATCH,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        seed: int = 0,
        automatic: bool = False,
        state: Mapping[str, Any] | None = None,
        signals: Mapping[str, SignalSource] | None = None,
    ) -> None:
        if every < 1 or total_steps < 1:
            raise UsageError(f"every and total_steps must be at least 1, got {every} and {total_steps}.")
        self._drop: DropRule = DROP_RULES.make(drop)
        self._grow: GrowRule = GROW_RULES.make(grow)
        self._schedule: Schedule = SCHEDULES.make(schedule)
        self._every, self._total, self._stop, self._seed = every, total_steps, stop, seed
        weights = find_maskable(model, include=include, exclude=exclude)
        made, shares = SHAPES.make(shape), ALLOCATIONS.make(allocation)
        check_granularity(made, shares, [self._grow], [self._drop])
        self._fold = made.fit(model, input_shape, weights)
        if state is None:
            pattern = self._fold.initial(weights, density, allocation=shares, start=Start(start), seed=seed)
        else:
            pattern = _pattern_of(state)
            if made == EachWeight() and pattern.num_active != count_active(weights, density):
                raise UsageError(
                    f"The state that training should go on from has density {pattern.density:.4g}, and density="
                    f"{density:g} is asked for. Give the density that it began with, or start anew."
                )
        reads = self._drop.reads | self._grow.reads
        self._signals = _check_signals(signals or {}, reads)
        decay = MOMENTUM_DECAY if "momentum" in reads else None
        self._weights = weights
        self._masker = _RewiringMasker(model, optimizer, pattern, momentum_decay=decay, owner=self)
        if start == Start.SCRATCH and state is None:
            rescale_(model, pattern)
        self._fired = {name: mask.clone() for name, mask in pattern.masks.items()}
        self.num_steps = 0
        self.num_rewires = 0
        self._counter = optimizer.register_step_post_hook(self._count) if automatic else None
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
        if self._counter is not None:
            raise UsageError("automatic=True counts the optimizer's steps by itself: leave out sparse.step().")
        self.num_steps += 1

    def _count(self, *_: Any) -> None:
        self.num_steps += 1

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
        if self._counter is not None:
            self._counter.remove()

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
        """Everything needed to resume after a restart: plain tensors and integers, beside the optimizer's own state."""
        return {
            "masks": dict(self.pattern.masks),
            "fired": dict(self._fired),
            "momentum": dict(self._masker.momentum),
            "num_steps": self.num_steps,
            "num_rewires": self.num_rewires,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from ``state``; load the model's and the optimizer's own states first."""
        self._masker.assign_(_pattern_of(state))
        self._fired = {name: fired.bool().clone() for name, fired in state["fired"].items()}
        for name, momentum in state["momentum"].items():
            self._masker.momentum[name].copy_(momentum)
        self.num_steps, self.num_rewires = int(state["num_steps"]), int(state["num_rewires"])


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
        super().__init__(*args, **kwargs)
        self._owner = owner

    def _read_dense(self, gradients: dict[str, Tensor]) -> None:
        """Feed the average, and rewire when due; masking follows, with the pattern that holds from this step on."""
        super()._read_dense(gradients)
        if self._owner.is_due() and all(
            bool(g.isfinite().all()) for g in gradients.values()
        ):  # else it will be skipped
            self._owner._rewire(gradients)
