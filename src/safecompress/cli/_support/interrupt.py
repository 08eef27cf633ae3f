"""Ctrl-C, SIGTERM, SIGHUP: the first stops the command, which says how to resume; the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from safecompress.cli.app import RESUMABLE

STOPPED = 130
"""As a shell reports SIGINT."""

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; what service managers, schedulers and containers send before they kill; a terminal that is closed."""


@dataclass
class Stop:
    """Which signal asked the command to stop, if one did: a library may have turned it into another error."""

    signal: int | None = None

    @property
    def was_asked(self) -> bool:
        """Whether one did."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return STOPPED if self.signal is None else 128 + self.signal

    def error(self) -> KeyboardInterrupt:
        """What the gate is told."""
        return KeyboardInterrupt(*(() if self.signal is None else (self.signal,)))


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Raise KeyboardInterrupt at the first signal to stop, end the process at the second.

    One that is to be ignored (Ctrl-C in a shell's background job, SIGHUP under ``nohup``) is.
    """
    stop = Stop()

    def stop_or_exit(number: int, _: object) -> NoReturn:
        if stop.was_asked:
            os._exit(128 + number)
        stop.signal = number
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    known = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    heard = [number for number in known if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, stop_or_exit) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def how_to_resume(arguments: Sequence[str]) -> str:
    """What a person reads after a stop."""
    command = shlex.join(["safecompress", *arguments])
    if any(verb in arguments for verb in RESUMABLE):
        return f"Stopped. Finished work is kept: run the same command again to resume.\n  {command}"
    return f"Stopped. Run the same command again to start over.\n  {command}"
