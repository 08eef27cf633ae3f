"""Attacks that run beside those of a spec: of each metric the largest figure counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safecompress.attacks import Attack, AttackResult, Target
from safecompress.attacks.measure_model import ModelFigures, Stream, fit_attackers, run_attackers
from safecompress.attacks.questions import headline_of
from safecompress.attacks.reference import companions_of
from safecompress.data import DataSplit
from safecompress.metrics.measurement import Levels, Measurement


def with_companions(
    figures: ModelFigures,
    target: Target,
    split: DataSplit,
    attacks: Sequence[Attack],
    levels: Levels,
    stream: Stream,
) -> ModelFigures:
    """``figures`` of ``attacks`` on the verdict rows, each attack by the largest of its own and its companions'."""
    results = []
    for attack, result in zip(attacks, figures.results, strict=True):
        attackers = fit_attackers(target, split, companions_of(attack), stream)
        results.append(strongest(result, run_attackers(attackers, target, split, levels, "verdict")))
    return replace(figures, results=tuple(results))


def strongest(result: AttackResult, companions: Sequence[AttackResult]) -> AttackResult:
    """``result`` with the largest figure of each metric, and the evidence of whichever has the largest headline figure.

    Where one of them broke the result is its error: what it would have found is not known.
    """
    results = [result, *companions]
    if not companions or result.error is not None:
        return result
    broken = next((one.error for one in companions if one.error is not None), None)
    if broken is not None:
        return replace(
            result,
            measurements=(),
            evidence=None,
            epsilon=None,
            error=f"what runs beside it at full strength: {broken}",
        )
    figures = zip(*(one.measurements for one in results), strict=True)
    largest: tuple[Measurement, ...] = tuple(max(same, key=lambda figure: figure.value) for same in figures)
    headline = headline_of(result.question).of(result.attack)
    leader = max(results, key=lambda one: {figure.name: figure.value for figure in one.measurements}[headline])
    return replace(result, measurements=largest, evidence=leader.evidence, epsilon=leader.epsilon)


def describe_attack(attack: Attack) -> str:
    """The attack with its options, and what runs beside it."""
    beside = " and ".join(map(repr, companions_of(attack)))
    return f"{attack!r}; beside it {beside}: the largest figure counts" if beside else repr(attack)
