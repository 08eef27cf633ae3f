"""What workers do that are lost: in a file of its own, as each new worker loads it."""

import os
import time
from pathlib import Path


def die_unless_marked(folder, number):
    """The first to come to number 2 leaves a mark, and is gone without a word."""
    Path(folder, f"begun-{number}-{os.getpid()}").touch()
    mark = Path(folder, "died")
    if number == 2 and not mark.exists():
        mark.touch()
        os._exit(1)
    return number, os.getpid()


def die_at_two(number):
    if number == 2:
        time.sleep(0.2)
        os._exit(1)
    return number


def sleep_with_a_pool(pids):
    """The numbers of two workers, and then nothing for longer than anyone waits."""
    from safecompress.compression.search import ProcessExecutor

    with ProcessExecutor(2) as pool:
        pids.put(list(pool.map(_pid, range(2))))
        time.sleep(3600)


def _pid(_):
    time.sleep(0.3)
    return os.getpid()
