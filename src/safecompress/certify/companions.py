"""Attacks that run beside those that were asked for: of each metric the largest figure and limits count.

Verdicts and studies judge by the same: a method must not look better in a comparison than it would in a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safecompress.attacks import Attack, AttackResult, Target
from safecompress.attacks.measure_model import ModelFigures, Stream, fit_attackers, measure_model, run_attackers
from safecompress.attacks.questions import Pool, headline_of
from safecompress.attacks.reference import companions_of
from safecompress.data import DataSplit
from safecompress.metrics.measurement import Levels, Measurement


def measure_with_companions(
    target: Target,
    split: DataSplit,
    attacks: Sequence[Attack],
    levels: Levels,
    *,
    pool: Pool,
    accuracy_part: str,
    stream: Stream,
) -> ModelFigures:
    """What `measure_model` gives, each attack by the largest of its own figures and its companions'.

    Companions by shadow models ask those of ``target`` that the attack itself asked: none is trained for them, and
    rows are passed through none again.
    """
    figures = measure_model(target, split, attacks, levels, pool=pool, accuracy_part=accuracy_part, stream=stream)
    results = []
    for attack, result in zip(attacks, figures.results, strict=True):
        attackers = fit_attackers(target, split, companions_of(attack), stream)
        results.append(strongest(result, run_attackers(attackers, target, split, levels, pool)))
    return replace(figures, results=tuple(results))


def strongest(result: AttackResult, companions: Sequence[AttackResult]) -> AttackResult:
    """``result`` with the largest figure and limits of each metric, and the evidence with the largest headline figure.

    So a bound holds only where it holds for each of them (an intersection-union test), and is broken where it is for
    one. Where one of them broke the result is its error: what it would have found is not known.
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
    largest = tuple(map(_largest, figures))
    headline = headline_of(result.question).of(result.attack)
    leader = max(results, key=lambda one: {figure.name: figure.value for figure in one.measurements}[headline])
    return replace(
        result, measurements=largest, evidence=leader.evidence, epsilon=leader.epsilon, largest_of=tuple(results)
    )


def _largest(same: Sequence[Measurement]) -> Measurement:
    """The largest value of a metric, and the largest of each limit."""
    leader = max(same, key=lambda figure: figure.value)
    interval, simultaneous = (
        replace(limits[0], low=max(one.low for one in limits), high=max(one.high for one in limits))
        for limits in ([figure.interval for figure in same], [figure.simultaneous for figure in same])
    )
    return replace(leader, interval=interval, simultaneous=simultaneous)


def describe_attack(attack: Attack) -> str:
    """The attack with its options, and what runs beside it."""
    beside = " and ".join(map(repr, companions_of(attack)))
    return f"{attack!r}; beside it {beside}: the largest figure counts" if beside else repr(attack)
