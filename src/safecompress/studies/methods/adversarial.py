"""Adversarial regularisation in both stages of a compression: while the dense model trains, and while it is pruned or
distilled."""

# B rows of a batch, C classes.

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from safecompress.sparsity import ALLOCATIONS
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, Use
from safecompress.studies.methods.pruning import pruned
from safecompress.studies.methods.reference import require_reference
from safecompress.studies.methods.small import describe, small
from safecompress.training import Batch, Objective, TrainingTask
from safecompress.training.objectives.adversarial import AdversarialRegularisation
from safecompress.training.objectives.base import Need
from safecompress.training.objectives.distill import Distillation

_SOURCE = (
    "Nasr, Shokri & Houmansadr 2018, CCS (AdvReg). Differs: the bounded form of the penalty, so that members are not "
    "pushed past others. Unconfirmed: how it was joined with compression, in both stages here, and the weight."
)


@dataclass(frozen=True)
class DistilledAdvReg(AdversarialRegularisation):
    """The game of AdversarialRegularisation with a ``taught`` loss, a Distillation, in the place of cross entropy."""

    taught: Distillation = field(default_factory=Distillation, kw_only=True)

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "reference"})

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The loss of the lesson, a scalar; the adversaries' part is the opponent's penalty."""
        return self.taught(logits_BC, batch)


@dataclass(frozen=True)
class PrunedAdversarially(Method):
    """The dense model trained against a black-box adversary, cut at once, fine-tuned for one whole training alike.

    ``weight`` is the penalty's; ``start`` the share of each of the two trainings after which the game begins.
    """

    weight: float = 1.0
    start: float = 0.0
    allocation: str = "erk"

    source: ClassVar[str] = f"{_SOURCE} Pruned as Han et al. 2015, NeurIPS."
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows"})

    def __post_init__(self) -> None:
        AdversarialRegularisation(weight=self.weight, start=self.start)
        ALLOCATIONS.make(self.allocation)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The pruned model. Raises UsageError without reference rows."""
        require_reference(setting, self)
        course = _course(setting, AdversarialRegularisation(weight=self.weight, start=self.start))
        dense = setting.workshop.train(setting.fresh(), course)
        return pruned(setting, dense, course, self.allocation)


@dataclass(frozen=True)
class DistilledAdversarially(Method):
    """The dense model trained against a black-box adversary teaches a small dense network on the member rows, which
    plays the game, too.

    ``weight`` is the penalty's; ``start`` the share of each of the two trainings after which the game begins.
    """

    weight: float = 1.0
    start: float = 0.0
    temperature: float = 4.0

    source: ClassVar[str] = f"{_SOURCE} Distilled as Hinton, Vinyals & Dean 2015."
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows"})

    def __post_init__(self) -> None:
        AdversarialRegularisation(weight=self.weight, start=self.start)
        Distillation(self.temperature)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The small network; a note gives its size. Raises UsageError without reference rows."""
        require_reference(setting, self)
        model = small(setting)
        course = _course(setting, AdversarialRegularisation(weight=self.weight, start=self.start))
        teacher = setting.workshop.train(setting.fresh(), course)
        game = DistilledAdvReg(weight=self.weight, start=self.start, taught=Distillation(self.temperature))
        lesson = _course(setting, game, teacher=setting.logits(teacher, course.features))
        weights = setting.workshop.train(setting.fresh("student", model_spec=model), lesson)
        return MethodResult(model, weights, notes=(describe(setting, model),))


def _course(setting: MethodInputs, objective: Objective, teacher: Tensor | None = None) -> TrainingTask:
    recipe = replace(setting.recipe, objective=objective)
    return setting.course(recipe, teacher=teacher, reference=setting.reference)
