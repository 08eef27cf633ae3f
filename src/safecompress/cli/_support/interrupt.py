"""Ctrl-C: the first asks the command to stop and to say how to go on, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STOPPED = 130
"""As a shell reports SIGINT."""

GOES_ON = ("compress", "compare", "search")
"""Verbs that keep what they have finished."""


@dataclass
class Stop:
    """Whether Ctrl-C was pressed: a library may have made another error of the KeyboardInterrupt."""

    was_asked: bool = False


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Raise KeyboardInterrupt at the first Ctrl-C, end the process at the second.

    Where somebody lets the command ignore Ctrl-C (a shell's background job), it does.
    """
    stop = Stop()

    def hear(*_: object) -> None:
        if stop.was_asked:
            os._exit(STOPPED)
        stop.was_asked = True
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield stop
        return
    before = signal.signal(signal.SIGINT, hear)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def how_to_go_on(arguments: Sequence[str]) -> str:
    """What a person reads after Ctrl-C."""
    command = shlex.join(["safecompress", *arguments])
    if any(verb in arguments for verb in GOES_ON):
        return f"Stopped. What was finished is kept: run the same command again to go on.\n  {command}"
    return f"Stopped. Run the same command again to start anew.\n  {command}"
