"""Examines the health of all attacks of one verdict: whether what found nothing could have found something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    MEMBERSHIP,
    Access,
    Attack,
    Attacker,
    AttackResult,
    FailedAttacker,
    Loss,
    Target,
    capabilities_of,
    simulate_attacker,
)
from safecompress.attacks.controls import ControlModel, blind_scores, negative_pool
from safecompress.attacks.reference import REFERENCE, siblings_of
from safecompress.attacks.shadows import OrderedMap
from safecompress.certify.health.check import HealthCheck
from safecompress.certify.health.controls import blind_baseline, negative_control, positive_control, weak_control
from safecompress.certify.health.knows_members import ask_members
from safecompress.certify.health.near_duplicates import near_duplicates
from safecompress.certify.health.own_rows import compare_own_rows
from safecompress.certify.health.scores import saturation, sign_agreement, ties
from safecompress.certify.health.shadow_models import compare_members, compare_outside
from safecompress.certify.health.strength import strength
from safecompress.data import AuditData, DataSplit
from safecompress.errors import SafeCompressError
from safecompress.metrics.measurement import Levels
from safecompress.seeding import derive, derive_seed
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class HealthCase:
    """What is examined: ``attackers`` (fitted on ``fit``) and their ``results`` on ``verdict``, against ``target``.

    ``unseen`` are further rows, all non-members, one of each unit, drawn as the verdict's non-members were: the target
    saw none of them, and shadows as many as of those. ``control`` comes from `train_control`. Without one of the two
    the checks that need it are INCONCLUSIVE. ``bounded`` names the attacks that a requirement bounds: what such an
    attack finds is judged, whichever attack is weaker. ``split`` is where all rows lie, for the check that no row
    outside train is nearly equal to one in it; None leaves that check out.
    """

    target: Target
    fit: AuditData
    verdict: AuditData
    unseen: AuditData | None
    attackers: Sequence[Attacker | FailedAttacker]
    results: Sequence[AttackResult]
    control: ControlModel | None = None
    bounded: frozenset[str] = frozenset()
    split: DataSplit | None = None


def examine_health(
    case: HealthCase, *, levels: Levels, seed: int, num_shadows: int | None = None, run: OrderedMap = map
) -> tuple[HealthCheck, ...]:
    """Every check of the case, in a fixed order.

    ``num_shadows`` is how many shadows are compared with the target (0: none), by default as many as the attacks asked
    for. ``run`` maps over groups of the control's shadows. The checks of shadows and of strength exist where they
    apply: where an attack asks for shadows, or has a weaker sibling.
    """
    target, verdict = case.target, case.verdict
    num_shadows = _num_shadows(target, case.attackers) if num_shadows is None else num_shadows
    num_checks = 2 * sum(result.question == MEMBERSHIP for result in case.results) + 1

    def blind() -> HealthCheck:
        scores = blind_scores(case.fit, verdict, seed=derive_seed(seed, "health", "blind"))
        return blind_baseline(scores, verdict.is_member, num_checks=num_checks)

    checks = [
        _attempt("blind_baseline", "data", blind),
        _attempt("saturation", "target", lambda: saturation(target.signals(verdict))),
    ]
    if (split := case.split) is not None:
        checks.insert(0, _attempt("near_duplicates", "data", lambda: near_duplicates(split)))
        if split.size("train"):
            checks.append(_attempt("knows_members", "target", lambda: ask_members(target, split)))
    if num_shadows:
        checks.append(_attempt("shadow_gap", "shadows", lambda: compare_outside(target, verdict, num_shadows)))
        checks.append(_attempt("likeness", "shadows", lambda: compare_members(target, verdict, num_shadows)))
        checks.append(_attempt("own_rows", "shadows", lambda: compare_own_rows(target, verdict, num_shadows)))
    nobody = _nobody(case, num_shadows, seed)
    controls = _Controls(case, levels, seed, run)
    for attacker, result in zip(case.attackers, case.results, strict=True):
        checks.append(controls.check(attacker.attack) if _can_run(attacker, target) else _untried(attacker.attack))
        if result.question != MEMBERSHIP:
            continue  # the other checks are of scores that tell members from non-members
        checks.append(_try_nobody(attacker, target, nobody, levels, num_checks))
        checks += [sign_agreement(result, num_checks=num_checks), ties(result)]
        checks += _compare_with_siblings(attacker.attack, result, case, levels, seed)
    return tuple(checks)


def _attempt(name: str, subject: str, check: Callable[[], HealthCheck]) -> HealthCheck:
    """What ``check`` says; when it crashes, an ERROR with the reason."""
    try:
        return check()
    except Exception as error:  # as where an attack crashes: a finding, never a check left out
        return HealthCheck(name, subject, Verdict.ERROR, None, f"the check broke ({type(error).__name__}: {error})")


def _num_shadows(target: Target, attackers: Sequence[Attacker | FailedAttacker]) -> int:
    """The most shadows that an attack asked for, or would ask for if the target had any."""
    asked = [capabilities_of(attacker.attack).num_shadows for attacker in attackers]
    return max([*asked, target.shadows.num_used if target.has_shadows else 0])


class _Controls:
    """The controls under attack, made once for all attacks: the one that knows its members by heart, and the weak one.

    The weak one is for attacks that a verdict rests on (`REFERENCE`) and those by shadow models: for what they are made
    for, a model that knows everything by heart is no trial. Labels alone show little of a weak leak.
    """

    def __init__(self, case: HealthCase, levels: Levels, seed: int, run: OrderedMap) -> None:
        self._control, self._levels, self._seed = case.control, levels, seed
        self._strong = None if case.control is None else case.control.as_target(run=run)
        weak = None if case.control is None else case.control.weak
        self._weak = None if weak is None else weak.as_target(run=run)
        self._reference: AttackResult | None = None

    def check(self, attack: Attack) -> HealthCheck:
        """The attack fitted and tested on its control, exactly as on the target."""
        if self._control is None or self._strong is None:
            reason = (
                "there is no control model to try the attack on. Train one (train_control); it takes a network whose "
                "layers have reset_parameters, as those of torch.nn do."
            )
            return HealthCheck("positive_control", attack.name, Verdict.INCONCLUSIVE, None, reason)
        if not _is_tried_on_weak_leak(attack):
            result = self._test(attack, self._strong, self._control)
            return positive_control(result, accuracy=self._control.accuracy, alpha=self._levels.alpha)
        if self._weak is None or self._control.weak is None:
            reason = (
                "no control with a weak leak could be trained: it diverges, or learns none of its members. Scale the "
                "features."
            )
            return HealthCheck("positive_control", attack.name, Verdict.INCONCLUSIVE, None, reason)
        if self._reference is None:
            self._reference = self._test(Loss(), self._weak, self._control.weak)
        check = weak_control(self._test(attack, self._weak, self._control.weak), self._reference)
        if check.outcome is Verdict.ERROR:  # a net had unlucky first weights in 1 of 68 runs; a dead one always has
            check = weak_control(self._test(attack, self._weak, self._control.weak, "again"), self._reference)
        return check

    def _test(self, attack: Attack, target: Target, control: ControlModel, *stream: str) -> AttackResult:
        chance = derive(self._seed, "control", attack.name, *stream)
        attacker = simulate_attacker(attack, target, control.fit, generator=chance)
        return attacker.test(target, control.verdict, self._levels)


def _can_run(attacker: Attacker | FailedAttacker, target: Target) -> bool:
    """Whether the attack could be run on the target at all: one that lacks shadow models of it proves nothing."""
    needs_shadows = capabilities_of(attacker.attack).num_shadows > 0
    return not (isinstance(attacker, FailedAttacker) and needs_shadows and not target.has_shadows)


def _untried(attack: Attack) -> HealthCheck:
    reason = "it could not be run on the model, so no shadow models of a control were trained for it."
    return HealthCheck("positive_control", attack.name, Verdict.INCONCLUSIVE, None, reason)


def _is_tried_on_weak_leak(attack: Attack) -> bool:
    capabilities = capabilities_of(attack)
    is_of_reference = attack.name in REFERENCE[Access.WEIGHTS]
    return capabilities.question == MEMBERSHIP and (is_of_reference or capabilities.num_shadows > 0)


def _nobody(case: HealthCase, num_shadows: int, seed: int) -> AuditData | str:
    """The pool of the negative control, as many unseen rows as there are members; or why there is none.

    Where shadows count, both sides keep only rows that stand to the shadows as most verdict non-members do.
    """
    target, verdict, unseen = case.target, case.verdict, case.unseen
    if unseen is None or unseen.num_non_members == 0:
        return "there are no rows that the model never saw beside the verdict's. Give the split a population."
    pool = negative_pool(unseen, verdict)
    is_alike = np.ones(len(pool.labels), dtype=bool)
    if num_shadows and target.has_shadows:
        try:
            is_known = np.asarray(target.shadows.outputs(pool, count=num_shadows).is_in_KN.any(axis=0))
        except SafeCompressError as error:
            return f"the shadows could not be asked about them ({error})"
        is_alike = np.equal(is_known, is_known[~pool.is_member].mean() > 0.5)
    ours, theirs = (np.flatnonzero(is_alike & side) for side in (pool.is_member, ~pool.is_member))
    if min(len(ours), len(theirs)) == 0:
        return (
            "the shadows know the verdict's non-members but none of the rows that the model never saw, or the other "
            "way round. Draw shadows from both."
        )
    ours = derive(seed, "health", "unseen").permutation(ours)[: verdict.num_members]
    rows = np.concatenate([np.sort(ours), theirs])
    return AuditData(pool.features[rows], pool.labels[rows], pool.is_member[rows])


def _try_nobody(
    attacker: Attacker | FailedAttacker, target: Target, nobody: AuditData | str, levels: Levels, num_checks: int
) -> HealthCheck:
    """The attacker of the target on rows that nobody was trained on."""
    if isinstance(nobody, str):
        return HealthCheck("negative_control", attacker.attack.name, Verdict.INCONCLUSIVE, None, nobody)
    return negative_control(attacker.test(target, nobody, levels), num_checks=num_checks)


def _compare_with_siblings(
    attack: Attack, result: AttackResult, case: HealthCase, levels: Levels, seed: int
) -> list[HealthCheck]:
    """The one check of strength that speaks most against the attack; none where it has no siblings."""
    found = [(sibling, _result_of(sibling, case, levels, seed)) for sibling in siblings_of(attack)]
    checks = [strength(result, weak, is_judged=_is_judged(sibling, weak, case)) for sibling, weak in found]
    least = sorted(checks, key=lambda check: (check.outcome is Verdict.PASS, check.value or 0.0))
    return least[:1]


def _is_judged(sibling: Attack, found: AttackResult, case: HealthCase) -> bool:
    """Whether a requirement bounds the sibling, or an attack that finds as much as the sibling did."""
    if sibling.name in case.bounded:
        return True
    return any(
        result.attack in case.bounded and strength(result, found).outcome is Verdict.PASS
        for result in case.results
        if result.question == MEMBERSHIP and result.scores is not None
    )


def _result_of(sibling: Attack, case: HealthCase, levels: Levels, seed: int) -> AttackResult:
    """What the sibling found: in the verdict, where the spec has it with the same options, or now."""
    for attacker, result in zip(case.attackers, case.results, strict=True):
        if attacker.attack == sibling:
            return result
    attacker = simulate_attacker(sibling, case.target, case.fit, generator=derive(seed, "verdict", sibling.name))
    return attacker.test(case.target, case.verdict, levels)
