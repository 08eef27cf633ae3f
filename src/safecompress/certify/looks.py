"""More shadow models where a verdict would hang on which were drawn: a few looks at an attack, which share alpha.

An attack is run with its own number of shadow models first, then with twice as many, up to the spec's budget. It stops
at the first look that decides every requirement on it. Early looks have a tenth of alpha together and the last has the
rest, so that all looks err at most as often as alpha says, however they depend on one another (Bonferroni over looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from safecompress.attacks import Attack, AttackResult, Target, capabilities_of
from safecompress.attacks.capabilities import with_shadows
from safecompress.attacks.measure_model import ModelFigures
from safecompress.metrics.catalogue import attack_of, is_of_persons
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.spec import Requirement, SafetySpec, Verdict

EARLY_SHARE = 0.1
"""Of alpha, for all looks but the last together: a clear case stands far from its bound, and costs the last little."""


@dataclass(frozen=True, slots=True)
class Look:
    """The look at which an attack was decided, or the last: its shadows, its number, of how many, and its levels."""

    attack: str
    num_shadows: int
    number: int
    num_looks: int
    levels: Levels

    def __str__(self) -> str:
        return (
            f"{self.attack} was judged by {self.num_shadows} shadow models, at look {self.number} of at most "
            f"{self.num_looks}; its intervals hold at {1 - self.levels.alpha:.4%}, this look's share of alpha."
        )


class Examine(Protocol):
    """Fits one attack on a model and tests it."""

    def __call__(self, target: Target, attack: Attack, levels: Levels, /) -> ModelFigures:
        """The figures of that attack alone."""
        ...


def look_sizes(num_shadows: int, budget: int) -> tuple[int, ...]:
    """Shadows at each look: twice as many each time, the budget at last."""
    sizes = [num_shadows]
    while sizes[-1] < budget:
        sizes.append(min(2 * sizes[-1], budget))
    return tuple(sizes)


def look_levels(levels: Levels, num_looks: int) -> tuple[Levels, ...]:
    """The levels of each look."""
    if num_looks == 1:
        return (levels,)
    early = replace(levels, alpha=EARLY_SHARE * levels.alpha / (num_looks - 1))
    return (early,) * (num_looks - 1) + (replace(levels, alpha=(1 - EARLY_SHARE) * levels.alpha),)


def takes_looks(spec: SafetySpec, attack: Attack) -> bool:
    """Whether ``attack`` may be looked at more than once: it has a requirement, and fewer shadows than the budget.

    Requirements on persons do not count: their figures are measured once, beside the attack.
    """
    num_shadows = capabilities_of(attack).num_shadows
    is_required = any(_is_on(requirement, attack.name) for requirement in spec.requirements)
    return is_required and spec.shadow_budget is not None and 0 < num_shadows < spec.shadow_budget


def take_looks(
    spec: SafetySpec,
    levels: Levels,
    targets: Mapping[str, Target],
    by_model: Mapping[str, ModelFigures],
    examine: Examine,
) -> tuple[dict[str, ModelFigures], dict[str, Look]]:
    """``by_model`` with the figures of the last look in place, by the names of ``targets``; and the looks, by attack.

    ``targets`` has the model that is judged as "shipped" and perhaps the one it is compared with as "dense". All of
    them are attacked with equally many shadow models.
    """
    settled, looks = dict(by_model), {}
    for attack in spec.attacks:
        if not takes_looks(spec, attack):
            continue
        assert spec.shadow_budget is not None
        models = {
            name: target
            for name, target in targets.items()
            if name == "shipped" or not capabilities_of(attack).joins_versions
        }
        sizes = look_sizes(capabilities_of(attack).num_shadows, spec.shadow_budget)
        for number, (size, here) in enumerate(zip(sizes, look_levels(levels, len(sizes)), strict=True), 1):
            found = {name: examine(target, with_shadows(attack, size), here) for name, target in models.items()}
            look = Look(attack.name, size, number, len(sizes), here)
            if _is_decided(spec, look, found):
                break
        settled |= {name: _replaced(settled[name], found[name]) for name in models}
        looks[attack.name] = look
    return settled, looks


def changes_of(now: ModelFigures, before: ModelFigures, levels: Mapping[str, Levels]) -> list[Measurement]:
    """Every attack's figures of ``now`` minus those of ``before``, at the attack's own levels."""
    evidence = {result.attack: result.evidence for result in before.results}
    changes: list[Measurement] = []
    for result in now.results:
        other = evidence.get(result.attack)
        if result.evidence is not None and other is not None:
            changes += result.question.change(result.attack, result.evidence, other, levels[result.attack])
    return changes


def _is_decided(spec: SafetySpec, look: Look, found: Mapping[str, ModelFigures]) -> bool:
    """Whether every requirement on the attack holds or one is broken; or the attack is, which no shadow mends."""
    shipped = found["shipped"]
    measured = {figure.name: figure for result in shipped.results for figure in result.measurements}
    if "dense" in found:
        changes = changes_of(shipped, found["dense"], {look.attack: look.levels})
        measured |= {change.name: change for change in changes}
    findings = spec.judge(measured, shipped.errors).findings
    verdicts = {finding.verdict for finding in findings if _is_on(finding.requirement, look.attack)}
    return verdicts == {Verdict.PASS} or bool(verdicts & {Verdict.FAIL, Verdict.ERROR})


def _is_on(requirement: Requirement, attack_name: str) -> bool:
    return attack_of(requirement.metric) == attack_name and not is_of_persons(requirement.metric)


def _replaced(figures: ModelFigures, found: ModelFigures) -> ModelFigures:
    """``figures`` with the results and attackers of ``found`` in the places of the same attacks."""
    results: dict[str, AttackResult] = {result.attack: result for result in found.results}
    attackers = {attacker.attack.name: attacker for attacker in found.attackers}
    return replace(
        figures,
        results=tuple(results.get(result.attack, result) for result in figures.results),
        attackers=tuple(attackers.get(attacker.attack.name, attacker) for attacker in figures.attackers),
    )
