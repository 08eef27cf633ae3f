"""Examines the health of all attacks of one verdict: whether what found nothing could have found something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safecompress.attacks import (
    ATTACKS,
    MEMBERSHIP,
    Attack,
    Attacker,
    AttackResult,
    FailedAttacker,
    Target,
    capabilities_of,
    simulate_attacker,
    with_shadows,
)
from safecompress.attacks.controls import ControlModel, blind_scores, negative_pool
from safecompress.attacks.shadows import OrderedMap
from safecompress.certify.health.check import HealthCheck
from safecompress.certify.health.controls import blind_baseline, negative_control, positive_control
from safecompress.certify.health.near_duplicates import near_duplicates
from safecompress.certify.health.scores import saturation, sign_agreement, ties
from safecompress.certify.health.shadow_models import compare_shadows
from safecompress.certify.health.strength import STRONGER_THAN, strength
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
    the checks that need it are INCONCLUSIVE. ``split`` is where all rows lie, for the check that no row outside train
    is nearly equal to one in it; None leaves that check out.
    """

    target: Target
    fit: AuditData
    verdict: AuditData
    unseen: AuditData | None
    attackers: Sequence[Attacker | FailedAttacker]
    results: Sequence[AttackResult]
    control: ControlModel | None = None
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
    if num_shadows:
        checks.append(_attempt("shadow_gap", "shadows", lambda: compare_shadows(target, verdict, num_shadows)))
    nobody = _nobody(case, num_shadows, seed)
    control_target = case.control.as_target(run=run) if case.control is not None else None
    by_name = {result.attack: result for result in case.results}
    for attacker, result in zip(case.attackers, case.results, strict=True):
        checks.append(_try_control(attacker.attack, case.control, control_target, levels, seed))
        if result.question != MEMBERSHIP:
            continue  # the other checks are of scores that tell members from non-members
        checks.append(_try_nobody(attacker, target, nobody, levels, num_checks))
        checks += [sign_agreement(result, num_checks=num_checks), ties(result)]
        if result.attack in STRONGER_THAN:
            weak = by_name.get(STRONGER_THAN[result.attack])
            checks.append(strength(result, weak or _try_sibling(attacker.attack, case, levels, seed)))
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


def _try_control(
    attack: Attack, control: ControlModel | None, control_target: Target | None, levels: Levels, seed: int
) -> HealthCheck:
    """The attack fitted and tested on the control, exactly as on the target."""
    if control is None or control_target is None:
        reason = (
            "there is no control model to try the attack on. Train one (train_control); it takes a network whose "
            "layers have reset_parameters, as those of torch.nn do."
        )
        return HealthCheck("positive_control", attack.name, Verdict.INCONCLUSIVE, None, reason)
    attacker = simulate_attacker(attack, control_target, control.fit, generator=derive(seed, "control", attack.name))
    result = attacker.test(control_target, control.verdict, levels)
    return positive_control(result, accuracy=control.accuracy, alpha=levels.alpha)


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


def _try_sibling(attack: Attack, case: HealthCase, levels: Levels, seed: int) -> AttackResult | None:
    """The weaker sibling's result, with as many shadows as the attack's own; None when there is no such attack."""
    name = STRONGER_THAN[attack.name]
    if name not in ATTACKS.names():
        return None
    weak, num_shadows = ATTACKS.make(name), capabilities_of(attack).num_shadows
    if num_shadows:
        weak = with_shadows(weak, num_shadows)
    attacker = simulate_attacker(weak, case.target, case.fit, generator=derive(seed, "verdict", name))
    return attacker.test(case.target, case.verdict, levels)
