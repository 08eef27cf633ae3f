"""A Branch: one way of rewiring (a drop rule and a grow rule), or the control that keeps the pattern."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_letters, digits

from safecompress.errors import UsageError, suggest
from safecompress.sparsity import DROP_RULES, GROW_RULES, DropRule, GrowRule

KEEP = "keep"


@dataclass(frozen=True)
class Branch:
    """A drop x grow pair, named ``magnitude+random``; without rules it is ``keep``: train on, rewire nothing."""

    name: str
    drop: DropRule | None = None
    grow: GrowRule | None = None

    def __post_init__(self) -> None:
        if not self.name or not set(self.name) <= set(ascii_letters + digits + "+-_. "):
            raise UsageError(f"A branch's name takes letters, digits, spaces and + - _ . only, got {self.name!r}.")

    @classmethod
    def parse(cls, text: str) -> Branch:
        """The branch called ``drop+grow`` or ``keep``. Raises UsageError with the allowed names."""
        if text == KEEP:
            return cls(KEEP)
        drop, plus, grow = text.partition("+")
        if not plus:
            raise UsageError(
                f"A branch is 'keep' or a drop and a grow rule joined by '+', like 'magnitude+random'; got {text!r}. "
                f"Drop rules: {', '.join(DROP_RULES.names())}. Grow rules: {', '.join(GROW_RULES.names())}."
            )
        for registry, name in ((DROP_RULES, drop), (GROW_RULES, grow)):
            if name not in registry.names():
                raise UsageError(
                    f"Unknown {registry.kind} {name!r} in the branch {text!r}. {suggest(name, registry.names())}"
                )
        return cls(text, DROP_RULES.make(drop), GROW_RULES.make(grow))

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


def parse_branches(texts: Iterable[str | Branch]) -> tuple[Branch, ...]:
    """Branches from names or objects. Raises UsageError when there is none or a name occurs twice."""
    branches = tuple(Branch.parse(text) if isinstance(text, str) else text for text in texts)
    names = [branch.name for branch in branches]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"Branches must be at least one and all different, got {names}.")
    return branches
