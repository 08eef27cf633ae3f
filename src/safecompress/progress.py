"""What long work tells whoever watches: phases with a length, steps done, and plain lines."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens; a terminal, a log file or nobody. It can change nothing."""

    def begin(self, phase: str, total: int) -> None:
        """A phase of ``total`` steps starts; the one before it has ended."""
        ...

    def advance(self, steps: int = 1) -> None:
        """``steps`` more of the phase are done."""
        ...

    def say(self, line: str) -> None:
        """One line for the reader."""
        ...


class Silent:
    """Nobody watches."""

    def begin(self, phase: str, total: int) -> None:
        """Ignored."""

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def say(self, line: str) -> None:
        """Ignored."""
