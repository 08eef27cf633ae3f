"""Annotations of GitHub Actions: lines that its runner shows beside the change that was tested."""

from __future__ import annotations

from safecompress.report.gate.outcome import INCONCLUSIVE, GateOutcome


def annotation_lines(outcome: GateOutcome) -> list[str]:
    """Lines of GitHub's workflow commands, the worst first; at least one ``::error`` unless the outcome is PASS.

    INCONCLUSIVE cases are warnings beside the error that says the verdict. GitHub shows the first ten of each kind.
    """
    if outcome.verdict == "PASS":
        return [_command("notice", "safecompress: PASS", f"{outcome.name}: every requirement holds.", outcome.artifact)]
    cases = outcome.unmet
    lines = [
        _command(
            "error",
            f"safecompress: {outcome.verdict}",
            f"{outcome.name}: {len(cases)} of {len(outcome.cases)} checks do not pass. Only PASS passes.",
            outcome.artifact,
        )
    ]
    for case in cases:
        level = "warning" if case.verdict == INCONCLUSIVE else "error"
        lines.append(_command(level, f"{case.verdict}: {case.rule}", case.message, outcome.artifact))
    return lines


def hush(token: str) -> str:
    """The line from which on GitHub takes no line for a command, until `speak` of the same ``token``.

    So nothing that a spec, an artifact or an error makes the command print is taken for one.
    """
    return f"::stop-commands::{token}"


def speak(token: str) -> str:
    """The line that ends `hush`."""
    return f"::{token}::"


def _command(level: str, title: str, message: str, file: str) -> str:
    return f"::{level} file={_property(file)},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    """As GitHub's toolkit escapes messages."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """As GitHub's toolkit escapes properties."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
