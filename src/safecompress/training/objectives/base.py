"""What a training step minimises: the batch it sees, its objective, and the adversary that it may train against."""

# B rows of a batch, C classes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from safecompress.errors import UsageError

Need = Literal["teacher", "reference"]
"""What a course must bring: a teacher's logits of its rows, or reference rows that nobody's privacy hangs on."""


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
    """What an opponent is told of the training that it plays against: rows (N, ...), their order and its length."""

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
        """What all draws hang on."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        ...

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        ...


class Teachers(Protocol):
    """Trains the models that an objective distills from, on the rows of the training (N of them)."""

    @property
    def num_rows(self) -> int:
        """N."""
        ...

    @property
    def seed(self) -> int:
        """What all draws hang on."""
        ...

    def dense_logits(self) -> Tensor:
        """Logits (N, C) of the dense model."""
        ...

    def logits_without(self, is_out_N: Tensor, name: str) -> Tensor:
        """Logits (N, C) of a model trained without the rows marked in ``is_out_N``."""
        ...


class Adversary(Protocol):
    """What trains beside the model, against it; its state goes into the TrainingState."""

    def advance(self, step: int) -> None:
        """Take the opponent's own steps, if any are due before the model's step with this index."""
        ...

    def penalty(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """What is added to the model's loss, a scalar; called right after the model's forward pass on ``batch``."""
        ...

    def capture(self) -> dict[str, Tensor]:
        """All of its state, by name, on the CPU."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `capture` gave; nothing to be done for an empty mapping."""
        ...

    def detach(self) -> None:
        """Take its hooks off the model."""
        ...


class Objective(Protocol):
    """A frozen value that turns logits into the loss of a batch.

    ``needs`` says what the course must bring, ``has_opponent`` whether it trains against one, ``is_mean`` whether the
    loss of a batch is the mean of its rows' losses, so that a batch may be computed in parts. Whatever is drawn by lot
    comes from PyTorch's global generator, which the training loop seeds in every step.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    has_opponent: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar: finite for finite logits."""
        ...

    def mix(self, batch: Batch) -> Batch:
        """The batch as the model shall see it; most objectives leave it as it is."""
        return batch

    def teacher_logits(self, school: Teachers) -> Tensor:
        """The teacher's logits (N, C) of the training's rows; asked of objectives that need a teacher only."""
        raise UsageError(f"{self!r} learns from no teacher.")

    @property
    def teacher_key(self) -> str:
        """Names the teacher: objectives of one search share theirs, so those that need one must agree."""
        return ""

    def opponent(self, model: nn.Module, course: TrainingRows) -> Adversary | None:
        """The adversary of a training of ``model`` on ``course``, or None."""
        return None


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross entropy of the labels, the mean over the batch."""

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar."""
        return cross_entropy(logits_BC, batch.labels_B)
