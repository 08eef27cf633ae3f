"""Which engine takes the steps of a training, and why: ``active`` where it is served, else ``masked``.

The masked engine computes with all weights and zeroes the gradients of inactive ones. The active engine computes with
active weights alone, and needs Numba (``pip install numba``). Both end in the same weights to rounding;
each ends in the same bits again and again.

The environment variable ``SAFECOMPRESS_ENGINE`` forces a choice, as ``OMP_NUM_THREADS`` does the number of threads:
``masked``, ``active`` (an error without Numba) or ``auto``. It changes rounding and not what is trained, so no recipe
mentions it; worker processes inherit it.
"""

from __future__ import annotations

import functools
import os

import torch
from torch import nn

from safecompress.errors import UsageError, suggest
from safecompress.sparsity import SparsityPattern
from safecompress.training.active.chain import Chain, has_shape, read_chain
from safecompress.training.ranks import current_ranks
from safecompress.training.recipe import Recipe
from safecompress.training.state import TrainingState
from safecompress.training.task import TrainingTask

ENGINE = "SAFECOMPRESS_ENGINE"
"""The environment variable that forces an engine."""

_CHOICES = ("auto", "masked", "active")

_VERSION = 2
"""Of the active engine: counted up when its results change in any bit."""

MOST_DENSE = 0.35
"""Share of active weights, times threads, up to which the active engine is faster; it computes on one thread.

Measured on one thread: 1.5 times as fast at 0.3, 2.2 at 0.2 (``benchmarks/results/active-weights.md``).
"""


def engine_name() -> str:
    """The engine that sparse training on the CPU uses here where it can, with all that its bits depend on.

    It belongs into whatever names numerics. Raises UsageError for an unknown choice, or one that is not installed.
    """
    choice = os.environ.get(ENGINE, "auto") or "auto"
    if choice not in _CHOICES:
        raise UsageError(f"{ENGINE}={choice!r} is unknown. {suggest(choice, _CHOICES)}")
    if choice == "masked":
        return "masked"
    version = _numba_version()
    if version is None and choice == "active":
        raise UsageError(
            f"{ENGINE}=active needs Numba, which cannot be imported here. Run pip install numba, or "
            f"unset {ENGINE}; python -c 'import numba' says what is wrong."
        )
    return "masked" if version is None else f"active {_VERSION} (numba {version})"


def chain_to_train(
    model: nn.Module, state: TrainingState, task: TrainingTask, pattern: SparsityPattern | None, *, has_momentum: bool
) -> Chain | str:
    """The chain that the active engine trains, or why the masked engine trains this.

    ``has_momentum`` says that the moving average of dense gradients is to be kept.
    """
    if pattern is None or pattern.density * torch.get_num_threads() > MOST_DENSE:
        return f"the share of active weights, times threads, is more than {MOST_DENSE:g}"
    if engine_name() == "masked":
        return "the active engine is not installed, or was turned off"
    reason = _unserved(task.recipe, has_momentum=has_momentum)
    if reason is None and any(parameter.device.type != "cpu" for parameter in model.parameters()):
        reason = "the model is not on the CPU"
    if reason is None and any(not name.endswith("weight") for name in pattern.masks):
        reason = "the pattern masks something else than weights"
    chain = reason or read_chain(model)
    if isinstance(chain, str):
        return chain
    if not has_shape(task.features, chain):
        return "the model reads features of more than one dimension"
    parameters = {name for name, _ in model.named_parameters()}
    covered = {key.rpartition("/")[0] for key in state.optimizer}
    if covered and covered != parameters:
        return "the optimizer's state is of other parameters"
    return chain


def trains_active(model: nn.Module, state: TrainingState, task: TrainingTask, pattern: SparsityPattern | None) -> bool:
    """Whether `train` takes the active engine for this training."""
    return not isinstance(chain_to_train(model, state, task, pattern, has_momentum=False), str)


def _unserved(recipe: Recipe, *, has_momentum: bool) -> str | None:
    """What of the training the active engine does not do, or None."""
    reasons: dict[str, bool] = {
        "the objective has an opponent, which reads inside the model": recipe.objective.has_opponent,
        "a grow rule reads the dense gradients' moving average": has_momentum,
        "weights are averaged": bool(recipe.average),
        "training is in mixed precision": recipe.amp != "none",
        "batches are cut into parts": recipe.micro_batches > 1 or current_ranks().count > 1,
        "the model is compiled": recipe.compiled,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


@functools.cache
def _numba_version() -> str | None:
    """The version of Numba that works here, or None."""
    try:
        import numba
    except Exception:  # not installed, not for this NumPy, or hidden behind a file of the user's (coverage.py)
        return None
    return str(numba.__version__)
