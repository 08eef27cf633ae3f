"""Every error a user can meet, in one tree; each knows the exit code it ends a command with.

SafeCompressError                 3
├── UsageError                    2   what was asked for cannot be done; nothing was trained
│   ├── SpecError                     a spec says something wrong: all faults at once
│   ├── DataError                     the data cannot be used as it is
│   ├── ModelError                    the model cannot be built, or does not fit the data
│   └── RunFolderError                the run folder belongs to another run, or cannot be written
├── ArtifactError                 3   a file is truncated, altered, or of a newer format
├── TrainingError                 3   training diverged
├── AttackError                   3   an attack could not give a number: never a pass
└── StorageError                  3   the disk refused: full, gone, or read-only
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SafeCompressError(Exception):
    """Base of all errors that the product raises on purpose."""

    exit_code = 3


class UsageError(SafeCompressError):
    """What was asked for cannot be done; nothing was trained."""

    exit_code = 2

    @classmethod
    def from_faults(cls, source: str, faults: Iterable[str]) -> Self:
        """One error that lists all ``faults`` of what ``source`` names: a spec, a folder."""
        listed = list(faults)
        count = "1 fault" if len(listed) == 1 else f"{len(listed)} faults"
        return cls(f"{source}: {count}\n" + "\n".join(f"  - {fault}" for fault in listed))


class SpecError(UsageError):
    """A spec says something wrong. The message lists every fault found, not only the first."""

    @classmethod
    def from_faults(cls, source: str, faults: Iterable[str]) -> SpecError:
        """One error that lists all ``faults`` of the spec called ``source``."""
        listed = list(faults)
        count = "1 fault" if len(listed) == 1 else f"{len(listed)} faults"
        return cls(f"{source}: {count}\n" + "\n".join(f"  - {fault}" for fault in listed))


class DataError(UsageError):
    """The data cannot be used as it is."""


class ModelError(UsageError):
    """The model cannot be built, or does not fit the data."""


class RunFolderError(UsageError):
    """The run folder belongs to another run, or cannot be written."""


class ArtifactError(SafeCompressError):
    """A file is truncated, altered, or of a newer format."""


class TrainingError(SafeCompressError):
    """Training diverged."""


class AttackError(SafeCompressError):
    """An attack could not give a number; a verdict never counts this as a pass."""


class StorageError(SafeCompressError):
    """The disk refused: full, gone, or read-only."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: PyTorch has a RuntimeError for it, the system an OSError."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
"""Of PyTorch's allocators on Linux, of the system, of PyTorch on Windows, and of CUDA."""


def suggest(name: str, allowed: Iterable[str]) -> str:
    """A sentence with the allowed names, the close match first: ``Did you mean 'erk'? Allowed: ...``."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Allowed: {', '.join(names)}."


def listing(noun: str, labels_or_array: Sequence[Any] | NDArray[Any], limit: int = 5) -> str:
    """Count and first values for an error message: ``3 rows (0, 4, 9)`` or ``80 rows (first: 1, 2, 3, 4, 5)``."""
    count, shown = len(labels_or_array), ", ".join(str(value) for value in labels_or_array[:limit])
    plural = noun if count == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {plural} ({'first: ' if count > limit else ''}{shown})"


REPLACEMENT = "\ufffd"
"""What stands for a character that is not shown."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    """``text`` as it may be shown anywhere: control, format, surrogate and private characters are replaced.

    So a name from a file moves no cursor, hides nothing and turns no writing round. It is one line, unless
    ``keep_lines`` keeps its line ends and makes its tabs blanks.
    """
    if text.isprintable():  # nearly always, and a page has thousands of texts
        return str(text)
    if keep_lines:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").split("\n")
        return "\n".join(map(printable, lines))
    return "".join(c if c.isprintable() else REPLACEMENT for c in text)
