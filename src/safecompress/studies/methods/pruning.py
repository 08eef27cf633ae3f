"""Pruning: weights of a trained dense model are cut by magnitude, at once, little by little, or again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from safecompress.errors import UsageError
from safecompress.sparsity import ALLOCATIONS, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.training import TrainingState, TrainingTask, train


def cut(
    inputs: MethodInputs, weights: Mapping[str, Tensor], density: float, allocation: str = "erk"
) -> SparsityPattern:
    """The pattern of the largest |weights| of each layer; ``allocation`` names how many a layer keeps."""
    maskable = find_maskable(inputs.network(dict(weights)))
    return initial_pattern(
        maskable, density, allocation=ALLOCATIONS.make(allocation), start=Start.DENSE, seed=inputs.seed
    )


def pruned(
    inputs: MethodInputs, weights: Mapping[str, Tensor], task: TrainingTask, allocation: str = "erk"
) -> MethodResult:
    """``weights`` cut to the density asked for, and fine-tuned on the whole ``task``."""
    pattern = cut(inputs, weights, inputs.density, allocation)
    tuned = inputs.cache.train(inputs.network(dict(weights)), task, pattern=pattern)
    return MethodResult(inputs.model, tuned, pattern)


def falling(density: float, count: int) -> list[float]:
    """Densities that fall to ``density`` in ``count`` cuts, each of which keeps the same share."""
    return [density ** (number / count) for number in range(1, count + 1)]


def require_counts(owner: object, names: Sequence[str]) -> None:
    """Raise UsageError unless the options ``names`` of ``owner`` are whole numbers of at least 1."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{type(owner).__name__}: {name} must be a whole number of at least 1, got {value!r}.")


@dataclass(frozen=True)
class OneShot(Method):
    """The dense model cut by magnitude at once, then fine-tuned for one whole training.

    ``allocation`` says how many weights each layer keeps: "erk" as the other methods do, or "global-magnitude" for the
    largest of the whole model.
    """

    allocation: str = "erk"

    source: ClassVar[str] = (
        "Han et al. 2015, NeurIPS. Differs: one cut instead of several, counts by ERK instead of a threshold for each "
        "layer. Unconfirmed: the length of its fine-tuning."
    )

    def __post_init__(self) -> None:
        ALLOCATIONS.make(self.allocation)

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The pruned model."""
        return pruned(inputs, inputs.dense(), inputs.training_task(), self.allocation)


@dataclass(frozen=True)
class Gradual(Method):
    """A second training from the dense weights on, in which more and more weights are cut, by a cubic schedule.

    After each of ``cuts`` equal stretches of the first ``stop`` of that training the smallest weights go (see
    `density_at`); the rest of it fine-tunes. It is as long as the first training, and begins with a fresh optimizer.
    """

    cuts: int = 20
    stop: float = 0.75
    allocation: str = "erk"

    source: ClassVar[str] = (
        "Zhu & Gupta 2018 (the cubic schedule). Differs: starts from trained weights, counts by ERK. Unconfirmed: how "
        "often it cuts, and when it stops."
    )

    def __post_init__(self) -> None:
        ALLOCATIONS.make(self.allocation)
        require_counts(self, ["cuts"])
        if not 0 < self.stop <= 1:
            raise UsageError(f"Gradual: stop must lie in (0, 1], the share of training that cuts; got {self.stop!r}.")

    def density_at(self, progress: float, density: float) -> float:
        """The density at ``progress`` in [0, 1] of the cutting: d + (1 - d) (1 - progress)^3, from 1 down to d."""
        return density + (1 - density) * (1 - progress) ** 3

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The pruned model."""
        dense, task = inputs.dense(), inputs.training_task()
        scratch = inputs.network(dense)
        state, pattern = TrainingState(0, dense), None
        for number in range(1, self.cuts + 1):
            step = round(self.stop * task.total_steps * number / self.cuts)
            state = train(scratch, state, task, until=step, pattern=pattern)
            pattern = cut(inputs, state.model, self.density_at(number / self.cuts, inputs.density), self.allocation)
        state = train(scratch, state, task, until=task.total_steps, pattern=pattern)
        return MethodResult(inputs.model, state.model, pattern)


@dataclass(frozen=True)
class MiaPruning(Method):
    """Pruning as the defence: cut, put the weights back to where they were early on, train again; ``cuts`` times.

    ``rewind`` is the share of the dense training to which weights go back: 0 is their first values. Every cut keeps
    the same share of what was left, and is followed by one whole training: by its definition it takes ``cuts`` of them.
    """

    cuts: int = 3
    rewind: float = 0.0
    allocation: str = "erk"

    source: ClassVar[str] = (
        "Wang et al. 2021, IJCAI, with the rewinding of Frankle & Carbin 2019. Unconfirmed, for no text of it was at "
        "hand: how it prunes, whether and to where it rewinds, how many cuts it makes, and counts by ERK are ours."
    )

    def __post_init__(self) -> None:
        ALLOCATIONS.make(self.allocation)
        require_counts(self, ["cuts"])
        if not 0 <= self.rewind < 1:
            raise UsageError(f"MiaPruning: rewind must lie in [0, 1), a share of training; got {self.rewind!r}.")

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The pruned model."""
        task, cache = inputs.training_task(), inputs.cache
        early = inputs.fresh().state_dict()
        if until := round(self.rewind * task.total_steps):
            early = cache.train(inputs.fresh(), task, until=until)
        weights, pattern = inputs.dense(), None
        for density in falling(inputs.density, self.cuts):
            pattern = cut(inputs, weights, density, self.allocation)
            weights = cache.train(inputs.network(early), task, pattern=pattern)
        return MethodResult(inputs.model, weights, pattern)
