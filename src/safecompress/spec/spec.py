"""A SafetySpec: which attacks are simulated and what they, and the task, must measure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from safecompress.attacks import ATTACKS, MEMBERSHIP, Access, Attack, capabilities_of
from safecompress.attacks.reference import companions_of, missing_reference_attacks
from safecompress.errors import SpecError, suggest
from safecompress.metrics.catalogue import (
    CANARIES,
    OF_PERSONS,
    OF_THE_TASK,
    attack_of,
    change_of,
    direction_of,
    is_of_persons,
    parse_name,
)
from safecompress.metrics.certifiers import MIN_CANARIES
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.spec.requirement import Finding, Requirement, Verdict

ShadowMode = Literal["final pattern", "full pipeline"]
SHADOW_MODES: tuple[str, ...] = get_args(ShadowMode)

MOST_OPENINGS = 1000
"""Uses of the same rows after which alpha / 2^j is nothing that a computer can count with."""

MOST_ALPHA = 0.1
"""The largest error rate of verdicts. Limits that are wrong more often than one time in ten show nothing."""


@dataclass(frozen=True, slots=True)
class ValidityIssue:
    """A reason, beside the requirements, why a verdict cannot be PASS: a failed health check, an attack missing."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Findings:
    """One finding per requirement, errors of attacks that no requirement names, and validity issues (``doubts``)."""

    findings: tuple[Finding, ...]
    errors: tuple[str, ...] = ()
    doubts: tuple[ValidityIssue, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """FAIL if any requirement fails; else ERROR or INCONCLUSIVE if any is, or a validity issue says so.

        PASS only when every requirement passes and the evidence is valid.
        """
        verdicts = {finding.verdict for finding in self.findings} | {issue.verdict for issue in self.doubts}
        if self.errors:
            verdicts.add(Verdict.ERROR)
        for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return Verdict.PASS

    @property
    def exit_code(self) -> int:
        """0 every requirement PASS; 1 any FAIL; otherwise 3."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1}.get(self.verdict, 3)


@dataclass(frozen=True)
class SafetySpec:
    """Attacks to simulate, requirements to meet, and the error rate ``alpha`` of all verdicts on a data set together.

    Attacks are given as objects or names. An attack without a requirement is reported, and must still not break.
    ``access`` is what the attacker is given: a file on a device grants WEIGHTS (the default); say SCORES or LABELS for
    a model that only answers over a network. Each has its reference set of attacks (`missing_reference_attacks`).
    ``shadows`` says how shadow models are trained: into the model's final pattern, or by the whole pipeline that made
    it. With a ``shadow_budget`` an attack by shadow models that decides none of its requirements clearly is run again
    with more of them, up to that number, at levels that share alpha (certify/looks.py). ``canaries`` is how many
    mislabelled rows the model was trained with, so that attacks by shadow models show whether they find them. ``rough``
    marks a spec whose verdict is a first impression, and is the command that gives the full one: every report says so,
    and none is PASS.

    ``alpha`` is at most `MOST_ALPHA`; the first use of rows in a ledger fixes the largest that later ones may ask.

    Raises SpecError, with every fault at once, for no attack or requirement, unknown metrics, a direction against the
    metric's own, a name used twice, or an attack beyond ``access``.
    """

    attacks: tuple[Attack, ...]
    requirements: tuple[Requirement, ...]
    alpha: float = 0.05
    access: Access = Access.WEIGHTS
    shadows: ShadowMode = "final pattern"
    shadow_budget: int | None = field(default=None, repr=False)
    canaries: int = field(default=0, repr=False)
    rough: str | None = field(default=None, repr=False)

    def __init__(
        self,
        attacks: Iterable[Attack | str | Mapping[str, object]],
        requirements: Iterable[Requirement],
        alpha: float = 0.05,
        access: Access | str = Access.WEIGHTS,
        shadows: ShadowMode = "final pattern",
        shadow_budget: int | None = None,
        canaries: int = 0,
        rough: str | None = None,
    ) -> None:
        object.__setattr__(self, "attacks", tuple(ATTACKS.make(attack) for attack in attacks))
        object.__setattr__(self, "requirements", tuple(requirements))
        object.__setattr__(self, "alpha", float(alpha))
        object.__setattr__(self, "access", Access.parse(access))
        object.__setattr__(self, "shadows", shadows)
        object.__setattr__(self, "shadow_budget", shadow_budget)
        object.__setattr__(self, "canaries", canaries)
        object.__setattr__(self, "rough", rough)
        faults = list(self._faults())
        if faults:
            raise SpecError.from_faults("The safety spec", faults)

    @property
    def metrics(self) -> list[str]:
        """Every metric that a requirement of this spec can name."""
        plain = [*OF_THE_TASK, *(name for attack in self.attacks for name in metrics_of(attack))]
        return plain + [change_of(metric) for metric in plain]

    @property
    def bounded(self) -> frozenset[str]:
        """Names of the attacks that a requirement bounds from above.

        A change from the dense model bounds none, nor does a bound that no outcome could break, nor the worst case:
        it asks shadows and not the model itself. Canaries are not the people whom a verdict is about.
        """
        return frozenset(attack for attack, requirement in self._bounds() if requirement.can_break())

    def missing_reference_attacks(self) -> tuple[str, ...]:
        """What this spec lacks for a verdict at its access, one phrase each (see attacks/reference.py)."""
        empty = {
            attack: f"{requirement} can be broken by no outcome, so nothing bounds {attack}"
            for attack, requirement in self._bounds()
            if not requirement.can_break()
        }
        return missing_reference_attacks(self.attacks, self.bounded, self.access, empty)

    def digest(self) -> str:
        """SHA-256 over all fields; one without ``shadow_budget``, ``canaries`` and ``rough`` is as it always was."""
        budget = "" if self.shadow_budget is None else f"|shadow_budget={self.shadow_budget}"
        canaries = f"|canaries={self.canaries}" if self.canaries else ""
        rough = "" if self.rough is None else "|rough"
        return hashlib.sha256(f"{self!r}{budget}{canaries}{rough}".encode()).hexdigest()

    def levels(self, opening: int = 1) -> Levels:
        """Error rates at use number ``opening`` of the same rows: alpha / 2^opening, shared out for FAIL.

        It is shared by all figures that could break a requirement: those of companions of an attack, too.
        """
        beside = {attack.name: len(companions_of(attack)) for attack in self.attacks}
        figures = sum(1 + beside.get(attack_of(requirement.metric), 0) for requirement in self.requirements)
        if opening > MOST_OPENINGS:
            raise SpecError(
                f"These rows were used {opening - 1:,} times, and use number {opening:,} has nothing left of alpha. "
                "Judge on rows that were never opened."
            )
        return Levels(math.ldexp(self.alpha, -opening), figures)

    def judge(
        self,
        measurements: Mapping[str, Measurement],
        errors: Mapping[str, str] | None = None,
        *,
        unmeasured: Mapping[str, str] | None = None,
        doubts: Iterable[ValidityIssue] = (),
        partly: bool = False,
    ) -> Findings:
        """A finding for every requirement; ``errors`` are attacks that gave no numbers, by name, with the reason.

        ``unmeasured`` are single figures that are missing, by their full names, with the reason.
        ``doubts`` are the validity issues of the evidence. With ``partly``, as on candidates of a search,
        requirements on what was not measured are left out.
        """
        broken = dict(errors or {})

        def why_missing(requirement: Requirement) -> str | None:
            reason = broken.get(attack_of(requirement.metric), (unmeasured or {}).get(requirement.metric))
            if reason is None and requirement.metric not in measurements and requirement.is_change():
                return f"{requirement.metric} was not measured: it takes the dense model, which was not given or broke"
            return reason

        findings = tuple(
            requirement.judge(measurements.get(requirement.metric), fault=why_missing(requirement))
            for requirement in self.requirements
            if not partly or requirement.metric in measurements
        )
        return Findings(findings, tuple(f"{name}: {reason}" for name, reason in broken.items()), tuple(doubts))

    def _bounds(self) -> Iterable[tuple[str, Requirement]]:
        """Each requirement on a figure of an attack, by its attack."""
        names = {attack.name for attack in self.attacks}
        for requirement in self.requirements:
            if attack_of(requirement.metric) in names and _bounds_attack(requirement):
                yield attack_of(requirement.metric), requirement

    def _faults(self) -> Iterable[str]:
        names = [attack.name for attack in self.attacks]
        if not names:
            yield "no attack is named; a verdict needs at least one"
        if not self.requirements:
            yield "no requirement is set; say what must hold, e.g. at_most('neural.auc', 0.55)"
        if not 0 < self.alpha <= MOST_ALPHA:
            yield (
                f"alpha must lie in (0, {MOST_ALPHA:g}], got {self.alpha:g}: it is how often a PASS may be luck, and "
                f"more than one time in {1 / MOST_ALPHA:.0f} is no evidence"
            )
        if self.shadows not in SHADOW_MODES:
            yield f"unknown way of training shadows {self.shadows!r}. {suggest(str(self.shadows), SHADOW_MODES)}"
        yield from self._budget_faults()
        yield from self._canary_faults()
        for attack in self.attacks:
            if attack.access > self.access:
                yield (
                    f"the attack {attack.name!r} needs {attack.access.name.lower()}, and the spec's access is "
                    f"{self.access.name.lower()}: leave it out, or raise access"
                )
        yield from (f"the attack {name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1}))
        for requirement in self.requirements:
            if requirement.metric not in self.metrics:
                yield f"unknown metric {requirement.metric!r}. {suggest(requirement.metric, self.metrics)}"
            elif requirement.direction is not direction_of(requirement.metric):
                word = "at_least" if direction_of(requirement.metric) is Direction.HIGHER else "at_most"
                yield f"{requirement.metric}: {direction_of(requirement.metric)}, so it takes {word}"

    def _canary_faults(self) -> Iterable[str]:
        if self.canaries:
            if self.canaries < MIN_CANARIES:
                yield f"canaries is {self.canaries}, and under {MIN_CANARIES} show little: give more, or 0 for none"
            if not any(capabilities_of(attack).num_shadows for attack in self.attacks):
                yield "canaries are found by attacks with shadow models, such as lira, and none is listed: add one"
            return
        for requirement in self.requirements:
            name = parse_name(requirement.metric)
            if name is not None and name.metric is CANARIES:
                yield f"{requirement.metric} is the share of canaries found, and none are planted: set canaries = 20"

    def _budget_faults(self) -> Iterable[str]:
        if self.shadow_budget is None:
            return
        asked = {attack.name: capabilities_of(attack).num_shadows for attack in self.attacks}
        if not any(asked.values()):
            yield "shadow_budget is for attacks by shadow models, such as lira, and none is listed: leave it out"
        for name, num_shadows in asked.items():
            if num_shadows > self.shadow_budget:
                yield (
                    f"shadow_budget is {self.shadow_budget}, and {name} asks for num_shadows={num_shadows} at first: "
                    "raise the budget to twice that or more, or leave it out"
                )


def metrics_of(attack: Attack) -> list[str]:
    """The full names of what ``attack`` measures, in the order of reports."""
    asked = capabilities_of(attack)
    by_shadows = OF_PERSONS if asked.question == MEMBERSHIP and asked.num_shadows else ()
    return [metric.of(attack.name) for metric in (*asked.question.metrics, *by_shadows)]


def _bounds_attack(requirement: Requirement) -> bool:
    """Whether it bounds what an attack finds in the model."""
    return not requirement.is_change() and not is_of_persons(requirement.metric)
