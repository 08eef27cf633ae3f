"""MethodInputs: what every method of a comparison is given, alike for all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from safecompress.attacks.shadows import ShadowDraw, ShadowRows
from safecompress.auditing.shadow_training import shadow_split
from safecompress.data import DataSplit
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import derive_seed, seeded
from safecompress.studies.methods.training_cache import TrainingCache
from safecompress.training import Recipe, TrainingTask, predict_logits


@dataclass(frozen=True, eq=False)
class MethodInputs:
    """Rows as networks read them, the network, how it is trained, the density asked for, and a seed.

    ``recipe`` trains the dense model. A method may read the parts train, validation, population and the pools "fit" and
    "select"; never test and verdict.
    """

    split: DataSplit = field(repr=False)
    task: TaskInfo = field(repr=False)
    model: ModelSpec
    recipe: Recipe
    density: float
    seed: int
    workshop: TrainingCache = field(default_factory=TrainingCache, repr=False)

    def fresh(self, *names: str, model_spec: ModelSpec | None = None) -> nn.Module:
        """The network with fresh weights of this seed; other ``names`` give others."""
        with seeded(self.seed, "model", *names):
            return (model_spec or self.model).build()

    def course(self, recipe: Recipe | None = None, **given: Any) -> TrainingTask:
        """Training on the members by ``recipe`` (default: the setting's); ``given`` are the TrainingTask's other
        fields.
        """
        return TrainingTask(*self.split.part("train"), recipe or self.recipe, self.seed, **given)

    @property
    def reference(self) -> tuple[Tensor, Tensor]:
        """Rows that are nobody's members: the population."""
        return self.split.part("population")

    def dense(self) -> dict[str, Tensor]:
        """The weights of the dense model, trained by plain cross entropy."""
        return self.workshop.train(self.fresh(), self.course())

    def network(self, weights: dict[str, Tensor], model_spec: ModelSpec | None = None) -> nn.Module:
        """The network with ``weights``."""
        network = (model_spec or self.model).build()
        network.load_state_dict(weights)
        return network

    def logits(self, weights: dict[str, Tensor], features: Tensor, model_spec: ModelSpec | None = None) -> Tensor:
        """What the network with ``weights`` says of ``features``: (N, C)."""
        return predict_logits(self.network(weights, model_spec), features)

    def on(self, shadow_pool: ShadowRows, draw: ShadowDraw) -> MethodInputs:
        """The same setting for a shadow: its own rows are the members, in all else it is the target's."""
        seed = derive_seed(shadow_pool.seed, "shadow", draw.number)
        return replace(self, split=shadow_split(self.split, self.task, shadow_pool, draw, seed), seed=seed)
