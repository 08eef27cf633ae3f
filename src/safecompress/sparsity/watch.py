"""Watches that inactive weights stay zero in a loop that is not ours, so that sparse training keeps its promise.

Every weight is checked after the first step of a pattern and whenever somebody wrote into the parameters; after any
other step a sample of one layer, the layers taking turns. What moves inactive weights moves many of them in every
layer, so the sample finds it, and it costs a few microseconds a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import derive

SAMPLE = 256
"""How many inactive weights of a layer are looked at after a step."""

REST = 16
"""On an accelerator one step in so many is looked at: reading the answer waits for the device."""

MASKED_AFTER = ("muon",)
"""Optimizers, by a part of their class's name, that mix the weights of a matrix in each step, and whose state has the
place of its weight: they are right where their weights are masked after the step."""

REFUSED = ("lbfgs", "soap", "shampoo", "kfac", "galore")
"""Optimizers, by a part of their class's name, whose state mixes weights: no rewire could set it right."""

ELEMENTWISE = "SGD, Adam, AdamW, RMSprop, Adagrad, Adafactor, Lion; of those that mix, Muon"


def needs_masking_after(optimizer: Optimizer) -> bool:
    """Whether the weights of ``optimizer`` are masked after each step, too.

    Raises UsageError for one that is known to keep a state in which weights are mixed.
    """
    names = [one.__name__.lower() for one in type(optimizer).__mro__]
    if any(word in name for word in REFUSED for name in names):
        raise UsageError(
            f"{type(optimizer).__name__} cannot train sparsely: its state mixes weights, so inactive ones would come "
            f"back, and none of it could be reset when weights move. Use another optimizer: {ELEMENTWISE}."
        )
    return any(word in name for word in MASKED_AFTER for name in names)


class ZeroWatch:
    """Raises where an inactive weight of ``optimizer`` is not zero, and says who is likely to have written it."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters: dict[str, Tensor] = {}
        self._inactive: dict[str, Tensor] = {}

    def follow(self, parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Watch ``parameters`` by these ``masks`` from now on."""
        self._parameters = dict(parameters)
        self._inactive = {name: ~masks[name].to(parameter.device) for name, parameter in parameters.items()}
        self._samples = [
            (parameter, sample)
            for name, parameter in self._parameters.items()
            if (sample := _sample(name, masks[name], parameter.device)) is not None
        ]
        self._is_new, self._step = True, 0
        self._remember()

    def before_step(self) -> None:
        """Look at parameters that somebody has written into since the last step."""
        if [parameter._version for parameter in self._parameters.values()] != self._versions:
            self._require_zero(
                "Something wrote into the model after sparse training had begun, such as load_state_dict. Load weights "
                "first and make SparseTraining after that; to resume, load the states of the model, of the optimizer "
                "and of SparseTraining, in this order."
            )

    @torch.no_grad()
    def after_step(self) -> None:
        """Look at what the step left: at all of it where the pattern is new, else at a sample."""
        self._remember()
        self._step += 1
        if self._is_new:
            self._is_new = False
            self._blame_optimizer()
        elif self._samples:
            turn = self._step
            if self._samples[0][0].device.type != "cpu":
                turn, rest = divmod(self._step, REST)
                if rest:
                    return
            parameter, sample = self._samples[turn % len(self._samples)]
            if parameter[sample].any():
                self._blame_optimizer()

    def check(self) -> None:
        """Look at every weight."""
        self.before_step()
        self._blame_optimizer()

    def _blame_optimizer(self) -> None:
        self._require_zero(
            f"A step of {type(self._optimizer).__name__} moved them: it mixes weights, adds noise, or has a state that "
            f"was loaded from a dense training. Use one that treats each weight by itself ({ELEMENTWISE}), and load "
            "the optimizer's state before SparseTraining is made."
        )

    @torch.no_grad()
    def _require_zero(self, cause: str) -> None:
        """Raise UsageError with the ``cause`` unless every inactive weight is zero; TrainingError where one is NaN."""
        for name, parameter in self._parameters.items():
            inactive = self._inactive[name]
            moved = int((parameter.ne(0) & inactive).count_nonzero())
            if not moved:
                continue
            if not bool(parameter.isfinite().all()):
                raise TrainingError(f"Training diverged: {name!r} is not finite. Lower the learning rate, or clip.")
            raise UsageError(
                f"{moved} of {int(inactive.count_nonzero())} inactive weights of {name!r} are not zero, so the model "
                f"is not as sparse as its pattern says. {cause}"
            )

    def _remember(self) -> None:
        self._versions = [parameter._version for parameter in self._parameters.values()]


def _sample(name: str, mask: Tensor, device: torch.device) -> tuple[Tensor, ...] | None:
    """Places of some inactive weights, as an index for any layout; None where all are active."""
    flat = np.flatnonzero(~mask.cpu().numpy())
    if not flat.size:
        return None
    taken = derive(0, "watch", name).choice(flat, min(SAMPLE, flat.size), replace=False, shuffle=False)
    return tuple(torch.from_numpy(axis).to(device) for axis in np.unravel_index(taken, tuple(mask.shape)))
