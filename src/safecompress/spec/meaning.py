"""What the bound of a requirement means for a person, in one sentence of plain English."""

from __future__ import annotations

from collections.abc import Callable

from safecompress.metrics.catalogue import (
    ACCURACY,
    ADVANTAGE,
    AUC,
    BALANCED_ACCURACY,
    CANARIES,
    COMPRESSION_RATIO,
    DENSITY,
    LATENCY,
    SIZE_BYTES,
    TPRS,
    WORST_CASE,
    Metric,
    MetricName,
    parse_name,
)
from safecompress.metrics.certifiers import CertifyTpr
from safecompress.spec.requirement import Requirement


def meaning_of(requirement: Requirement) -> str | None:
    """The sentence, without a full stop: ``an attacker who picks one of two people, ..., is right 60 times of 100``.

    None for a metric that the catalogue does not have, and for changes of a leak from the dense model's.
    """
    name = parse_name(requirement.metric)
    if name is None:
        return None
    if name.is_change:
        return _of_drop(requirement.bound) if name.metric is ACCURACY else None
    if name.metric in TPRS:
        return _of_rate(name, requirement.bound)
    words = _MEANINGS.get(name.metric)
    return None if words is None else words(requirement.bound)


def _times(share: float) -> str:
    """A share as times of 100, with a decimal only where it says something: 60, 62.5."""
    return f"{round(100 * share, 1):g}"


def _of_auc(bound: float) -> str:
    return (
        "an attacker who is shown two people, one of whom was in the training data, and picks that one is right at "
        f"most {_times(bound)} times of 100 (guessing: 50)"
    )


def _of_calls(bound: float) -> str:
    return (
        "an attacker who must say of each person whether they were in the training data, and meets as many who were as "
        f"were not, is right at most {_times(bound)} times of 100 (guessing: 50)"
    )


def _of_advantage(bound: float) -> str:
    return (
        "of 100 people who were in the training data an attacker points at no more than "
        f"{_times(bound)} more than of 100 who were not (guessing: 0)"
    )


def _of_worst(bound: float) -> str:
    return (
        "for the people who are most exposed (twenty, or one in a hundred): of two models, one trained with the person "
        f"and one without, the first is the surer of that person at most {_times(bound)} times of 100 (guessing: 50)"
    )


def _of_rate(name: MetricName, bound: float) -> str:
    assert isinstance(name.metric.certifier, CertifyTpr)  # as that of every metric in TPRS
    every = round(1 / name.metric.certifier.fpr)
    return (
        f"an attacker who may wrongly accuse one in {every:,} of the people who were not in the training data finds at "
        f"most {_times(bound)} of 100 who were (guessing: {100 / every:g})"
    )


def _of_canaries(bound: float) -> str:
    return f"of 100 rows with a wrong label that were planted in training, an attacker finds at most {_times(bound)}"


def _of_accuracy(bound: float) -> str:
    return f"the model is right on at least {_times(bound)} of 100 people whom it never saw"


def _of_drop(bound: float) -> str:
    return (
        f"of 100 people whom no model saw, the small model is right on at most {_times(bound)} fewer than the dense one"
    )


def _of_bytes(bound: float) -> str:
    size = f"{bound / 1e6:.3g} MB" if bound >= 1e6 else f"{bound / 1e3:.3g} kB"
    return f"the file that ships takes at most {size}"


_MEANINGS: dict[Metric, Callable[[float], str]] = {
    AUC: _of_auc,
    BALANCED_ACCURACY: _of_calls,
    ADVANTAGE: _of_advantage,
    WORST_CASE: _of_worst,
    CANARIES: _of_canaries,
    ACCURACY: _of_accuracy,
    SIZE_BYTES: _of_bytes,
    DENSITY: lambda bound: f"the file keeps at most {_times(bound)} of 100 weights",
    LATENCY: lambda bound: f"one answer takes at most {bound:g} ms on the machine that judged it",
    COMPRESSION_RATIO: lambda bound: f"the file is at least {bound:g} times smaller than the dense model",
}
