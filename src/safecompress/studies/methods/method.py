"""A Method: one way to a classifier of a given density. It declares what it uses, so that tables compare fairly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks.shadows import ShadowDraw, ShadowRows
from safecompress.digests import digest_json
from safecompress.export import ServedModel
from safecompress.models import ModelSpec
from safecompress.sparsity import SparsityPattern
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.training import engine_name

Use = Literal["reference rows", "differential privacy", "attacks on members"]
"""What a method has beyond the training rows; a table marks it."""


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The network that a method trained: its ``weights``, its ``pattern`` (None: dense), and its spec.

    ``epsilon`` is how much differential privacy was spent; ``notes`` say what a reader of the table must know.
    """

    model: ModelSpec
    weights: Mapping[str, Tensor] = field(repr=False)
    pattern: SparsityPattern | None = field(default=None, repr=False)
    epsilon: float | None = None
    notes: tuple[str, ...] = ()


class Method(Protocol):
    """A frozen value. ``source`` cites, and says what could not be confirmed."""

    source: ClassVar[str]
    uses: ClassVar[frozenset[Use]] = frozenset()

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The classifier, from ``inputs`` alone: equal inputs give the same one, in any process."""
        ...

    def is_dense(self) -> bool:
        """Whether the density asked for plays no part."""
        return False


@dataclass(frozen=True, eq=False)
class MethodShadowTrainer:
    """Trains shadows by the whole method, each on its own rows. ``model`` is the spec of what the method makes."""

    method: Method
    inputs: MethodInputs
    model: ModelSpec
    mode: str = field(default="full pipeline", init=False)
    group_size: int = field(default=1, init=False)

    def digest(self) -> str:
        """Over everything that the weights of a shadow depend on, beside its rows."""
        inputs = self.inputs
        shared = [*inputs.split.part("validation"), *inputs.split.part("population")]
        rows = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in shared)).hexdigest()
        sizes = {part: len(indices) for part, indices in inputs.split.indices.items()}
        facts = [repr(self.method), repr(inputs.model), inputs.recipe.to_json(), inputs.density, sizes, rows]
        numerics = [__version__, torch.__version__, torch.get_num_threads(), engine_name()]
        return digest_json([self.mode, *facts, *numerics])

    def build(self) -> nn.Module:
        """The network behind its input transform."""
        return ServedModel(self.model.build(), self.inputs.task)

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow, by their names in the served model."""
        results = [self.method.make(self.inputs.on(shadow_pool, draw)) for draw in draws]
        return [{f"network.{name}": tensor for name, tensor in result.weights.items()} for result in results]
