"""Training on several devices: every rank takes its share of each batch, and all of them take the same step.

Processes are started, and know of each other, by whatever engine the user has: ``torchrun``, Accelerate or
Lightning Fabric; each sets up ``torch.distributed``, which is all that is asked for here.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from safecompress.errors import TrainingError, UsageError


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that share batches: ``rank`` counts from 0 to ``count`` - 1."""

    rank: int = 0
    count: int = 1

    @torch.no_grad()
    def join_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of ``tensors`` by its sum over all ranks, equal to the bit on each; one message for all."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def check_alike(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Raise TrainingError, on every rank, unless all ranks hold the same ``tensors``, to the bit."""
        if self.count == 1:
            return
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        own = torch.frombuffer(bytearray(_digest(tensors)), dtype=torch.uint8).to(device)
        all_of = [torch.empty_like(own) for _ in range(self.count)]
        torch.distributed.all_gather(all_of, own)
        odd = [rank for rank, other in enumerate(all_of) if not torch.equal(other, all_of[0])]
        if odd:
            raise TrainingError(
                f"{what}: ranks {', '.join(map(str, odd))} hold other values than rank 0. Ranks that share batches "
                "must start from the same weights, pattern, rows, recipe and seed, on devices of one kind; what was "
                "saved before is intact."
            )


_ALONE = Ranks()
_SHARED: ContextVar[Ranks] = ContextVar("ranks", default=_ALONE)


@contextlib.contextmanager
def sharing_batches() -> Iterator[Ranks]:
    """Within it, `train` and `dense_gradient` of all processes of ``torch.distributed`` work on one training.

    Every rank calls them with the same arguments and gets the same state. Raises UsageError when no process group has
    been set up.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise UsageError(
            "No process group is set up, so there is nobody to share batches with. Start the processes with torchrun "
            "(and call torch.distributed.init_process_group), with Accelerate, or with Lightning Fabric."
        )
    ranks = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    token = _SHARED.set(ranks)
    try:
        yield ranks
    finally:
        _SHARED.reset(token)


def current_ranks() -> Ranks:
    """Those that share batches here: this process alone, unless within `sharing_batches`."""
    return _SHARED.get()


def _digest(tensors: Mapping[str, Tensor]) -> bytes:
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.digest()
