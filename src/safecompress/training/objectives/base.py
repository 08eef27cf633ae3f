"""What a training step minimises: the batch it sees, its objective, and the adversary that it may train against."""

# B rows of a batch, C classes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from safecompress.errors import UsageError

Need = Literal["teacher", "reference", "folds"]
"""What a task must bring: a teacher's logits of its rows, reference rows that are nobody's members, or, to make the
teacher, sparse sub-models that each miss some rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows of one step: features (B, ...), labels (B,), and where training stands.

    ``teacher_BC`` are a teacher's logits of the rows, or None. ``partner_B`` are the labels of the rows that were mixed
    in, with ``share`` of the first (see Mixup), or None. ``progress`` lies in [0, 1), ``epoch`` counts from 0.
    """

    features: Tensor = field(repr=False)
    labels_B: Tensor = field(repr=False)
    epoch: int = 0
    progress: float = 0.0
    teacher_BC: Tensor | None = field(default=None, repr=False)
    partner_B: Tensor | None = field(default=None, repr=False)
    share: float = 1.0


class TrainingRows(Protocol):
    """What an adversary knows of the training that it plays against: rows (N, ...), their seed and its length."""

    @property
    def features(self) -> Tensor:
        """The members' features."""
        ...

    @property
    def labels(self) -> Tensor:
        """Their labels (N,)."""
        ...

    @property
    def reference(self) -> tuple[Tensor, Tensor] | None:
        """Features and labels of rows that are nobody's members, where there are any."""
        ...

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        ...

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        ...


class SubModelOptions(Protocol):
    """What an objective asks of sparse sub-models."""

    @property
    def rewiring(self) -> str:
        """The name of their drop and grow rule."""
        ...

    @property
    def epochs(self) -> int | None:
        """The length of their training; None for the recipe's."""
        ...

    @property
    def density(self) -> float | None:
        """The density of each; None for that of the model that they teach."""
        ...


class Teachers(Protocol):
    """Trains the models that an objective distills from, on the rows of the training (N of them)."""

    @property
    def num_rows(self) -> int:
        """N."""
        ...

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        ...

    @property
    def labels(self) -> Tensor:
        """The labels (N,) of the rows."""
        ...

    @property
    def units(self) -> NDArray[np.int64] | None:
        """The unit (N,) of each row, where rows belong together; None where each is its own."""
        ...

    def dense_logits(self) -> Tensor:
        """Logits (N, C) of the dense model."""
        ...

    def logits_without(self, is_out_N: Tensor, name: str) -> Tensor:
        """Logits (N, C) of a dense model trained without the rows marked in ``is_out_N``."""
        ...

    def sub_model_logits(self, is_out_KN: Tensor, wanted: SubModelOptions) -> Sequence[Tensor]:
        """Logits (N, C) of K sparse models, each trained without its marked rows."""
        ...


class Adversary(Protocol):
    """What trains beside the model, against it; its state goes into the TrainingState."""

    def advance(self, step: int) -> None:
        """Take the adversary's own steps, if any are due before the model's step with this index."""
        ...

    def penalty(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """What is added to the model's loss, a scalar; called right after the model's forward pass on ``batch``."""
        ...

    def capture(self) -> dict[str, Tensor]:
        """All of its state, by name, on the CPU."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state returned by `capture`. An empty mapping is a no-op."""
        ...

    def detach(self) -> None:
        """Remove the hooks from the model."""
        ...


class Objective(Protocol):
    """A frozen value that turns logits into the loss of a batch.

    ``needs`` says what the task must bring, ``has_opponent`` whether `opponent` gives an `Adversary` to train against,
    ``is_mean`` whether the loss of a batch is the mean of its rows' losses, so that a batch may be computed in parts.
    Random numbers come from PyTorch's global generator, which the training loop seeds in every step.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    has_opponent: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar: finite for finite logits."""
        ...

    def mix(self, batch: Batch) -> Batch:
        """The batch that the model is given; most objectives leave it as it is."""
        return batch

    def teacher_logits(self, teachers: Teachers) -> Tensor:
        """The teacher's logits (N, C) for the training's rows; called only for objectives that need a teacher."""
        raise UsageError(f"{self!r} learns from no teacher.")

    @property
    def teacher_key(self) -> str:
        """Names the teacher: objectives of one search share theirs, so those that need one must agree."""
        return ""

    def check_rows(self, labels: Tensor, units: NDArray[np.int64] | None) -> None:
        """Raise DataError when it cannot learn from rows with ``labels`` (N,); rows of one unit belong together."""
        return

    def opponent(self, model: nn.Module, task: TrainingRows) -> Adversary | None:
        """The adversary that ``model`` trains against on ``task``; None unless ``has_opponent``."""
        return None


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross entropy of the labels, the mean over the batch."""

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar."""
        return cross_entropy(logits_BC, batch.labels_B)
