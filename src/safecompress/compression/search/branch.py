"""A Branch: one way of rewiring (a drop and a grow rule), or none; perhaps with an objective to train towards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import Any

from safecompress.errors import UsageError, suggest
from safecompress.progress import KEEP
from safecompress.registry import Registry
from safecompress.sparsity import DROP_RULES, GROW_RULES, DropRule, GrowRule
from safecompress.training import OBJECTIVES, Objective


@dataclass(frozen=True)
class Branch:
    """A drop x grow pair, named ``magnitude+random``; without rules it is ``keep``: train on, rewire nothing.

    With an ``objective`` (``magnitude+random+relax_loss``, ``keep+relax_loss``) the candidate is trained towards that
    one, from its tuning until another branch changes it; without one it goes on as its parent did.
    """

    name: str
    drop: DropRule | None = None
    grow: GrowRule | None = None
    objective: Objective | None = None

    def __post_init__(self) -> None:
        if not self.name or not set(self.name) <= set(ascii_letters + digits + "+-_. "):
            raise UsageError(f"A branch's name takes letters, digits, spaces and + - _ . only, got {self.name!r}.")

    @classmethod
    def parse(cls, text: str) -> Branch:
        """The branch called ``drop+grow`` or ``keep``, perhaps ``+objective``. Raises UsageError with all names."""
        first, *rest = text.split("+")
        rules: tuple[Registry[Any], ...] = () if first == KEEP else (DROP_RULES, GROW_RULES)
        names = rest if first == KEEP else [first, *rest]
        if not len(rules) <= len(names) <= len(rules) + 1:
            raise UsageError(
                f"A branch is 'keep' or a drop and a grow rule joined by '+', like 'magnitude+random', and perhaps an "
                f"objective after another '+'; got {text!r}. Drop rules: {', '.join(DROP_RULES.names())}. Grow rules: "
                f"{', '.join(GROW_RULES.names())}. Objectives: {', '.join(OBJECTIVES.names())}."
            )
        for registry, name in zip((*rules, OBJECTIVES), names, strict=False):
            if name not in registry.names():
                raise UsageError(
                    f"Unknown {registry.kind} {name!r} in the branch {text!r}. {suggest(name, registry.names())}"
                )
        objective = OBJECTIVES.make(names[-1]) if len(names) > len(rules) else None
        if not rules:
            return cls(text, objective=objective)
        return cls(text, DROP_RULES.make(names[0]), GROW_RULES.make(names[1]), objective)

    @property
    def reads(self) -> frozenset[str]:
        """The LayerView arrays that its rules need."""
        if self.drop is None or self.grow is None:
            return frozenset()
        return self.drop.reads | self.grow.reads


DEFAULT_BRANCHES = tuple(
    Branch.parse(text)
    for text in ("magnitude+random", "magnitude+gradient", "threshold+random", "threshold+gradient", KEEP)
)
"""The papers' {magnitude, threshold} x {random, gradient}, and the control."""

ARM_BRANCHES = (Branch.parse("magnitude+gradient"),)
"""How an arm rewires unless it is said otherwise: as RigL does."""


def parse_branches(texts: Iterable[str | Branch]) -> tuple[Branch, ...]:
    """Branches from names or objects. Raises UsageError when there is none or a name occurs twice."""
    branches = tuple(Branch.parse(text) if isinstance(text, str) else text for text in texts)
    names = [branch.name for branch in branches]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"Branches must be at least one and all different, got {names}.")
    return branches
