"""Whether a report says in one place what it says in another: it is a file, and files are edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safecompress.report.model import Report

PASS = "PASS"
EXIT_CODES: Mapping[str, int] = {PASS: 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 3}


def contradictions(report: Report) -> tuple[str, ...]:
    """Where the report contradicts itself, each as a sentence; none of a report that was written by this product.

    Its verdict and exit code follow from its findings, broken attacks and doubts; a PASS from its interval and bound; a
    finding's figures from the figures; a doubt from each health check that does not hold.
    """
    return (*_verdict(report), *_findings(report), *_health(report))


def verdict_of(report: Report) -> str:
    """The verdict that findings, broken attacks and doubts make."""
    verdicts = {str(finding["verdict"]) for finding in report.findings}
    doubts = {str(doubt).partition(": ")[0] for doubt in report.doubts}
    verdicts |= {"INCONCLUSIVE" if doubt == "INCONCLUSIVE" else "ERROR" for doubt in doubts}
    verdicts |= {"ERROR"} if report.errors else set()
    for verdict in ("FAIL", "ERROR", "INCONCLUSIVE"):
        if verdict in verdicts:
            return verdict
    return PASS if verdicts == {PASS} else "ERROR"


def _verdict(report: Report) -> Iterator[str]:
    found = verdict_of(report)
    if (report.verdict, report.exit_code) != (found, EXIT_CODES[found]):
        yield (
            f"it says {report.verdict} (exit code {report.exit_code}), and its findings say {found} "
            f"(exit code {EXIT_CODES[found]})"
        )


def _findings(report: Report) -> Iterator[str]:
    for finding in report.findings:
        metric, measured = finding["metric"], finding["measurement"]
        if measured is None:
            if finding["verdict"] != "ERROR":
                yield f"{finding['requirement']} is {finding['verdict']}, and nothing was measured"
            continue
        if metric in report.measurements and report.measurements[metric] != measured:
            yield f"the finding on {metric} has other figures than the measurements"
        if finding["verdict"] in (PASS, "FAIL") and _holds(measured, finding["bound"]) != (finding["verdict"] == PASS):
            yield f"{finding['requirement']} is {finding['verdict']}, which its interval contradicts"


def _holds(measured: Mapping[str, Any], bound: float) -> bool:
    is_lower = str(measured["direction"]).startswith("lower")
    return bool(measured["high"] <= bound if is_lower else measured["low"] >= bound)


def _health(report: Report) -> Iterator[str]:
    for check in report.health:
        said = f"{check['outcome']}: {check['check']} of {check['subject']}: {check['detail']}"
        if check["outcome"] != PASS and said not in report.doubts:
            yield f"the health check {check['check']} of {check['subject']} does not hold, and no doubt says so"
