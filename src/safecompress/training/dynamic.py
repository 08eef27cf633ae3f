"""Dynamic sparse training of one model: a pattern that moves as it trains, by one drop and one grow rule.

There are no candidates and no attacks here. The search of a run with one branch and no choice ends in the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor, nn

from safecompress.errors import UsageError
from safecompress.seeding import derive
from safecompress.sparsity import (
    AllocateErk,
    Allocation,
    CosineSchedule,
    DropMagnitude,
    DropRule,
    EachWeight,
    Granularity,
    Grouping,
    GrowGradient,
    GrowRule,
    Schedule,
    SparsityPattern,
    Start,
    find_maskable,
    rescale_,
    rewire,
    view_layers,
)
from safecompress.training.loop import Watch, dense_gradient, train
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask

Signals = Callable[[nn.Module, TrainingState], Mapping[str, Mapping[str, Tensor]]]
"""Further arrays of a layer's view, by their name there and the parameter's: what a rule reads beside the loss."""


@dataclass(frozen=True)
class DynamicSparsity:
    """Which weights of one model are active while it trains.

    The pattern moves ``rounds`` times within the first ``stop`` of the training, each time the last ``recovery`` of a
    round before its end, as in the search. ``include`` and ``exclude`` are globs over the parameters that may be
    sparse.
    """

    density: float = 0.1
    drop: DropRule = DropMagnitude()
    grow: GrowRule = GrowGradient()
    rounds: int = 10
    schedule: Schedule = CosineSchedule()
    stop: float = 0.75
    recovery: float = 0.25
    allocation: Allocation = AllocateErk()
    shape: Granularity = EachWeight()
    start: Start = Start.SCRATCH
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise UsageError(f"density must lie in (0, 1], got {self.density}. It is the share of weights kept.")

    @property
    def reads(self) -> frozenset[str]:
        """The arrays of a layer's view that its rules need."""
        return self.drop.reads | self.grow.reads

    def grouping(self, model: nn.Module, input_shape: tuple[int, ...]) -> Grouping:
        """The granularity applied to ``model``, which reads samples of ``input_shape``."""
        weights = find_maskable(model, include=self.include, exclude=self.exclude)
        return self.shape.fit(model, input_shape, weights)

    def first_pattern(self, model: nn.Module, input_shape: tuple[int, ...], seed: int) -> SparsityPattern:
        """The first pattern, applied to ``model``, whose active weights are rescaled unless they were trained."""
        weights = find_maskable(model, include=self.include, exclude=self.exclude)
        pattern = self.grouping(model, input_shape).initial(
            weights, self.density, allocation=self.allocation, start=self.start, seed=seed
        )
        if self.start is Start.SCRATCH:
            rescale_(model, pattern)
        pattern.apply_(model)
        return pattern

    def rounds_of(self, total_steps: int) -> Iterator[tuple[int, int]]:
        """For each round the step at which the pattern moves, and the one at which the round ends."""
        for number in range(self.rounds):
            yield round_steps(number, self.rounds, total_steps, stop=self.stop, recovery=self.recovery)


@dataclass(frozen=True, eq=False)
class SparseState:
    """A model in sparse training: its pattern, all that training needs to go on, and how often the pattern moved.

    ``ever_active`` marks the weights that were active at any time.
    """

    pattern: SparsityPattern = field(repr=False)
    state: TrainingState = field(repr=False)
    ever_active: Mapping[str, Tensor] = field(repr=False)
    num_rewires: int = 0


def begin_sparse(model: nn.Module, task: TrainingTask, sparsity: DynamicSparsity) -> SparseState:
    """The state before the first step, of the weights that ``model`` has; they are changed in place."""
    pattern = sparsity.first_pattern(model, tuple(task.features.shape[1:]), task.seed)
    return SparseState(pattern, TrainingState.capture(0, model), dict(pattern.masks))


def train_sparse(
    model: nn.Module,
    task: TrainingTask,
    sparsity: DynamicSparsity,
    begin: SparseState | None = None,
    *,
    signals: Signals | None = None,
    keep: Callable[[SparseState], None] = lambda state: None,
    watch: Watch | None = None,
) -> SparseState:
    """The model trained to the end of ``task`` while its pattern moves; ``model`` is a scratch pad.

    It goes on from ``begin`` (default: `begin_sparse` of the weights that ``model`` has). ``signals`` collects what
    rules read beside gradients. ``keep`` is called with the state after every move of the pattern, from which a killed
    training goes on and ends in the same bits. Raises TrainingError as `train` does.
    """
    now = begin or begin_sparse(model, task, sparsity)
    grouping = sparsity.grouping(model, tuple(task.features.shape[1:]))
    go_on = partial(train, model, task=task, watch=watch)
    keep_momentum = "momentum" in sparsity.reads
    end = 0
    for number, (step, end) in enumerate(sparsity.rounds_of(task.total_steps)):  # noqa: B007 the last end is used
        if number < now.num_rewires:
            continue
        state = go_on(now.state, until=step, pattern=now.pattern, keep_momentum=keep_momentum)
        now = _rewired(model, task, sparsity, replace(now, state=state), grouping, signals)
        keep(now)
    if keep_momentum and now.state.step < end:  # to the end of the last round, as the search has it
        now = replace(now, state=go_on(now.state, until=end, pattern=now.pattern, keep_momentum=True))
    return replace(now, state=go_on(now.state, until=task.total_steps, pattern=now.pattern))


def _rewired(
    model: nn.Module,
    task: TrainingTask,
    sparsity: DynamicSparsity,
    now: SparseState,
    grouping: Grouping,
    signals: Signals | None,
) -> SparseState:
    """The state after the pattern has moved once."""
    state, masks = now.state, now.pattern.masks
    gradient = dense_gradient(model, state, task, masks) if "gradient" in sparsity.reads else None
    more = {} if signals is None else signals(model, state)
    layers = view_layers(
        state.model, masks, gradient=gradient, momentum=state.momentum or None, fired=now.ever_active, **more
    )
    stream = partial(derive, task.seed, "rewire", now.num_rewires)
    fraction = sparsity.schedule(state.step / task.total_steps)
    folded = rewire(grouping.fold(layers), sparsity.drop, sparsity.grow, fraction, stream=stream)
    rewiring = grouping.unfold(folded, layers, stream=stream)
    pattern = rewiring.applied_to(now.pattern)
    ever = {name: now.ever_active[name] | mask for name, mask in pattern.masks.items()}
    return SparseState(pattern, state.filled(rewiring.values), ever, now.num_rewires + 1)


def round_steps(number: int, rounds: int, total_steps: int, *, stop: float, recovery: float) -> tuple[int, int]:
    """The step at which round ``number`` of ``rounds`` rewires, and the one at which it ends."""
    search = int(stop * total_steps)
    begin, end = number * search // rounds, (number + 1) * search // rounds
    return end - round(recovery * (end - begin)), end
