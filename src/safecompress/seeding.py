"""Randomness by name: every random choice draws from ``derive(seed, *names)``, so that order never matters.

A serial run, a pool of workers and a run resumed after a crash ask for the same names and so get the same bits.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names`` under ``seed`` (SHA-256 of both, so names never collide by sum)."""
    text = json.dumps([seed, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream called ``names``: index choices, splits, subsets."""
    return np.random.default_rng(derive_seed(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Give PyTorch's global generators (initial weights, dropout) the stream ``names``, and restore them after."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        _seed(derive_seed(seed, *names), is_cpu_alone=not _has_accelerator())
        yield


def reseed(seed: int, *names: str | int, device: torch.device) -> None:
    """Give PyTorch's global generators the stream ``names``, once a step; a model on the CPU draws from its alone."""
    _seed(derive_seed(seed, *names), is_cpu_alone=device.type == "cpu")


def _seed(number: int, *, is_cpu_alone: bool) -> None:
    """To the bit what ``torch.manual_seed`` does.

    That one notes its caller's stack for every kind of device that is not in use, which costs as much as a step of a
    small net.
    """
    if is_cpu_alone:
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


@functools.cache
def _has_accelerator() -> bool:
    """Whether this machine has a device beside the CPU that draws random numbers."""
    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()
