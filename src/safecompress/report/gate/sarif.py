"""SARIF 2.1.0: requirements are rules, what does not pass is a result, the artifact is where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from safecompress import __version__
from safecompress.report.gate.outcome import COMMAND, Case, GateOutcome

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ABOUT = {
    "requirement": "A limit that the spec sets. Only a whole interval inside the bound passes.",
    "attack": "An attack that was asked for and gave no numbers.",
    "evidence": "A reason to doubt the evidence: a health check that failed, or an attack that the spec leaves out.",
    "command": "The command gave no verdict, so nothing is known of the artifact.",
}


def to_sarif(outcome: GateOutcome) -> dict[str, Any]:
    """The outcome as a SARIF log (OASIS SARIF 2.1.0, 2020) of one run.

    Every result is of level ``error``, INCONCLUSIVE too: what reads only errors must not take it for a pass. Its
    property ``verdict`` says which it is. A command that gave no verdict was not executed successfully.
    """
    gave_verdict = all(case.kind != COMMAND for case in outcome.cases)
    rules = [_rule(case) for case in outcome.cases]
    results = [_result(index, case, outcome.artifact) for index, case in enumerate(outcome.cases) if not case.is_pass]
    driver = {"name": "safecompress", "version": __version__, "rules": rules}
    invocation = {"executionSuccessful": gave_verdict, "exitCode": outcome.exit_code}
    facts = {"name": outcome.name, "verdict": outcome.verdict, "scope": outcome.claim}
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results, "properties": facts}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(case: Case) -> dict[str, Any]:
    return {
        "id": case.rule,
        "shortDescription": {"text": _text(case.rule)},
        "fullDescription": {"text": ABOUT[case.kind]},
        "defaultConfiguration": {"level": "error"},
        "properties": {"kind": case.kind},
    }


def _result(index: int, case: Case, artifact_name: str) -> dict[str, Any]:
    return {
        "ruleId": case.rule,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": _text(case.message)},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": uri(artifact_name)}, "region": {"startLine": 1}}}
        ],
        "properties": {"verdict": case.verdict},
    }


def _text(words: str) -> str:
    """A plain SARIF message: no placeholder, and no link, whatever the words."""
    return words.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def uri(path: str) -> str:
    """A relative reference where ``path`` lies under this folder (from where a repository is scanned), else file:."""
    file = Path(path)
    if file.is_absolute():
        if not file.is_relative_to(Path.cwd()):
            return "file://" + quote(file.as_posix())
        file = file.relative_to(Path.cwd())
    text = quote(file.as_posix())
    return f"./{text}" if ":" in text.split("/")[0] else text
