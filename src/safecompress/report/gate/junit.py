"""JUnit XML: a test case per requirement, and one for all else that keeps a verdict from PASS."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from safecompress.report.gate.outcome import ERROR, Case, GateOutcome


def to_junit(outcome: GateOutcome, *, when: datetime | None = None) -> bytes:
    """The outcome in the form that Jenkins, GitLab and their kin read (xunit's ``junit-10.xsd``), UTF-8.

    FAIL and INCONCLUSIVE are a ``failure``, ERROR is an ``error``; the message holds the interval. ``when`` is the time
    written into it (default: now, UTC).
    """
    failures = sum(case.verdict not in ("PASS", ERROR) for case in outcome.cases)
    counts = {
        "tests": str(len(outcome.cases)),
        "failures": str(failures),
        "errors": str(sum(case.verdict == ERROR for case in outcome.cases)),
        "time": f"{outcome.seconds:.3f}",
    }
    top = ET.Element("testsuites", {"name": "safecompress", **counts})
    stamp = (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.SubElement(top, "testsuite", {"name": outcome.name, **counts, "skipped": "0", "timestamp": stamp})
    properties = ET.SubElement(suite, "properties")
    facts = {"verdict": outcome.verdict, "exit_code": outcome.exit_code, "artifact": outcome.artifact}
    for name, value in (facts | ({"scope": outcome.claim} if outcome.claim else {})).items():
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    for case in outcome.cases:
        _add(suite, case, f"safecompress.{outcome.name}")
    ET.indent(top)
    content: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add(suite: ET.Element, case: Case, where: str) -> None:
    entry = ET.SubElement(suite, "testcase", {"classname": where, "name": case.rule, "time": "0"})
    if case.is_pass:
        ET.SubElement(entry, "system-out").text = case.message
        return
    kind = "error" if case.verdict == ERROR else "failure"
    ET.SubElement(entry, kind, {"type": case.verdict, "message": case.message.split("\n")[0]}).text = case.message
