"""Figures that speak of single people, as counts in a sentence: how many of how many an attack finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from safecompress.certify import Exposure
from safecompress.metrics.catalogue import TPRS, WORST_CASE, Metric, MetricName, parse_name
from safecompress.metrics.certifiers import CertifyTpr
from safecompress.metrics.measurement import Measurement
from safecompress.report.model import Report


def people_found(exposure: Exposure, measurements: Mapping[str, Measurement]) -> dict[str, str]:
    """By metric, the figures at a low false positive rate and of the most exposed members, in words."""
    sentences = {}
    for metric, figure in measurements.items():
        name = parse_name(metric)
        if name is None or name.is_change or not exposure.num_members:
            continue
        if name.metric in TPRS:
            sentences[metric] = _found(name, figure, exposure)
        elif name.metric is WORST_CASE:
            sentences[metric] = (
                f"the {figure.num_samples} most exposed of {exposure.num_members} members: a model trained with the "
                f"row is surer of it than one trained without {100 * figure.value:.0f} times in 100 (guessing: 50)"
            )
    return sentences


def _found(name: MetricName, measurement: Measurement, exposure: Exposure) -> str:
    fpr, num_members, num_others = _fpr(name.metric), exposure.num_members, exposure.num_non_members
    errors = math.floor(fpr * num_others + 1e-9)
    until = f"errs on more than {errors} of {num_others} others" if errors else f"errs on any of {num_others} others"
    hits, guessed = round(measurement.value * num_members), fpr * num_members
    return f"{name.attack} finds {hits} of {num_members} members before it {until} (guessing: {guessed:.2g})"


def _fpr(metric: Metric) -> float:
    assert isinstance(metric.certifier, CertifyTpr)  # as that of every metric in TPRS
    return metric.certifier.fpr


def people_lines(report: Report) -> list[str]:
    """The sentences to read first: what is required; who finds most at the higher rate; one worst case."""
    known: Mapping[str, str] = report.exposure.get("people", {})
    required = [finding["metric"] for finding in report.findings]
    return [
        known[metric] for metric in dict.fromkeys([*required, *_telling(known, report.measurements)]) if metric in known
    ]


def _telling(known: Mapping[str, str], measurements: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    at_low_rate = [metric for metric in known if metric in measurements and _is(metric, TPRS[0])]
    if at_low_rate:
        yield max(at_low_rate, key=lambda metric: float(measurements[metric]["value"]))
    yield from [metric for metric in known if _is(metric, WORST_CASE)][:1]


def _is(name: str, metric: Metric) -> bool:
    parsed = parse_name(name)
    return parsed is not None and parsed.metric is metric
