"""Measurements, findings and rounds as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safecompress.certify import HealthCheck
from safecompress.measure import Measurement
from safecompress.search import RoundResult, compare_to_keep
from safecompress.spec import Finding


def describe_measurement(measurement: Measurement) -> dict[str, Any]:
    """Value, interval and number of rows."""
    return {
        "value": measurement.value,
        "low": measurement.interval.low,
        "high": measurement.interval.high,
        "confidence": measurement.interval.confidence,
        "num_samples": measurement.num_samples,
        "direction": str(measurement.direction),
    }


def describe_measurements(measurements: Mapping[str, Measurement]) -> dict[str, dict[str, Any]]:
    """By metric."""
    return {name: describe_measurement(measurement) for name, measurement in measurements.items()}


def describe_finding(finding: Finding) -> dict[str, Any]:
    """The requirement, what was measured, the verdict and the reason."""
    return {
        "requirement": str(finding.requirement),
        "metric": finding.requirement.metric,
        "bound": finding.requirement.bound,
        "verdict": str(finding.verdict),
        "reason": finding.reason,
        "measurement": describe_measurement(finding.measurement) if finding.measurement else None,
    }


def describe_check(check: HealthCheck) -> dict[str, Any]:
    """What was checked, of whom, and what came out."""
    return {
        "check": check.name,
        "subject": check.subject,
        "outcome": str(check.outcome),
        "value": check.value,
        "detail": check.detail,
    }


def describe_round(result: RoundResult) -> dict[str, Any]:
    """Every candidate of a round with its numbers and why it won or lost; and the paired comparison with ``keep``."""
    candidates = [
        {
            "id": evaluation.candidate,
            "branch": evaluation.branch,
            "won": index == result.choice.index,
            "reason": result.choice.reasons[index],
            "moved": evaluation.num_moved,
            "accuracy": evaluation.accuracy,
            "tm_score": None if evaluation.errors else evaluation.tm_score(),
            "metrics": describe_measurements(evaluation.measurements),
            "findings": {str(f.requirement): str(f.verdict) for f in evaluation.findings.findings},
            "errors": evaluation.errors,
            "seconds": dict(evaluation.seconds),
        }
        for index, evaluation in enumerate(result.evaluations)
    ]
    versus_keep = {
        attack: {
            "auc_difference": difference.value,
            "low": difference.interval.low,
            "high": difference.interval.high,
            "p_value": difference.p_value,
        }
        for attack, difference in compare_to_keep(result.evaluations, result.choice).items()
    }
    return {
        "round": result.number,
        "winner": result.winner.id,
        "branch": result.winner.branch,
        "step": result.winner.state.step,
        "density": result.winner.pattern.density,
        "pattern": result.winner.pattern.digest(),
        "candidates": candidates,
        "versus_keep": versus_keep,
    }
