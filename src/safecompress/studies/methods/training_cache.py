"""A TrainingCache: trains, and remembers by content what it trained, so that methods share their first stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.digests import digest_json, digest_tensors
from safecompress.sparsity import SparsityPattern
from safecompress.training import TrainingState, TrainingTask, engine_name, train


class TrainingCache:
    """Keeps finished weights in ``store``, a private folder; without one it trains everything anew.

    Six methods start from one dense model, at three densities: it is trained once, and so are its shadows.
    """

    def __init__(self, store: PrivateFolder | None = None) -> None:
        self.store = store

    def train(
        self,
        model: nn.Module,
        task: TrainingTask,
        *,
        pattern: SparsityPattern | None = None,
        until: int | None = None,
    ) -> dict[str, Tensor]:
        """The weights of ``model`` trained from those it has, on ``task`` up to step ``until`` (its end).

        ``model`` is a scratch pad: its contents are left undefined.
        """
        state = TrainingState.capture(0, model)
        end = task.total_steps if until is None else until
        name = digest_json(["trained", *_facts(model, state, task, pattern), end])
        kept = self.store.load(name) if self.store is not None else None
        if kept is None:
            kept = dict(train(model, state, task, until=end, pattern=pattern).model)
            self.keep(name, kept)
        return kept

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep ``tensors`` under ``name``, where there is a store."""
        if self.store is not None:
            self.store.save(name, tensors)


def _facts(model: nn.Module, state: TrainingState, task: TrainingTask, pattern: SparsityPattern | None) -> list[Any]:
    """Everything that the weights depend on, as strings."""
    tensors = {"x": task.features, "y": task.labels}
    if task.teacher is not None:
        tensors["teacher"] = task.teacher
    if task.reference is not None:
        tensors |= {"reference x": task.reference[0], "reference y": task.reference[1]}
    return [
        __version__,
        torch.__version__,
        torch.get_num_threads(),
        engine_name(),
        repr(model),
        state.digest(),
        task.recipe.to_json(),
        task.seed,
        digest_tensors(tensors),
        "" if pattern is None else pattern.digest(),
    ]
