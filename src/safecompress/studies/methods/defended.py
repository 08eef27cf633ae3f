"""Defence without compression: the big model trained towards an objective that is meant to leak less."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from safecompress.errors import UsageError
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult
from safecompress.training import OBJECTIVES, Objective
from safecompress.training.objectives.relax import RelaxLoss
from safecompress.training.objectives.soft_labels import HighEntropyLabels


@dataclass(frozen=True)
class Defended(Method):
    """The big model trained to the end towards ``objective``, which needs nothing but the rows."""

    objective: Objective

    source: ClassVar[str] = "the objective's own"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", OBJECTIVES.make(self.objective))
        if self.objective.needs or self.objective.has_opponent:
            raise UsageError(
                f"{type(self).__name__} trains on nothing but the member rows, and {self.objective!r} needs more. "
                "Methods for it have names of their own: kd, dmp, pr_advreg, kd_advreg."
            )

    def make(self, inputs: MethodInputs) -> MethodResult:
        """The dense model."""
        recipe = replace(inputs.recipe, objective=self.objective)
        return MethodResult(inputs.model, inputs.cache.train(inputs.fresh(), inputs.training_task(recipe)))

    def is_dense(self) -> bool:
        """It is."""
        return True


@dataclass(frozen=True)
class DenseRelaxLoss(Defended):
    """The big model whose training loss is held at a target."""

    objective: Objective = field(default_factory=RelaxLoss)

    source: ClassVar[str] = "Chen, Yu & Fritz 2022, ICLR (RelaxLoss). Unconfirmed: the target for these data."


@dataclass(frozen=True)
class DenseHamp(Defended):
    """The big model trained towards labels of high entropy."""

    objective: Objective = field(default_factory=HighEntropyLabels)

    source: ClassVar[str] = (
        "Chen & Pattabiraman 2024, NDSS (HAMP), its training half: what it does to outputs is left out. Unconfirmed: "
        "the entropy for these data."
    )
