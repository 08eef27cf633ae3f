"""A Plan: how a dense model becomes a sparse one. Together with the Recipe and a seed it fixes the whole search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from safecompress.attacks import Attack, Loss, as_searched, capabilities_of
from safecompress.compression.search.arm import Arm, Arms
from safecompress.compression.search.branch import ARM_BRANCHES, DEFAULT_BRANCHES, Branch, parse_branches
from safecompress.compression.search.select import Selector, TmScore
from safecompress.errors import UsageError
from safecompress.sparsity import (
    AllocateErk,
    Allocation,
    CosineSchedule,
    EachWeight,
    Granularity,
    Schedule,
    Start,
    check_granularity,
)
from safecompress.training import Objective
from safecompress.training.dynamic import DynamicSparsity, round_steps


@dataclass(frozen=True)
class Plan:
    """Shape and length of the search.

    With ``arms`` whole configurations are compared (the method "folds"); each branch then makes arms of its own, whose
    pattern moves ``rounds`` times, unattended. Without them candidates are made and chosen in every round (the method
    "rewiring", the papers').

    ``rounds`` share the first ``stop`` of sparse training evenly; the rest trains the final pattern. Each candidate is
    fine-tuned for the last ``recovery`` fraction of its round; with 0 it is tested right after pruning.

    ``attacks`` test the candidates (None: the spec's own): those of tier 0 test every one, those of tier 1 the best
    ``finalists`` and ``keep``; those of tier 2, which need shadow models, are left to the verdict. With ``rank`` the
    last round's candidates are also attacked by the verdict's attacks, on selection rows, to show how well the cheap
    tests ranked them. ``refit`` says whether one attacker is simulated from the parent or one per candidate.

    ``shape`` says which weights are dropped and grown together; whole units take branches that grow at random, and no
    allocation. ``start`` says what the sparse model begins with (None: trained weights where they are given or
    recognised, else fresh ones; `settle_start`). ``include`` and ``exclude`` are globs over the parameters that may be
    sparse. With ``rounds=0`` the first pattern stays (static sparse training).
    """

    density: float = 0.1
    rounds: int = 10
    branches: tuple[Branch, ...] = DEFAULT_BRANCHES
    selector: Selector = TmScore()
    attacks: tuple[Attack, ...] | None = None
    finalists: int = 2
    rank: bool = True
    refit: Literal["parent", "candidate"] = "parent"
    schedule: Schedule = CosineSchedule()
    allocation: Allocation = AllocateErk()
    shape: Granularity = EachWeight()
    start: Start | None = None
    stop: float = 0.75
    recovery: float = 0.25
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    arms: Arms | None = None

    def __post_init__(self) -> None:
        if self.start is not None:
            object.__setattr__(self, "start", Start(self.start))
        is_default = self.branches is DEFAULT_BRANCHES
        branches = ARM_BRANCHES if self.arms is not None and is_default else self.branches
        object.__setattr__(self, "branches", parse_branches(branches))
        _check_arms(self)
        if not 0 < self.density <= 1:
            raise UsageError(
                f"density must lie in (0, 1], got {self.density}. It is the share of weights kept: 0.05 keeps one in "
                "twenty."
            )
        if self.rounds < 0:
            raise UsageError(f"rounds must be at least 0, got {self.rounds}.")
        judges = [attack.name for attack in self.attacks or () if capabilities_of(attack).tier > 1]
        if judges:
            raise UsageError(
                f"{', '.join(judges)} cannot test candidates: shadow attacks judge what was chosen. Name them "
                "among the spec's attacks (the report says how well the search's tests agree with it)."
            )
        branches = self.branches if self.rounds else ()
        grow_rules = [branch.grow for branch in branches if branch.grow is not None]
        drop_rules = [branch.drop for branch in branches if branch.drop is not None]
        check_granularity(self.shape, self.allocation, grow_rules, drop_rules)
        if self.finalists < 1:
            raise UsageError(f"finalists must be at least 1, got {self.finalists}: one of them wins the round.")
        if not (0 < self.stop <= 1 and 0 <= self.recovery < 1):
            raise UsageError(
                f"stop must lie in (0, 1] and recovery in [0, 1), got stop={self.stop} and recovery={self.recovery}."
            )

    def tests(self, spec_attacks: Sequence[Attack]) -> tuple[tuple[Attack, ...], tuple[Attack, ...]]:
        """The attacks that test every candidate, and those that test only finalists, as a search runs them.

        The loss stands in where no attack is of tier 0.
        """
        attacks = tuple(map(as_searched, self.attacks or tuple(spec_attacks)))
        cheap, costly = (tuple(a for a in attacks if capabilities_of(a).tier == tier) for tier in (0, 1))
        return cheap or (Loss(),), costly

    @property
    def begins(self) -> Start:
        """What the sparse model starts from; fresh weights, unless it was said otherwise or settled for a job."""
        return self.start or Start.SCRATCH

    @property
    def each_arm(self) -> tuple[Arm, ...]:
        """The arms that are compared; none where the search rewires."""
        return () if self.arms is None else self.arms.each(self.density, self.branches)

    @property
    def is_unattended(self) -> bool:
        """Whether nothing is chosen: no branch rewires, or one does and is followed from beginning to end."""
        only = self.branches[0]
        rewires = len(self.branches) == 1 and only.objective is None and only.drop is not None
        return self.arms is None and (rewires or not self.rounds)

    def sparsity(self, branch: Branch | None = None) -> DynamicSparsity:
        """The same shape and length for one model that rewires as ``branch`` does (default: the first)."""
        branch = branch or self.branches[0]
        rules = {} if branch.drop is None or branch.grow is None else {"drop": branch.drop, "grow": branch.grow}
        return DynamicSparsity(
            self.density,
            **rules,
            rounds=self.rounds,
            schedule=self.schedule,
            stop=self.stop,
            recovery=self.recovery,
            allocation=self.allocation,
            shape=self.shape,
            start=self.begins,
            include=tuple(self.include),
            exclude=tuple(self.exclude),
        )

    def sub_models(self) -> DynamicSparsity:
        """How sparse sub-models that teach are trained; they start from fresh weights, never from the dense model's.

        An objective that asks for them brings its own drop and grow rule.
        """
        sparsity = self.sparsity()
        return replace(sparsity, start=Start.SCRATCH) if sparsity.start is Start.DENSE else sparsity

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives that branches bring."""
        return tuple(branch.objective for branch in self.branches if branch.objective is not None)

    def check_steps(self, total_steps: int) -> None:
        """Raise UsageError when training is too short for the rounds."""
        if self.rounds and int(self.stop * total_steps) < 2 * self.rounds:
            raise UsageError(
                f"{self.rounds} rounds do not fit into {int(self.stop * total_steps)} steps (stop={self.stop:g} of "
                f"{total_steps}): each needs at least two. Use fewer rounds, more epochs or smaller batches."
            )

    def round_steps(self, number: int, total_steps: int) -> tuple[int, int]:
        """The step at which round ``number`` rewires, and the one at which its candidates are tested."""
        return round_steps(number, self.rounds, total_steps, stop=self.stop, recovery=self.recovery)


def _check_arms(plan: Plan) -> None:
    """Raise UsageError when arms are compared and a branch is no way to train one model."""
    if plan.arms is None:
        return
    if plan.start is Start.DENSE:
        raise UsageError(
            "Arms do not start from the dense model: it has seen every row, and what it knows of them would pass by "
            'the sub-models. Use start = "scratch", or search by rewiring (method = "rewiring").'
        )
    unfit = [branch.name for branch in plan.branches if branch.drop is None or branch.objective is not None]
    if unfit:
        raise UsageError(
            f"The branches {', '.join(unfit)} make no arm: each is a drop and a grow rule, such as "
            "'magnitude+gradient', which one model follows to its end. Take them out, or search by "
            'rewiring (method = "rewiring").'
        )
