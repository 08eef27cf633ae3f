"""Executors: where trials run. Anything with ``map(fn, items)`` fits; results come back in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, Self, TypeVar

import torch
import torch.multiprocessing  # tensors then travel to workers through shared memory

from safecompress.compression.search.sendable import is_of_pickling, require_importable
from safecompress.errors import SafeCompressError, UsageError

A = TypeVar("A")
B = TypeVar("B")


UNGUARDED = (
    "Each worker imports the script that started it, and so would start workers of its own: keep what the script does "
    'under if __name__ == "__main__":.'
)


class WorkerError(SafeCompressError):
    """A worker process was lost twice."""


class Executor(Protocol):
    """Runs a function over items."""

    def map(self, fn: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]:
        """Results in the items' order."""
        ...


class SerialExecutor:
    """One after another, in this process."""

    def map(self, fn: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]:
        """As the built-in map."""
        return map(fn, items)


class ProcessExecutor:
    """A pool of ``num_workers`` processes of one thread each; use it as a context manager.

    Two processes of two threads each on two cores run twenty times slower than with one thread each, so the workers'
    ``OMP_NUM_THREADS`` is set before they load PyTorch. When a worker is lost (killed, out of memory) the pool is made
    anew and the unfinished work repeated, once; trials depend on their inputs alone, so the results are the same.
    """

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise UsageError(f"The number of workers must be at least 1, got {num_workers}.")
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # while a worker imports the script
            raise UsageError(UNGUARDED)
        self.num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None
        self._has_worked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._pool is not None:
            for worker in [*(self._pool._processes or {}).values()]:
                worker.terminate()  # what it was at is not waited for; files are whole or absent
        self._close()

    def map(self, fn: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]:
        """Results in the items' order, as they come. Raises WorkerError when workers are lost twice.

        Raises UsageError for what no worker can import or be sent.
        """
        work, num_done, num_lost = list(items), 0, 0
        require_importable(fn, work)
        while num_done < len(work):
            try:
                for result in self._open().map(fn, work[num_done:]):
                    num_done += 1
                    yield result
            except BrokenProcessPool as error:
                self._close()
                num_lost += 1
                if num_lost == 2:
                    raise WorkerError(
                        f"A worker process was lost twice ({self.num_workers} workers). It was killed from outside or "
                        "ran out of memory. Run the same command again to resume from the last finished round, with "
                        "fewer --workers."
                    ) from error
            except Exception as error:
                if not is_of_pickling(error):
                    raise
                raise UsageError(
                    f"The work cannot be sent to worker processes ({error}). Define classes and functions at the top "
                    "of a module, not within a function, and no lambda; or leave out the executor: work in one process."
                ) from error

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            place = multiprocessing.util.get_temp_dir()
            is_own = multiprocessing.parent_process() is None  # else it is shared with the process that began this one
            context = torch.multiprocessing.get_context("spawn")
            before = os.environ.get("OMP_NUM_THREADS")
            os.environ["OMP_NUM_THREADS"] = "1"
            try:
                self._pool = ProcessPoolExecutor(
                    self.num_workers,
                    mp_context=context,
                    initializer=_settle,
                    initargs=(place if is_own else None,),
                )
                with _deaf():
                    starting = self._pool.map(_ready, range(self.num_workers))
                list(starting)  # workers inherit the environment as they start
                self._has_worked = True
            except BrokenProcessPool as error:
                if self._has_worked:
                    raise
                raise UsageError(
                    f"The worker processes ended as they started. {UNGUARDED} If it has that, they were killed: use "
                    "fewer workers."
                ) from error
            finally:
                if before is None:
                    del os.environ["OMP_NUM_THREADS"]
                else:
                    os.environ["OMP_NUM_THREADS"] = before
        return self._pool

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start within never receive Ctrl-C; this one receives it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def use_one_thread() -> None:
    """Fix PyTorch to one thread: results differ in their last bits between thread counts."""
    torch.set_num_threads(1)


def _settle(place: str | None = None) -> None:
    """Set up a fresh worker: one thread, no Ctrl-C of its own, and it ends with its parent.

    ``place`` is the folder of the parent's sockets, which a parent that was killed leaves behind.
    """
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(place,), daemon=True).start()


def _end_with_parent(place: str | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        os._exit(1)


def _ready(element: Any) -> Any:
    return element
