"""Measurements, findings and rounds as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from safecompress.certify import Exposure, HealthCheck
from safecompress.certify.canaries import Planted
from safecompress.certify.exposure import ClassExposure, RocPoint
from safecompress.certify.worst_case import WorstCase
from safecompress.compression.arms.choose import ArmResult
from safecompress.compression.search import RoundResult, compare_to_keep
from safecompress.data import DataSplit
from safecompress.metrics.groups import GroupAccuracy
from safecompress.metrics.measurement import Interval, Measurement
from safecompress.report.people import cost_of_canaries, people_found
from safecompress.spec import Finding, meaning_of


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
    """The requirement, what its bound means and who chose it, what was measured, the verdict and the reason."""
    return {
        "requirement": str(finding.requirement),
        "metric": finding.requirement.metric,
        "bound": finding.requirement.bound,
        "meaning": meaning_of(finding.requirement),
        "chosen_by": finding.requirement.chosen_by,
        "verdict": str(finding.verdict),
        "reason": finding.reason,
        "measurement": describe_measurement(finding.measurement) if finding.measurement else None,
    }


def describe_data(split: DataSplit) -> dict[str, Any]:
    """What the record of a report says of the data: name, rows, classes, and what a row is."""
    dataset = split.dataset
    kind = "pixels" if dataset.is_pixels else "tokens" if dataset.is_tokens else "numbers"
    return {
        "data": dataset.name,
        "rows": dataset.num_rows,
        "classes": dataset.num_classes,
        "row": f"{' x '.join(map(str, dataset.input_shape))} {kind}",
        "grouped": dataset.groups is not None,
        **({"columns": [column.name for column in dataset.table.columns]} if dataset.table else {}),
    }


def describe_group(group: GroupAccuracy) -> dict[str, Any]:
    """The accuracy of a class, or of several small ones together, and what it lost from the dense model."""
    lost = group.drop_interval
    return {
        "name": group.name,
        "num_together": group.num_together,
        "num_rows": group.num_rows,
        "accuracy": _describe_value(group.accuracy, group.interval),
        "dense": group.dense,
        "drop": _describe_value(group.drop, lost) if group.drop is not None and lost is not None else None,
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


def describe_exposure(exposure: Exposure, measurements: Mapping[str, Measurement], alpha: float) -> dict[str, Any]:
    """ROCs of artifact and dense model, classes apart, the most exposed rows: `certify.exposure` as JSON values.

    ``measurements`` are the artifact's; those that speak of single people are put into words.
    """
    classes, worst = exposure.classes, exposure.worst_case
    return {
        "confidence": 1 - alpha,
        "roc": {"artifact": _describe_rocs(exposure.roc), "dense": _describe_rocs(exposure.dense_roc)},
        "classes": {
            "apart": [_describe_class(one) for one in classes.apart],
            "others": _describe_class(classes.others) if classes.others else None,
            "num_untold": classes.num_untold,
        },
        "worst_case": _describe_worst(worst) if worst else None,
        "people": people_found(exposure, measurements),
        **({"canaries": _describe_planted(exposure.planted)} if exposure.planted else {}),
    }


def _describe_planted(planted: Planted) -> dict[str, Any]:
    return {**asdict(planted), "cost": cost_of_canaries(planted)}


def _describe_rocs(rocs: Mapping[str, Sequence[RocPoint]]) -> dict[str, Any]:
    return {
        attack: [{"fpr": p.fpr, "tpr": p.tpr, "low": p.interval.low, "high": p.interval.high} for p in points]
        for attack, points in rocs.items()
    }


def _describe_class(exposure: ClassExposure) -> dict[str, Any]:
    return {
        "name": exposure.name,
        "num_classes": exposure.num_classes,
        "num_members": exposure.num_members,
        "num_non_members": exposure.num_non_members,
        "auc": {attack: _describe_value(*figure) for attack, figure in exposure.aucs.items()},
    }


def _describe_worst(worst: WorstCase) -> dict[str, Any]:
    counts = ("num_rows", "num_eligible", "num_choosing", "num_scoring")
    figures = {name: _describe_value(*getattr(worst, name)) for name in ("worst", "every")}
    return {**{name: getattr(worst, name) for name in counts}, **figures}


def _describe_value(value: float, interval: Interval) -> dict[str, float]:
    return {"value": value, "low": interval.low, "high": interval.high}


def describe_arm(arm_result: ArmResult) -> dict[str, Any]:
    """One arm: its settings, its figures, what its repeats gave, what it is held to, and why it was chosen or not."""
    arm, evaluation, evidence = arm_result.arm, arm_result.evaluation, arm_result.evidence
    return {
        "name": arm_result.name,
        "share": arm.share,
        "length": arm.length,
        "density": arm.density,
        "branch": arm.branch.name,
        "state": str(arm_result.state),
        "on_front": arm_result.is_on_front,
        "reason": arm_result.reason,
        "accuracy": evaluation.accuracy,
        "leak": None if evaluation.errors else arm_result.leak,
        "tm_score": None if evaluation.errors else evaluation.tm_score(),
        "metrics": describe_measurements(evaluation.measurements),
        "evidence": None
        if evidence is None
        else {
            "repeats": evidence.num_repeats,
            "signal": evidence.signal,
            "figures": {name: {"value": one.value, "limit": one.limit} for name, one in evidence.figures.items()},
        },
        "forecasts": [
            {"requirement": str(one.requirement), "value": one.value, "limit": one.limit, "kept": one.excess <= 0}
            for one in arm_result.forecasts
        ],
        "errors": evaluation.errors,
        "seconds": dict(evaluation.seconds),
    }


def describe_round(result: RoundResult) -> dict[str, Any]:
    """Every candidate of a round with its numbers and why it won or lost; and the paired comparison with ``keep``."""
    candidates = [
        {
            "id": evaluation.candidate,
            "branch": evaluation.branch,
            "won": index == result.selection.index,
            "reason": result.selection.reasons[index],
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
        for attack, difference in compare_to_keep(result.evaluations, result.selection).items()
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
