"""Build the report of a verdict from what was certified."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from safecompress import __version__
from safecompress.certify import Certification, Feasibility
from safecompress.data import DataSplit
from safecompress.digests import digest_json
from safecompress.export import Artifact
from safecompress.report.describe import (
    describe_check,
    describe_data,
    describe_exposure,
    describe_finding,
    describe_group,
    describe_measurements,
)
from safecompress.report.escaping import without_places
from safecompress.report.model import Report
from safecompress.training import engine_name


@dataclass(frozen=True)
class RunFacts:
    """What a report says beside the verdict: how the model was found, digests, seconds by phase, notes.

    ``weights`` says in words where the weights of what was judged come from.
    """

    seed: int
    weights: str = "not recorded"
    search: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def build_report(
    name: str,
    certification: Certification,
    split: DataSplit,
    *,
    artifact_facts: Mapping[str, Any],
    digest: str,
    facts: RunFacts,
    prospects: Sequence[Feasibility] = (),
) -> Report:
    """The report. ``artifact_facts`` says what was judged (see `describe_artifact`), ``digest`` is that of its content.

    The digests of ``facts`` are added to it and to the verdict's own.
    """
    findings = certification.findings
    measurements = describe_measurements(certification.measurements)
    report = Report(
        name=name,
        version=__version__,
        verdict=str(findings.verdict),
        exit_code=findings.exit_code,
        claim=_claim(certification),
        attacks=dict(certification.attacks),
        findings=[describe_finding(finding) for finding in findings.findings],
        measurements=measurements,
        dense=describe_measurements(certification.dense),
        tm_score={
            "artifact": certification.tm_score,
            "dense": certification.dense_tm_score,
            **({"trained": certification.trained_tm_score} if certification.trained else {}),
        },
        errors=dict(certification.errors),
        ledger={"opening": certification.opening, "alpha": certification.levels.alpha},
        prospects=[prospect.to_json() for prospect in prospects],
        artifact=dict(artifact_facts),
        search=_as_json(dict(facts.search)),
        split=split.summary(),
        digests={"artifact": digest, "verdict": digest_json(measurements), **facts.digests},
        environment=_environment(facts.seed),
        seconds={phase: round(value, 3) for phase, value in facts.seconds.items()},
        access=certification.access.name,
        shadows=certification.shadows,
        health=[describe_check(check) for check in certification.health],
        dense_verdicts={str(f.requirement): str(f.verdict) for f in certification.dense_findings.findings},
        epsilon=dict(certification.epsilon),
        trained=describe_measurements(certification.trained),
        trained_verdicts={str(f.requirement): str(f.verdict) for f in certification.trained_findings.findings},
        doubts=[f"{doubt.verdict}: {doubt.reason}" for doubt in findings.doubts],
        exposure=describe_exposure(certification.exposure, certification.measurements, certification.levels.alpha),
        who_pays=[describe_group(group) for group in certification.who_pays],
        notes=[*facts.notes, *_notes(certification)],
        record={"date": datetime.now(UTC).date().isoformat(), **describe_data(split), "weights": facts.weights},
    )
    return _without_places(report)


def _environment(seed: int) -> dict[str, Any]:
    """What figures may depend on beside the spec and the data."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "engine": engine_name(),
        "seed": seed,
    }


def _without_places(report: Report) -> Report:
    """The report, to be published, with no absolute path in what errors, attacks and checks say in words."""
    return replace(
        report,
        errors={name: without_places(why) for name, why in report.errors.items()},
        findings=[{**finding, "reason": without_places(finding["reason"])} for finding in report.findings],
        health=[{**check, "detail": without_places(check["detail"])} for check in report.health],
        doubts=[without_places(doubt) for doubt in report.doubts],
        notes=[without_places(note) for note in report.notes],
    )


def _notes(certification: Certification) -> list[str]:
    """At which look each attack was judged, which broke on the dense model, and which shadows were not fresh."""
    used, reused = certification.shadows_used, certification.shadows_reused
    kept = [f"{reused} of {used} shadow models were not trained by this command, but read from a cache."]
    broke = [f"On the dense model {name} broke: {why}" for name, why in certification.dense_errors.items()]
    return [*map(str, certification.looks.values()), *broke, *(kept if reused else [])]


def _claim(certification: Certification) -> str:
    """Against whom the verdict is meant; first of all that it is rough, where it is: every output repeats the claim."""
    scope = _scope(certification)
    return f"a ROUGH verdict, a first impression: {scope}" if certification.is_rough else scope


def _scope(certification: Certification) -> str:
    required = [name for name in certification.attacks if name in certification.bounded]
    alpha = _alpha(certification)
    if not required:
        return f"no requirement bounds an attack, so nothing is said about privacy; {alpha}"
    reported = [name for name in certification.attacks if name not in required]
    also = f" (reported, not required: {', '.join(reported)})" if reported else ""
    shadows = f"; shadow models: {certification.shadows}" if certification.shadows else ""
    access = certification.access.name.lower()
    return (
        f"judged for an attacker who is given {access}, against the attacks that the spec bounds: "
        f"{', '.join(required)}{also}{shadows}; {alpha}"
    )


def _alpha(certification: Certification) -> str:
    """The spec's error rate, and what this opening has of it."""
    opening, level = certification.opening, certification.levels.alpha
    limit = ", within what the first opening of these rows fixed" if opening > 1 else ""
    return f"alpha {math.ldexp(level, opening):g}{limit}; this is opening {opening}, at {level:g}"


def describe_artifact(artifact: Artifact) -> dict[str, Any]:
    """Bytes, weights, layers and network of an artifact, as JSON values."""
    count = artifact.byte_count()
    return {
        "size_bytes": count.file,
        "payload_bytes": count.payload,
        "header_bytes": count.header,
        "reference_bytes": count.reference,
        "floor_ratio": count.ratio,
        "precision": artifact.precision,
        "is_resized": artifact.is_resized,
        "num_weights": artifact.num_weights,
        "num_active": artifact.num_active,
        "density": artifact.density,
        "layer_densities": {name: float(mask.float().mean()) for name, mask in artifact.masks.items()},
        "model": _as_json(artifact.model_spec.to_json()) if artifact.model_spec else None,
        "class_names": list(artifact.task.class_names),
    }


def _as_json(value: Any) -> Any:
    """``value`` as it comes back from a file: tuples as lists."""
    return json.loads(json.dumps(value))
