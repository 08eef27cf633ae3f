"""A GateOutcome: the result of one command, as cases that pass or do not, for JUnit, SARIF and annotations."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safecompress.errors import SafeCompressError, printable
from safecompress.report.consistency import EXIT_CODES, contradictions

if TYPE_CHECKING:
    from safecompress.report import Report

PASS, FAIL, INCONCLUSIVE, ERROR = "PASS", "FAIL", "INCONCLUSIVE", "ERROR"

REQUIREMENT, ATTACK, EVIDENCE, COMMAND = "requirement", "attack", "evidence", "command"
"""Kinds of cases: a limit of the spec; an attack that broke; a doubt about the evidence; the command itself."""

UNFINISHED = "The command has not finished: it still runs, or it was killed. Nothing is known of the artifact."


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that had to hold. ``verdict`` is PASS, FAIL, INCONCLUSIVE or ERROR; only PASS passes.

    ``rule`` is its name among all cases, stable over runs; ``message`` says in one paragraph what came out, with the
    interval where there is one.
    """

    kind: str
    rule: str
    verdict: str
    message: str

    @property
    def is_pass(self) -> bool:
        """Whether it holds."""
        return self.verdict == PASS


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """The cases of one verdict on one file, or the one case of a command that gave none.

    ``artifact`` is the path of what was judged, as the user gave it; ``claim`` says against whom the verdict is meant.
    Texts hold no control or formatting character but line breaks: names in a spec, an artifact or an error are inert.
    """

    name: str
    artifact: str
    cases: tuple[Case, ...]
    claim: str = ""
    exit_code: int = 3
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """FAIL if any case fails, else ERROR or INCONCLUSIVE if any is; PASS only if there are cases and all pass."""
        verdicts = {case.verdict for case in self.cases}
        for verdict in (FAIL, ERROR, INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return PASS if verdicts == {PASS} else ERROR

    @property
    def unmet(self) -> tuple[Case, ...]:
        """The cases that do not pass, the worst first."""
        order = (FAIL, ERROR, INCONCLUSIVE)
        return tuple(sorted((case for case in self.cases if not case.is_pass), key=lambda c: order.index(c.verdict)))

    @classmethod
    def of_report(cls, report: Report, artifact_name: str) -> GateOutcome:
        """The cases of a report. A report that contradicts itself is an ERROR, whatever it says of its verdict."""
        cases = (*_cases(report),)
        outcome = cls(
            inert(report.name), inert(artifact_name), cases, inert(report.claim), seconds=sum(report.seconds.values())
        )
        if found := contradictions(report):
            words = (
                f"The report contradicts itself: {'; '.join(found)}. It was altered, or written by another version: "
                "make it anew."
            )
            cases = (*cases, _case(COMMAND, "report", ERROR, words))
        code = EXIT_CODES[cls(outcome.name, outcome.artifact, cases).verdict]
        return cls(outcome.name, outcome.artifact, cases, outcome.claim, code, outcome.seconds)

    @classmethod
    def of_failure(cls, error: BaseException | str, artifact_name: str, *, name: str = "safecompress") -> GateOutcome:
        """A command that gave no verdict: it was refused, crashed, was stopped, or has not finished (a text)."""
        if isinstance(error, str):
            words, code = error, 3
        elif isinstance(error, KeyboardInterrupt):
            number = signal.Signals(error.args[0] if error.args else signal.SIGINT)
            how = "Ctrl-C" if number == signal.SIGINT else number.name
            words, code = f"The command was stopped ({how}) before it gave a verdict.", 128 + number
        else:
            words = f"The command gave no verdict. {type(error).__name__}: {error}"
            code = error.exit_code if isinstance(error, SafeCompressError) else 3
        case = _case(COMMAND, "command", ERROR, words)
        return cls(inert(name), inert(artifact_name), (case,), exit_code=code)


def _cases(report: Report) -> Iterator[Case]:
    from safecompress.metrics.catalogue import attack_of  # the gate speaks before NumPy and SciPy are loaded

    for finding in report.findings:
        people = report.exposure.get("people", {}).get(finding["metric"])
        yield _case(REQUIREMENT, finding["requirement"], finding["verdict"], finding_line(finding, people))
    required = {attack_of(str(finding["metric"])) for finding in report.findings}
    for attack, reason in report.errors.items():
        if attack not in required:  # else its requirement says so
            yield _case(ATTACK, f"attack {attack}", ERROR, f"The attack {attack} gave no numbers: {reason}.")
    for number, doubt in enumerate(report.doubts, 1):
        verdict, _, reason = str(doubt).partition(": ")
        yield _case(EVIDENCE, f"evidence {number}", ERROR if verdict in (PASS, FAIL) else verdict, reason or doubt)


def _case(kind: str, rule_id: object, verdict: object, message: object) -> Case:
    """A case of inert texts; a verdict that is none of the four is an ERROR."""
    known = str(verdict) if str(verdict) in EXIT_CODES else ERROR
    return Case(kind, inert(str(rule_id)).replace("\n", " "), known, inert(str(message)))


def finding_line(finding: Mapping[str, Any], people: str | None = None) -> str:
    """What a requirement came to: ``lira.auc ≤ 0.6: FAIL. Measured 0.71, 95 % interval 0.66 to 0.76 (400 rows); ...``.

    ``finding`` is one of a report's findings, ``people`` what its figure says of single people.
    """
    measured, reason = finding["measurement"], f"{finding['reason']}."
    if measured is not None:
        figures = f"measured {_short(measured['value'])}"
        if measured["num_samples"]:
            figures += (
                f", {100 * measured['confidence']:.4g} % interval {_short(measured['low'])} to "
                f"{_short(measured['high'])}, {measured['num_samples']} rows"
            )
        reason = f"{figures}; {reason}"
    sentences = [f"{finding['requirement']}: {finding['verdict']}", reason, *([f"{people}."] if people else [])]
    return f"{sentences[0]}. " + " ".join(words[:1].upper() + words[1:] for words in sentences[1:])


def _short(number: float) -> str:
    """Four digits; counts of thousands in full."""
    return f"{number:.4g}" if abs(number) < 1e4 else f"{number:,.0f}"


def inert(text: str) -> str:
    """``text`` without control characters, direction marks and lone surrogates; line breaks stay."""
    return printable(text, keep_lines=True)
