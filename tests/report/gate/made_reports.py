"""Reports made by hand: what the gate does with a verdict needs no training."""

from __future__ import annotations

from dataclasses import replace

from safecompress.report import Report


def figure(value, low, high, num_samples=400):
    direction = "lower is better"
    return {
        "value": value, "low": low, "high": high, "confidence": 0.95,
        "num_samples": num_samples, "direction": direction,
    }  # fmt: skip


def finding(metric, verdict, reason, measurement=None, bound=0.6):
    return {
        "requirement": f"{metric} ≤ {bound:g}", "metric": metric, "bound": bound,
        "verdict": verdict, "reason": reason, "measurement": measurement,
    }  # fmt: skip


HOLDS = finding("lira.auc", "PASS", "its limit 0.55 keeps the bound 0.6", figure(0.52, 0.49, 0.55))
BROKEN = finding("neural.auc", "FAIL", "even its far limit 0.66 breaks the bound 0.6", figure(0.71, 0.67, 0.75))
OPEN = finding("loss.auc", "INCONCLUSIVE", "the bound lies inside the interval", figure(0.59, 0.55, 0.63))
UNKNOWN = finding("quantile.auc", "ERROR", "it met a NaN")
COUNTED = finding("artifact.size_bytes", "PASS", "it is counted", figure(12345.0, 12345.0, 12345.0, 0), bound=40000)

PASSING = Report(
    name="people",
    version="1",
    verdict="PASS",
    exit_code=0,
    claim="judged for an attacker who is given scores",
    findings=[HOLDS, COUNTED],
    measurements={},
    dense={},
    tm_score={"artifact": 1.2, "dense": 1.0},
    errors={},
    ledger={"opening": 1, "alpha": 0.025},
    prospects=[],
    artifact={"size_bytes": 12345},
    search={},
    split={"parts": {}},
    digests={},
    environment={},
    seconds={"certify": 1.25},
)

REPORTS = {
    "PASS": PASSING,
    "FAIL": replace(PASSING, verdict="FAIL", exit_code=1, findings=[HOLDS, OPEN, BROKEN]),
    "INCONCLUSIVE": replace(
        PASSING,
        verdict="INCONCLUSIVE",
        exit_code=3,
        findings=[HOLDS, OPEN],
        doubts=["INCONCLUSIVE: no requirement bounds whitebox"],
    ),
    "ERROR": replace(
        PASSING,
        verdict="ERROR",
        exit_code=3,
        findings=[HOLDS, UNKNOWN],
        errors={"quantile": "it met a NaN", "samia": "it crashed"},
        doubts=["ERROR: ties of gap"],
    ),
}
"""One report for each verdict."""
