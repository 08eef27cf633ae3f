"""A Recipe: all that defines how a model is trained, so that the same one trains target, candidate and shadow."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from safecompress.errors import UsageError, suggest
from safecompress.training.amp import AmpName
from safecompress.training.augment import AUGMENTATIONS, Augmentation
from safecompress.training.objectives.base import CrossEntropy, Objective
from safecompress.training.rates import DecayName, rate_share

OptimizerName = Literal["sgd", "adam", "adamw"]

LATER = ("warmup", "clip_norm", "micro_batches", "amp", "average", "compiled", "augment")
"""Fields that came after the first digests were taken: where they keep their defaults no identity mentions them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Optimizer, learning rate over time, batch size, length of training, and the objective that it minimises.

    ``epochs`` is how often every row is seen, and ``batch_size`` how many rows a step takes. ``optimizer`` is ``sgd``,
    ``adam`` or ``adamw``; ``learning_rate`` is its highest rate, ``momentum`` the share of its last direction that it
    keeps (with ``nesterov``, for SGD, it looks ahead), and ``weight_decay`` pulls weights to zero. ``objective`` is
    what is minimised: cross entropy, or a defence.

    ``decay`` is ``step`` (times ``decay_factor`` at each of ``milestones``, as shares of training), ``cosine`` or
    ``linear`` (to zero) or ``constant``; before it the rate rises through the share ``warmup`` of training. The default
    is the papers' recipe (SGD with Nesterov momentum 0.9, rate 0.1, weight decay 5e-4, divided by ten at one half and
    three quarters, batch 128), shortened from 300 to 60 epochs. Adam and AdamW run fused and use ``momentum`` as their
    first beta.

    ``augment`` lists augmentations of images, as objects, names or tables (``"flip"``, ``{"name": "crop", "padding":
    4}``), which only training sees. A ``clip_norm`` above 0 bounds the gradient's length (see `take_step`).
    ``micro_batches`` computes a batch in so many parts, one after another, for memory's sake (see `GradientComputer`).
    ``amp`` is the precision of forward and backward passes (see `Amp`); testing stays in float32. An ``average`` above
    0, such as 0.999, tests and ships the weights' moving average, which keeps so much of itself in a step (see
    `WeightAverage`). ``compiled`` trains through ``torch.compile``, whose results differ in rounding.

    Raises UsageError for values that cannot train anything.
    """

    epochs: int = 60
    batch_size: int = 128
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay: DecayName = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay_factor: float = 0.1
    objective: Objective = field(default_factory=CrossEntropy)
    warmup: float = 0.0
    clip_norm: float = 0.0
    micro_batches: int = 1
    amp: AmpName = "none"
    average: float = 0.0
    compiled: bool = False
    augment: Sequence[Augmentation | str | Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.augment, str | Mapping):
            raise UsageError(f"augment takes a list of augmentations, got {self.augment!r}. Write [{self.augment!r}].")
        object.__setattr__(self, "augment", tuple(map(AUGMENTATIONS.make, self.augment)))
        faults = [
            *_unknown("optimizer", self.optimizer, get_args(OptimizerName)),
            *_unknown("decay", self.decay, get_args(DecayName)),
            *_fractional("epochs", self.epochs),
            *_fractional("batch_size", self.batch_size),
            *_outside("epochs", self.epochs, 1, math.inf),
            *_outside("batch_size", self.batch_size, 1, math.inf),
            *_outside("learning_rate", self.learning_rate, 1e-12, math.inf),
            *_outside("momentum", self.momentum, 0, 0.9999),
            *_outside("weight_decay", self.weight_decay, 0, math.inf),
            *_outside("decay_factor", self.decay_factor, 0, 1),
            *_outside("warmup", self.warmup, 0, 1),
            *_outside("clip_norm", self.clip_norm, 0, math.inf),
            *_fractional("micro_batches", self.micro_batches),
            *_outside("micro_batches", self.micro_batches, 1, math.inf),
            *_unknown("amp", self.amp, get_args(AmpName)),
            *_outside("average", self.average, 0, 0.999999),
            *(fault for share in self.milestones for fault in _outside("each of milestones", share, 0, 1)),
        ]
        if self.micro_batches != 1 and not getattr(self.objective, "is_mean", True):
            faults.append(
                f"micro_batches must be 1 with {self.objective!r}, whose loss is no mean over rows, "
                f"got {self.micro_batches!r}"
            )
        if self.compiled and self.objective.has_opponent:
            faults.append(f"compiled must be false with {self.objective!r}, whose adversaries read inside the model")
        if faults:
            raise UsageError("The recipe cannot train anything: " + "; ".join(faults) + ".")

    def steps_per_epoch(self, num_rows: int) -> int:
        """Batches that cover ``num_rows`` once; they differ in size by at most one row."""
        return math.ceil(num_rows / self.batch_size)

    def total_steps(self, num_rows: int) -> int:
        """Optimizer steps of a whole training on ``num_rows`` rows."""
        return self.epochs * self.steps_per_epoch(num_rows)

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of the step with this index, counted from 0."""
        return self.learning_rate * rate_share(
            step,
            total_steps,
            decay=self.decay,
            milestones=self.milestones,
            factor=self.decay_factor,
            warmup=self.warmup,
        )

    def make_optimizer(self, parameters: Iterable[Tensor]) -> Optimizer:
        """A fresh optimizer over ``parameters``."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=self.learning_rate,
                momentum=self.momentum,
                nesterov=self.nesterov and self.momentum > 0,
                weight_decay=self.weight_decay,
                foreach=True,
            )
        family = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return family(
            parameters,
            lr=self.learning_rate,
            betas=(self.momentum, 0.999),
            weight_decay=self.weight_decay,
            fused=True,
        )

    @property
    def augmentations(self) -> tuple[Augmentation, ...]:
        """Those of ``augment``, made."""
        return cast(tuple[Augmentation, ...], self.augment)

    @property
    def is_stackable(self) -> bool:
        """Whether `train_many` may follow it: nothing in it looks at one model's gradients, weights or graph alone."""
        has_own = self.clip_norm or self.average or self.compiled or self.micro_batches > 1 or self.amp != "none"
        return not (has_own or self.objective.has_opponent)

    def identity_fields(self) -> dict[str, Any]:
        """The fields that tell this recipe from others: all but `LATER` ones that keep their defaults."""
        defaults = {one.name: one.default for one in fields(self)}
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if name not in LATER or value != defaults[name]}

    def __repr__(self) -> str:
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self.identity_fields().items())})"

    def to_json(self) -> dict[str, Any]:
        """The `identity_fields` as JSON, objects by their ``repr``."""
        values = self.identity_fields()
        strategies: dict[str, Any] = {"objective": repr(values.pop("objective"))}
        if "augment" in values:
            strategies["augment"] = list(map(repr, values.pop("augment")))
        return {**values, **strategies}

    def digest(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def _outside(name: str, value: float, low: float, high: float) -> list[str]:
    """A one-item list with the fault when ``value`` is not finite or not within [low, high], else an empty one."""
    is_inside = math.isfinite(value) and low <= value <= high
    return [] if is_inside else [f"{name} must lie in [{low:g}, {high:g}], got {value!r}"]


def _fractional(name: str, value: float) -> list[str]:
    return [] if isinstance(value, int) else [f"{name} must be a whole number, got {value!r}"]


def _unknown(name: str, word: str, allowed: Iterable[str]) -> list[str]:
    return [] if word in allowed else [f"{name} {word!r} is unknown ({suggest(word, allowed).rstrip('.')})"]
