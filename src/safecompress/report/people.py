"""Figures that speak of single people, as counts in a sentence: how many of how many an attack finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from safecompress.metrics.catalogue import CANARIES, TPRS, WORST_CASE, Metric, MetricName, parse_name
from safecompress.metrics.certifiers import CertifyTpr, num_false_alarms
from safecompress.metrics.measurement import Measurement
from safecompress.report.model import Report

if TYPE_CHECKING:  # a report is shown without PyTorch
    from safecompress.certify import Exposure
    from safecompress.certify.canaries import Planted


def people_found(exposure: Exposure, measurements: Mapping[str, Measurement]) -> dict[str, str]:
    """By metric, the figures at a low false positive rate, of the most exposed members and of canaries, in words."""
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
        elif name.metric is CANARIES and exposure.planted is not None:
            sentences[metric] = _canaries_found(name, figure, exposure.planted)
    return sentences


def _canaries_found(name: MetricName, measurement: Measurement, planted: Planted) -> str:
    errors, hits = num_false_alarms(planted.num_twins), round(measurement.value * planted.num_canaries)
    guessed = planted.num_canaries * (errors + 1) / (planted.num_twins + 1)
    return (
        f"canaries: {name.attack} finds {hits} of {planted.num_canaries} mislabelled rows put into training before it "
        f"errs on more than {errors} of {planted.num_twins} that were not (guessing: {guessed:.1g})"
    )


def cost_of_canaries(planted: Planted) -> str:
    """What canaries cost, as far as it is known: their share of train, and that they stay in what ships."""
    return (
        f"the {planted.num_canaries} canaries are {planted.num_canaries / planted.num_train:.1%} of the "
        f"{planted.num_train} rows that this model was trained on, and it ships with what it learned of them: only "
        "another training without them takes that out. What they cost in accuracy takes that training to measure"
    )


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
    """The sentences to read first: what is required; who finds most at the higher rate; one worst case; canaries."""
    known: Mapping[str, str] = report.exposure.get("people", {})
    required = [finding["metric"] for finding in report.findings]
    metrics = dict.fromkeys([*required, *_telling(known, report.measurements)])
    planted = report.exposure.get("canaries")
    return [*(known[metric] for metric in metrics if metric in known), *([planted["cost"]] if planted else [])]


def worst_off_line(report: Report) -> str | None:
    """How surely the most exposed members show, without a full stop; None where no shadow models tell."""
    known: Mapping[str, str] = report.exposure.get("people", {})
    return next((words for metric, words in known.items() if _is(metric, WORST_CASE)), None)


def _telling(known: Mapping[str, str], measurements: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    at_low_rate = [metric for metric in known if metric in measurements and _is(metric, TPRS[0])]
    if at_low_rate:
        yield max(at_low_rate, key=lambda metric: float(measurements[metric]["value"]))
    for one in (WORST_CASE, CANARIES):
        yield from [metric for metric in known if _is(metric, one)][:1]


def _is(name: str, metric: Metric) -> bool:
    parsed = parse_name(name)
    return parsed is not None and parsed.metric is metric
