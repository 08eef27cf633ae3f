"""Which arm ships: what each would be held to, who is dropped, who comes to the strong tests, who is chosen and why.

Values in, a choice out; nothing is trained or attacked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from safecompress.compression.search import Evaluation, Selector
from safecompress.compression.search.arm import Arm
from safecompress.errors import AttackError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import ACCURACY, AUC, parse_name
from safecompress.metrics.measurement import Direction, Levels
from safecompress.metrics.stats.pareto import pareto_front
from safecompress.spec import Requirement, SafetySpec

ALPHA = 0.05
"""Of the paired intervals by which an arm is dropped."""


@dataclass(frozen=True)
class ExpectedFigure:
    """What the verdict's figure should be: the mean over repeats, and the limit that the verdict would hold to.

    ``limit`` is the mean of the upper limits that each repeat alone would have (at the verdict's level, on as many rows
    as there are for choosing), and as much more as the mean may err by (Student's t over repeats).
    """

    value: float
    limit: float


@dataclass(frozen=True)
class ArmEvidence:
    """By metric of an attack (``auc``, ``tpr@fpr=0.01``), the figures of LiRA among ``num_repeats`` repeats of an arm.

    They are those of the stronger of two attackers: ``signal`` says whether it read the row's label or all classes.
    """

    figures: Mapping[str, ExpectedFigure]
    signal: str
    num_repeats: int


@dataclass(frozen=True)
class Forecast:
    """What one requirement is expected to meet: the figure, the limit that is held against it, and how far over it is.

    ``excess`` is above 0 where the limit breaks the bound.
    """

    requirement: Requirement
    value: float
    limit: float

    @property
    def excess(self) -> float:
        """How far the limit lies beyond the bound."""
        gap = self.limit - self.requirement.bound
        return gap if self.requirement.direction is Direction.LOWER else -gap


class ArmState(StrEnum):
    """How far an arm came."""

    TESTED = "tested"
    DROPPED = "dropped"
    FINALIST = "finalist"
    CHOSEN = "chosen"


@dataclass(frozen=True, eq=False)
class ArmResult:
    """One arm with all that was found of it; ``reason`` says in words what became of it."""

    arm: Arm
    name: str
    evaluation: Evaluation = field(repr=False)
    evidence: ArmEvidence | None = None
    forecasts: tuple[Forecast, ...] = ()
    state: ArmState = ArmState.TESTED
    reason: str = ""
    is_on_front: bool = False

    @property
    def leak(self) -> float:
        """LiRA's AUC among repeats where there is one, else the worst attack's, on the scale of an AUC."""
        if self.evidence is not None:
            return self.evidence.figures[AUC.name].value
        return self.evaluation.worst_leak

    @property
    def excess(self) -> float:
        """How far over its bound the worst requirement is; minus infinity where nothing could be forecast."""
        return max((forecast.excess for forecast in self.forecasts), default=-np.inf)


@dataclass(frozen=True, eq=False)
class DenseFigures:
    """Which validation rows (N,) the dense model classifies right, for requirements within a margin of it."""

    is_right: NDArray[np.bool_] = field(repr=False)


def drop_dominated(arm_results: Sequence[ArmResult]) -> list[ArmResult]:
    """The results, those marked that another arm beats in accuracy and in leak, both beyond paired intervals.

    Arms with a broken attack are marked, too. Raises AttackError when no arm has numbers.
    """
    usable = [one for one in arm_results if not one.evaluation.errors]
    if not usable:
        errors = {f"{name}: {why}" for one in arm_results for name, why in one.evaluation.errors.items()}
        raise AttackError(f"No arm could be tested, so none can be chosen. {'; '.join(sorted(errors))}")
    marked = []
    for one in arm_results:
        reason = None
        if one.evaluation.errors:
            reason = "out: broken attack " + ", ".join(one.evaluation.errors)
        elif better := next((other for other in usable if _is_beaten(one.evaluation, other.evaluation)), None):
            reason = f"dropped: less accurate than {better.name} and leaks more, both beyond chance"
        marked.append(one if reason is None else replace(one, state=ArmState.DROPPED, reason=reason))
    return marked


def name_finalists(
    arm_results: Sequence[ArmResult], count: int, selector: Selector, generator: np.random.Generator
) -> list[int]:
    """Indices, in order, of at most ``count`` arms that were not dropped: the safest, and those ``selector`` likes."""
    left = [index for index, one in enumerate(arm_results) if one.state is not ArmState.DROPPED]
    best = [min(left, key=lambda index: arm_results[index].evaluation.worst_leak)]
    left.remove(best[0])
    while left and len(best) < count:
        chosen = selector([arm_results[index].evaluation for index in left], generator=generator).index
        best.append(left.pop(chosen))
    return sorted(best)


def forecast(
    spec: SafetySpec, levels: Levels, arm_result: ArmResult, dense_figures: DenseFigures | None
) -> tuple[Forecast, ...]:
    """What each requirement is expected to meet, on rows for choosing; those that nothing speaks to are left out.

    A figure of an attack by shadow models is taken from the arm's repeats, by LiRA, whichever such attack it is.
    """
    found = [_forecast_of(one, levels, arm_result, dense_figures) for one in spec.requirements]
    return tuple(one for one in found if one is not None)


def choose_arm(arm_results: Sequence[ArmResult]) -> list[ArmResult]:
    """The results with one finalist chosen: the most accurate that keeps every requirement, ties to the safer.

    Where none keeps them, the one whose worst requirement is the least far over its bound.
    """
    finalists = [index for index, one in enumerate(arm_results) if one.state is ArmState.FINALIST]
    keeping = [index for index in finalists if arm_results[index].excess <= 0]
    if keeping:
        best = max(keeping, key=lambda index: (arm_results[index].evaluation.accuracy, -arm_results[index].leak))
    else:
        best = min(finalists, key=lambda index: (arm_results[index].excess, arm_results[index].leak))
    points = np.array([[arm_results[index].evaluation.accuracy, arm_results[index].leak] for index in finalists])
    front = {finalists[place] for place in pareto_front(points)}
    decided = []
    for index, arm_result in enumerate(arm_results):
        reason, state = arm_result.reason or "no finalist", arm_result.state
        if index in finalists:
            state = ArmState.CHOSEN if index == best else state
            reason = _reason(arm_result, arm_results[best], is_best=index == best, num_keeping=len(keeping))
        decided.append(replace(arm_result, state=state, reason=reason, is_on_front=index in front))
    return decided


def advise(arm_results: Sequence[ArmResult]) -> str | None:
    """Which way to move when no finalist keeps the requirements; None where the chosen one does."""
    chosen = next(one for one in arm_results if one.state is ArmState.CHOSEN)
    if chosen.excess <= 0:
        return None
    worst = max(chosen.forecasts, key=lambda one: one.excess)
    told = f"No arm keeps {worst.requirement}: the nearest, {chosen.name}, has the limit {worst.limit:.3f}"
    told += f", {worst.excess:.3f} over." if worst.requirement.direction is Direction.LOWER else "."
    if worst.requirement.direction is Direction.HIGHER or worst.requirement.metric.startswith(ACCURACY.name):
        return f"{told} For more accuracy: smaller shares, a higher density, more epochs."
    ways = [*(["shares up to 1"] if chosen.arm.share < 1 else []), "longer lengths", "a lower density"]
    return f"{told} To leak less: {', '.join(ways)}."


def _is_beaten(mine: Evaluation, other: Evaluation) -> bool:
    if mine is other or mine.is_right is None or other.is_right is None or mine.worst_leak <= other.worst_leak:
        return False
    lost = stats.accuracy_drop_interval(other.is_right, mine.is_right, ALPHA)
    if lost.interval.low <= 0:
        return False
    theirs = {found.attack: found.evidence for found in other.results if found.evidence is not None}
    gaps = [
        found.question.difference(found.evidence, theirs[found.attack], ALPHA)
        for found in mine.results
        if found.evidence is not None and found.attack in theirs
    ]
    return any(gap.interval.low > 0 for gap in gaps) and not any(gap.interval.high < 0 for gap in gaps)


def _forecast_of(
    requirement: Requirement, levels: Levels, arm_result: ArmResult, dense_figures: DenseFigures | None
) -> Forecast | None:
    name, evaluation = parse_name(requirement.metric), arm_result.evaluation
    if name is None:
        return None
    if name.is_change:
        if name.metric is not ACCURACY or dense_figures is None or evaluation.is_right is None:
            return None
        drop = stats.accuracy_drop_interval(dense_figures.is_right, evaluation.is_right, levels.alpha)
        return Forecast(requirement, drop.value, drop.interval.high)
    measured = evaluation.measurements.get(requirement.metric)
    if measured is not None:
        is_lower = requirement.direction is Direction.LOWER
        return Forecast(requirement, measured.value, measured.interval.high if is_lower else measured.interval.low)
    evidence = arm_result.evidence
    expected = None if evidence is None or name.attack is None else evidence.figures.get(name.metric.name)
    return None if expected is None else Forecast(requirement, expected.value, expected.limit)


def _reason(arm_result: ArmResult, chosen: ArmResult, *, is_best: bool, num_keeping: int) -> str:
    accuracy, leak = arm_result.evaluation.accuracy, arm_result.leak
    figures = f"accuracy {accuracy:.3f}, leak {leak:.3f}"
    broken = [f"{one.requirement} (limit {one.limit:.3f})" for one in arm_result.forecasts if one.excess > 0]
    if is_best and num_keeping:
        return f"chosen: the most accurate of {num_keeping} expected to keep every requirement ({figures})"
    if is_best:
        return (
            f"chosen: the nearest to the requirements, but it is not expected to keep {', '.join(broken)} ({figures})"
        )
    if broken:
        return f"not expected to keep {', '.join(broken)} ({figures})"
    return (
        f"expected to keep every requirement, accuracy {chosen.evaluation.accuracy - accuracy:.3f} behind ({figures})"
    )
