"""Selectors: which candidate is kept. A selector sees measurements only, and gives its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from safecompress.compression.search.candidate import Evaluation
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.progress import KEEP
from safecompress.registry import Registry


@dataclass(frozen=True)
class Selection:
    """The index of the selected candidate, and for each candidate a few words on why it won or lost."""

    index: int
    reasons: tuple[str, ...]


class Selector(Protocol):
    """Chooses one of several evaluations. Candidates with a broken attack are never chosen."""

    def __call__(self, evaluations: Sequence[Evaluation], *, generator: np.random.Generator) -> Selection:
        """The selection. Raises AttackError when no candidate has numbers."""
        ...


@dataclass(frozen=True)
class TmScore:
    """The largest TM-score = TaskAcc^power / max(0.5, worst MIAAcc); equal scores go to ``keep``, then to the first.

    Source: Zhu, Wang, Han 2022. Differs from the paper: the divisor is never under 0.5, so that an attack worse than
    guessing earns nothing.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not self.power >= 0:
            raise UsageError(f"The TM-score's power must be at least 0, got {self.power}.")

    def __call__(self, evaluations: Sequence[Evaluation], *, generator: np.random.Generator) -> Selection:
        """The highest score."""
        scores = [e.tm_score(self.power) if not e.errors else -np.inf for e in evaluations]
        return _select_highest(evaluations, scores, "TM-score")


@dataclass(frozen=True)
class RandomChoice:
    """A random candidate: the control that shows what choosing is worth."""

    def __call__(self, evaluations: Sequence[Evaluation], *, generator: np.random.Generator) -> Selection:
        """A uniform draw among the candidates with numbers."""
        usable = [index for index, evaluation in enumerate(evaluations) if not evaluation.errors]
        if not usable:
            raise _all_broken(evaluations)
        drawn = usable[int(generator.integers(len(usable)))]
        return Selection(drawn, tuple("drawn by lot" if i == drawn else "not drawn" for i in range(len(evaluations))))


@dataclass(frozen=True)
class SafestAbove:
    """The lowest worst-attack AUC among candidates with at least ``accuracy``; when none has it, the most accurate."""

    accuracy: float

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise UsageError(f"safest_above: accuracy must lie in [0, 1], got {self.accuracy}.")

    def __call__(self, evaluations: Sequence[Evaluation], *, generator: np.random.Generator) -> Selection:
        """The safest that is accurate enough."""
        usable = [evaluation for evaluation in evaluations if not evaluation.errors]
        if not any(evaluation.accuracy >= self.accuracy for evaluation in usable):
            accuracies = [e.accuracy if not e.errors else -np.inf for e in evaluations]
            return _select_highest(evaluations, accuracies, f"none has accuracy {self.accuracy:g}; accuracy")
        safety = [-e.worst_leak if not e.errors and e.accuracy >= self.accuracy else -np.inf for e in evaluations]
        return _select_highest(evaluations, safety, "minus worst AUC")


@dataclass(frozen=True)
class ParetoKnee:
    """The knee of the front (accuracy up, worst AUC down): farthest above the line between the front's two ends."""

    def __call__(self, evaluations: Sequence[Evaluation], *, generator: np.random.Generator) -> Selection:
        """The candidate at the knee."""
        if all(evaluation.errors for evaluation in evaluations):
            raise _all_broken(evaluations)
        points = np.array([(e.accuracy, -e.worst_leak) if not e.errors else (-np.inf, -np.inf) for e in evaluations])
        on_front = [
            not any((other >= point).all() and (other > point).any() for other in points) and np.isfinite(point).all()
            for point in points
        ]
        front = points[on_front]
        low, span = front.min(axis=0), np.ptp(front, axis=0)
        span = np.where(span > 0, span, 1.0)
        heights = [
            float(((point - low) / span).sum()) if front_point else -np.inf
            for point, front_point in zip(points, on_front, strict=True)
        ]
        return _select_highest(evaluations, heights, "height over the front's line")


SELECTORS: Registry[Selector] = Registry(
    "selector",
    "safecompress.selectors",
    {"tm_score": TmScore, "random": RandomChoice, "safest_above": SafestAbove, "pareto_knee": ParetoKnee},
)


def finalists(
    evaluations: Sequence[Evaluation], selector: Selector, count: int, *, generator: np.random.Generator
) -> list[int]:
    """Indices, in order, of the ``count`` that ``selector`` likes best, and of ``keep``, the control they are held to.

    Raises AttackError when no candidate has numbers.
    """
    left = list(range(len(evaluations)))
    best: list[int] = []
    while left and len(best) < count and any(not evaluations[index].errors for index in left):
        chosen = selector([evaluations[index] for index in left], generator=generator).index
        best.append(left.pop(chosen))
    if not best:
        raise _all_broken(evaluations)
    kept = [index for index in left if evaluations[index].branch == KEEP and not evaluations[index].errors]
    return sorted([*best, *kept])


def choose_among(
    indices: Sequence[int], evaluations: Sequence[Evaluation], selector: Selector, *, generator: np.random.Generator
) -> Selection:
    """The selector's selection among the finalists at ``indices``; the others were out before."""
    selection = selector([evaluations[index] for index in indices], generator=generator)
    reasons = dict(zip(indices, selection.reasons, strict=True))
    out = [
        "out: broken attack " + ", ".join(evaluation.errors) if evaluation.errors else "out: no finalist"
        for evaluation in evaluations
    ]
    return Selection(
        indices[selection.index], tuple(reasons.get(index, out[index]) for index in range(len(evaluations)))
    )


def compare_to_keep(evaluations: Sequence[Evaluation], selection: Selection) -> dict[str, stats.PairedDifference]:
    """For each attack its headline figure on the chosen candidate minus that on ``keep``, paired by row.

    Empty when ``keep`` was chosen or was not among the candidates.
    """
    keep = next((e for e in evaluations if e.branch == KEEP), None)
    chosen = evaluations[selection.index]
    if keep is None or keep is chosen:
        return {}
    by_attack = {result.attack: result for result in keep.results}
    pairs = [(result, by_attack[result.attack]) for result in chosen.results if result.attack in by_attack]
    return {
        a.attack: a.question.difference(a.evidence, b.evidence, 0.05)
        for a, b in pairs
        if a.evidence is not None and b.evidence is not None
    }


def _select_highest(evaluations: Sequence[Evaluation], figures: Sequence[float], what: str) -> Selection:
    """The highest score; ties go to ``keep``, then to the first."""
    best = max(figures)
    if best == -np.inf:
        raise _all_broken(evaluations)
    tied = [index for index, score in enumerate(figures) if score == best]
    winner = next((index for index in tied if evaluations[index].branch == KEEP), tied[0])
    reasons = []
    for index, (evaluation, score) in enumerate(zip(evaluations, figures, strict=True)):
        if index == winner:
            reasons.append(f"won: {what} {score:.4f}" + (f", tied by {len(tied) - 1}" if len(tied) > 1 else ""))
        elif evaluation.errors:
            reasons.append("out: broken attack " + ", ".join(evaluation.errors))
        elif score == -np.inf:
            reasons.append(f"out: not eligible ({what})")
        else:
            reasons.append(f"lost: {what} {score:.4f}, {best - score:.4f} behind")
    return Selection(winner, tuple(reasons))


def _all_broken(evaluations: Sequence[Evaluation]) -> AttackError:
    reasons = "; ".join(sorted({f"{name}: {why}" for e in evaluations for name, why in e.errors.items()}))
    return AttackError(f"No candidate of this round could be tested, so none can be chosen. {reasons}")
