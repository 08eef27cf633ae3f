"""An Arm: one configuration of sparse training; and the Arms that a run compares."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from safecompress.compression.search.branch import Branch
from safecompress.errors import UsageError
from safecompress.training.objectives.cross_fit import CrossFit

Goal = Literal["spec", "front"]

LEAST_REPEATS = 6
"""Fewest repeats of an arm: each is attacked by the others, of which two at least must have seen a row, two not."""


@dataclass(frozen=True)
class Arms:
    """What arms are made of: every share with every length (and, where several are given, every density).

    Sub-models, ``folds`` of them with each row held out of ``held_out``, teach the arms: ``share`` of a row's target is
    theirs (see `CrossFit`; share 0 learns from the labels alone). ``lengths`` are in trainings by the recipe.
    ``rewiring`` is the sub-models' drop and grow rule. ``densities`` are those to try beside the plan's own.

    Arms that are worse in accuracy and in leak than another, beyond chance, are dropped; those left, as many as the
    plan's ``finalists``, are trained ``repeats`` times more, to be attacked by LiRA on the rows for choosing. With the
    goal "spec" the most accurate one that keeps the requirements is chosen; "front" also names all that no other beats.
    """

    folds: int = 5
    held_out: int = 2
    rewiring: str = "set+random"
    shares: tuple[float, ...] = (1.0, 0.8)
    lengths: tuple[float, ...] = (2.0,)
    densities: tuple[float, ...] = ()
    goal: Goal = "spec"
    repeats: int = 8

    def __post_init__(self) -> None:
        for name in ("shares", "lengths", "densities"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
            _require_distinct(name, getattr(self, name))
        for share in self.shares or (-1.0,):
            CrossFit(share, self.folds, self.held_out, self.rewiring)
        if not self.lengths or not all(0 < length <= 100 for length in self.lengths):
            raise UsageError(
                f"lengths takes at least one number in (0, 100], got {list(self.lengths)}: 2 trains an arm for twice "
                "as many epochs as the recipe has."
            )
        if not all(0 < density <= 1 for density in self.densities):
            raise UsageError(f"density takes numbers in (0, 1], got {list(self.densities)}.")
        if self.goal not in ("spec", "front"):
            raise UsageError(f'goal takes "spec" or "front", got {self.goal!r}.')
        if self.repeats and self.repeats < LEAST_REPEATS:
            raise UsageError(
                f"evidence repeats must be 0 or at least {LEAST_REPEATS}, got {self.repeats}: each repeat is attacked "
                "with the others as its shadow models, and fewer say nothing. 0 leaves the choice to cheap attacks."
            )

    def each(self, density: float, branches: Iterable[Branch]) -> tuple[Arm, ...]:
        """The arms, the safest (largest share, then longest) first; ``density`` where there are no ``densities``."""
        product = itertools.product(self.densities or (density,), branches, self.shares, self.lengths)
        arms = [Arm(share, length, dense, branch) for dense, branch, share, length in product]
        return tuple(sorted(arms, key=lambda arm: (-arm.share, -arm.length, arm.density, arm.branch.name)))


@dataclass(frozen=True)
class Arm:
    """One configuration: the share of sub-models in the targets, the length in recipes, the density, how it rewires."""

    share: float
    length: float
    density: float
    branch: Branch

    def epochs(self, of_recipe: int) -> int:
        """How many epochs it trains for when the recipe has ``of_recipe``; one at least."""
        return max(1, round(self.length * of_recipe))

    @property
    def name(self) -> str:
        """Such as ``share 0.8, length 2, density 0.1, magnitude+gradient``."""
        return f"share {self.share:g}, length {self.length:g}, density {self.density:g}, {self.branch.name}"

    @property
    def key(self) -> str:
        """The name as a file's."""
        return f"arm-s{self.share:g}-l{self.length:g}-d{self.density:g}-{self.branch.name.replace(' ', '_')}"


def short_names(arms: Sequence[Arm]) -> dict[Arm, str]:
    """The arms' names without what all of them share; ``the only arm`` where there is one."""
    told = {
        "share": [arm.share for arm in arms],
        "length": [arm.length for arm in arms],
        "density": [arm.density for arm in arms],
    }
    varied = [name for name, values in told.items() if len(set(values)) > 1]
    is_rewired = len({arm.branch.name for arm in arms}) > 1
    names = {}
    for arm in arms:
        parts = [f"{name} {getattr(arm, name):g}" for name in varied] + ([arm.branch.name] if is_rewired else [])
        names[arm] = ", ".join(parts) or f"share {arm.share:g}"
    return names


def _require_distinct(name: str, values: Sequence[float]) -> None:
    if len(set(values)) < len(values):
        raise UsageError(f"{name} names a value twice, got {list(values)}. Name each once.")
