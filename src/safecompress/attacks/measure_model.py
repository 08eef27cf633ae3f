"""Attacks one model: fits attackers on the fitting pool, tests the model on other rows, and collects every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks.base import Attack, Attacker, AttackResult, FailedAttacker, simulate_attacker
from safecompress.attacks.capabilities import capabilities_of
from safecompress.attacks.questions import Pool
from safecompress.attacks.target import Target
from safecompress.data import AuditData, DataSplit
from safecompress.metrics.catalogue import tm_score_of
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.training import classified_right, measure_accuracy

Attackers = tuple[Attacker | FailedAttacker, ...]
Stream = Callable[[Attack], np.random.Generator]
"""The random numbers that an attack is fitted with."""


@dataclass(frozen=True, eq=False)
class ModelFigures:
    """What was measured of one model: its accuracy and every attack's figures.

    ``is_right`` (N,) says which rows of the accuracy's part were classified right.
    """

    is_right: NDArray[np.bool_] = field(repr=False)
    accuracy: Measurement
    results: tuple[AttackResult, ...]
    attackers: Attackers = field(repr=False)

    @property
    def measurements(self) -> dict[str, Measurement]:
        """By name, the accuracy first."""
        return {figure.name: figure for figure in (self.accuracy, *(m for r in self.results for m in r.measurements))}

    @property
    def errors(self) -> dict[str, str]:
        """Attacks that gave no numbers, with the reason."""
        return errors_of(self.results)

    @property
    def tm_score(self) -> float | None:
        """None when an attack broke."""
        values = {name: figure.value for name, figure in self.measurements.items()}
        return tm_score_of(values, [result.attack for result in self.results])


def measure_model(
    target: Target,
    split: DataSplit,
    attacks: Sequence[Attack],
    levels: Levels,
    *,
    pool: Pool,
    accuracy_part: str,
    stream: Stream,
) -> ModelFigures:
    """Every figure of ``target``: attackers fitted on the pool "fit" and tested on ``pool``, and the accuracy.

    ``split`` has the rows as the target reads them, ``accuracy_part`` is the part whose rows are classified.
    """
    attackers = fit_attackers(target, split, attacks, stream)
    results = run_attackers(attackers, target, split, levels, pool)
    is_right = classified_right(target.model, *split.part(accuracy_part))
    return ModelFigures(is_right, measure_accuracy(is_right, levels), results, attackers)


def fit_attackers(target: Target, split: DataSplit, attacks: Sequence[Attack], stream: Stream) -> Attackers:
    """An attacker of each attack, fitted on its question's rows of the pool "fit"."""
    rows = _Rows(split, "fit")
    return tuple(simulate_attacker(attack, target, rows.of(attack), generator=stream(attack)) for attack in attacks)


def run_attackers(
    attackers: Attackers, target: Target, split: DataSplit, levels: Levels, pool: Pool
) -> tuple[AttackResult, ...]:
    """What each attacker finds on its question's rows of ``pool``."""
    rows = _Rows(split, pool)
    return tuple(attacker.test(target, rows.of(attacker.attack), levels) for attacker in attackers)


class _Rows:
    """The rows of a pool by question, each read once: their digests are keys of caches."""

    def __init__(self, split: DataSplit, pool: Pool) -> None:
        self._split, self._pool = split, pool
        self._known: dict[str, AuditData] = {}

    def of(self, attack: Attack) -> AuditData:
        question = capabilities_of(attack).question
        if question.name not in self._known:
            self._known[question.name] = question.rows(self._split, self._pool)
        return self._known[question.name]


def errors_of(results: Sequence[AttackResult]) -> dict[str, str]:
    """Attacks that gave no numbers, with the reason."""
    return {result.attack: result.error for result in results if result.error is not None}
