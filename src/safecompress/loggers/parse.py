"""Loggers by ``kind:target``, and what keeps a logger that fails from harming the run that it logs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from safecompress.errors import UsageError
from safecompress.loggers.logger import Logger
from safecompress.loggers.mlflow import Mlflow
from safecompress.loggers.tensorboard import TensorBoard
from safecompress.progress import Progress, RoundStatus, Silent
from safecompress.registry import Registry

LOGGERS: Registry[Logger] = Registry("logger", "safecompress.loggers", {"tensorboard": TensorBoard, "mlflow": Mlflow})


def parse_log(text: str, settings: Mapping[str, object] | None = None) -> Logger:
    """The logger that ``kind:target`` means, as ``tensorboard:runs/logs``; ``settings`` are written down with the log.

    Raises UsageError for an unknown kind, a missing target or a package that is not installed.
    """
    check_logs([text])
    kind, _, target = text.partition(":")
    return LOGGERS.make({"name": kind, "target": target, "settings": settings or {}})


def check_logs(texts: Sequence[str]) -> None:
    """Raise UsageError for a text that is no ``kind:target``, or an unknown kind; nothing is opened."""
    for text in texts:
        kind, colon, _ = text.partition(":")
        if not colon:
            raise UsageError(
                "A log is given as kind:target, like tensorboard:runs/logs or mlflow:http://localhost:5000; got "
                f"{text!r}. Kinds: {', '.join(LOGGERS.names())}."
            )
        LOGGERS.factory(kind)


@contextlib.contextmanager
def logging_to(
    logs: Sequence[str | Logger], watcher: Progress | None = None, *, settings: Mapping[str, object] | None = None
) -> Iterator[Progress]:
    """Reports to ``watcher`` and to every one of ``logs``, each a ``kind:target`` or a logger, until the block ends.

    A logger that raises is left alone from then on, and ``watcher`` is notified once: a run never fails by its log.
    Raises UsageError, before anything runs, as `parse_log` does.
    """
    first = watcher or Silent()
    loggers = [
        _Guarded(parse_log(log, settings), log, first) if isinstance(log, str) else _Guarded(log, repr(log), first)
        for log in logs
    ]
    try:
        yield _Together(first, *loggers)
    except BaseException:
        for logger in loggers:
            logger.close(failed=True)
        raise
    for logger in loggers:
        logger.close(failed=False)


class _Together(Silent):
    """Reports to several watchers, in their order."""

    def __init__(self, *watchers: Progress) -> None:
        self._watchers = watchers

    def begin(self, phase: str, total: int) -> None:
        for watcher in self._watchers:
            watcher.begin(phase, total)

    def advance(self, steps: int = 1) -> None:
        for watcher in self._watchers:
            watcher.advance(steps)

    def say(self, line: str) -> None:
        for watcher in self._watchers:
            watcher.say(line)

    def stands(self, standings: RoundStatus) -> None:
        for watcher in self._watchers:
            watcher.stands(standings)

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        for watcher in self._watchers:
            watcher.measured(step, figures)


class _Guarded(Logger):
    """A logger until it raises; from then on every call is ignored."""

    def __init__(self, logger: Logger, name: str, watcher: Progress) -> None:
        self._logger: Logger | None = logger
        self._name, self._watcher = name, watcher

    def begin(self, phase: str, total: int) -> None:
        self._try(lambda logger: logger.begin(phase, total))

    def advance(self, steps: int = 1) -> None:
        self._try(lambda logger: logger.advance(steps))

    def say(self, line: str) -> None:
        self._try(lambda logger: logger.say(line))

    def stands(self, standings: RoundStatus) -> None:
        self._try(lambda logger: logger.stands(standings))

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        self._try(lambda logger: logger.measured(step, figures))

    def close(self, *, failed: bool) -> None:
        self._try(lambda logger: logger.close(failed=failed))

    def _try(self, tell: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            tell(self._logger)
        except Exception as error:  # whatever a logger's package raises, the run goes on
            self._logger = None
            reason = (str(error) or repr(error)).splitlines()[0]
            line = f"The log {self._name} failed and is left: {type(error).__name__}: {reason}"
            self._watcher.say(re.sub(r"//[^/@\s]*@", "//***@", line))  # a URI may carry a password
