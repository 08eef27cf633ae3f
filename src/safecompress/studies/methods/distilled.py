"""Distillation: a teacher's soft labels train another network, on the members or, for privacy's sake, elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from safecompress.sparsity import ALLOCATIONS
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, Use
from safecompress.studies.methods.pruning import pruned
from safecompress.studies.methods.reference import require_reference, taught_on_reference
from safecompress.studies.methods.small import describe, small
from safecompress.training.objectives.distill import Distillation

_DMP = (
    "Shejwalkar & Houmansadr 2021, AAAI (DMP). Unconfirmed, for no text of it was at hand: its temperature, how it "
    "chooses reference rows (ours takes all of the population), and whether it chooses an epoch."
)


@dataclass(frozen=True)
class Distilled(Method):
    """The dense model teaches a small dense network on the member rows; labels count for 1 - ``weight``."""

    temperature: float = 4.0
    weight: float = 0.9

    source: ClassVar[str] = (
        "Hinton, Vinyals & Dean 2015. Differs: the student is the same network with narrower layers. Unconfirmed: "
        "temperature and weight."
    )

    def __post_init__(self) -> None:
        Distillation(self.temperature, self.weight)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The small network; a note gives its size."""
        model = small(setting)
        teacher = setting.dense()
        recipe = replace(setting.recipe, objective=Distillation(self.temperature, self.weight))
        course = setting.course(recipe, teacher=setting.logits(teacher, setting.split.part("train")[0]))
        weights = setting.workshop.train(setting.fresh("student", model_spec=model), course)
        return MethodResult(model, weights, notes=(describe(setting, model),))


@dataclass(frozen=True)
class Dmp(Method):
    """The dense model teaches a fresh network of its own kind on reference rows, by soft labels alone.

    No member reaches the student but through the teacher's soft labels of other rows.
    """

    temperature: float = 1.0

    source: ClassVar[str] = _DMP
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows"})

    def __post_init__(self) -> None:
        Distillation(self.temperature)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The dense student. Raises UsageError without reference rows."""
        require_reference(setting, self)
        course = taught_on_reference(setting, setting.dense(), self.temperature)
        return MethodResult(setting.model, setting.workshop.train(setting.fresh("student"), course))

    def is_dense(self) -> bool:
        """It is."""
        return True


@dataclass(frozen=True)
class PrunedDmp(Method):
    """The dense DMP student cut by magnitude at once, then fine-tuned for one whole training, as it was taught."""

    temperature: float = 1.0
    allocation: str = "erk"

    source: ClassVar[str] = f"{_DMP} Pruned as Han et al. 2015, NeurIPS."
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows"})

    def __post_init__(self) -> None:
        Distillation(self.temperature)
        ALLOCATIONS.make(self.allocation)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The pruned student. Raises UsageError without reference rows."""
        require_reference(setting, self)
        course = taught_on_reference(setting, setting.dense(), self.temperature)
        student = setting.workshop.train(setting.fresh("student"), course)
        return pruned(setting, student, course, self.allocation)


@dataclass(frozen=True)
class SmallDmp(Method):
    """The dense model teaches a small dense network on reference rows, by soft labels alone."""

    temperature: float = 1.0

    source: ClassVar[str] = f"{_DMP} The student is the same network with narrower layers."
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows"})

    def __post_init__(self) -> None:
        Distillation(self.temperature)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The small network; a note gives its size. Raises UsageError without reference rows."""
        require_reference(setting, self)
        model = small(setting)
        course = taught_on_reference(setting, setting.dense(), self.temperature)
        weights = setting.workshop.train(setting.fresh("student", model_spec=model), course)
        return MethodResult(model, weights, notes=(describe(setting, model),))
