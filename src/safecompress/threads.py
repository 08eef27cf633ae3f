"""Fixes the number of threads that PyTorch computes with: results differ in their last bits between thread counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from safecompress.errors import UsageError


@contextlib.contextmanager
def fixed_threads(num_threads: int) -> Iterator[None]:
    """PyTorch on ``num_threads`` threads inside the block, and as before afterwards.

    Raises UsageError unless ``num_threads`` is at least 1.
    """
    import torch  # the ground floor costs nothing to import

    if num_threads < 1:
        raise UsageError(f"threads must be at least 1, got {num_threads}.")
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
