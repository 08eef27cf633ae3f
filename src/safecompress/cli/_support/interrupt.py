"""Ctrl-C: the first stops the command, which then says how to resume; the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safecompress.cli.app import RESUMABLE

STOPPED = 130
"""As a shell reports SIGINT."""


@dataclass
class Stop:
    """Whether Ctrl-C was pressed: a library may have turned the KeyboardInterrupt into another error."""

    was_asked: bool = False


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Raise KeyboardInterrupt at the first Ctrl-C, end the process at the second.

    Where Ctrl-C is to be ignored (a shell's background job), it is.
    """
    stop = Stop()

    def stop_or_exit(*_: object) -> None:
        if stop.was_asked:
            os._exit(STOPPED)
        stop.was_asked = True
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop_or_exit)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def how_to_resume(arguments: Sequence[str]) -> str:
    """What a person reads after Ctrl-C."""
    command = shlex.join(["safecompress", *arguments])
    if any(verb in arguments for verb in RESUMABLE):
        return f"Stopped. Finished work is kept: run the same command again to resume.\n  {command}"
    return f"Stopped. Run the same command again to start over.\n  {command}"
