"""A SpecReader: what is collected while one spec is read. Faults pile up instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safecompress.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class BuiltStrategy:
    """A strategy and the table that made it: its name and every option, defaults included."""

    strategy: Any
    table: Mapping[str, Any]


@dataclass
class SpecReader:
    """The faults found so far, and the strategies made; ``base`` is the folder that relative paths count from."""

    base: Path
    faults: list[str] = field(default_factory=list)
    strategies: list[BuiltStrategy] = field(default_factory=list)

    def note(self, where: str, fault: str) -> None:
        """Add one fault; it starts with ``where``, and a message of several lines becomes one."""
        self.faults.append(f"{where}: {' '.join(fault.split())}")

    def attempt(self, where: str, make: Callable[[], T]) -> T | None:
        """What ``make`` returns, or None when it raises UsageError, which is noted."""
        try:
            return make()
        except UsageError as error:
            self.note(where, str(error))
            return None
