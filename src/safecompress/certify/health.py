"""Health of attacks: whether an attack that found nothing could have found something. Judges attacks, never the model.

N rows, K shadows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from safecompress.attacks import (
    ATTACKS,
    MEMBERSHIP,
    Access,
    Attack,
    Attacker,
    AttackResult,
    FailedAttacker,
    Signals,
    Target,
    capabilities_of,
    simulate_attacker,
    with_shadows,
)
from safecompress.attacks.controls import OVERFITTED, ControlModel, blind_scores, negative_pool
from safecompress.attacks.questions import headline_of
from safecompress.attacks.shadows import OrderedMap
from safecompress.data import AuditData
from safecompress.errors import SafeCompressError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval, Levels
from safecompress.seeding import derive, derive_seed
from safecompress.spec import Verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARED_ALPHA = 0.001
"""The chance that any of the negative, blind and sign checks of a sound audit raises an ERROR (Bonferroni)."""

DECISIVE = 0.01
"""The error rate of the checks that compare two things: shadows with the target, an attack with its weaker sibling."""

LARGEST_TIE, LARGEST_GAP = 0.5, 0.05
"""The largest share of rows that may be equal, and the largest gap between target and shadows beyond noise."""

STRONGER_THAN: Mapping[str, str] = {
    "lira": "loss",
    "whitebox": "neural",
    "modified_entropy": "entropy",
    "samia": "neural",
    "joint_lira": "lira",
    "rmia": "loss",
    "base": "loss",
    "quantile": "loss",
}
"""The weaker sibling that each attack must not be significantly under."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What one check saw of ``subject``: an attack by name, "data", "target" or "shadows".

    ``outcome`` is PASS, INCONCLUSIVE or ERROR. It is never FAIL, which would speak of the model. ``value`` is the
    figure looked at, None when there is none; ``detail`` says what was seen and, where it is no PASS, what to do.
    """

    name: str
    subject: str
    outcome: Verdict
    value: float | None
    detail: str

    def __post_init__(self) -> None:
        if self.outcome is Verdict.FAIL:
            raise UsageError(f"The health check {self.name!r} cannot FAIL: it judges an attack. Use ERROR.")


def positive_control(result: AttackResult, *, accuracy: float, alpha: float) -> HealthCheck:
    """Whether the attack catches a model that knows its members by heart: the lower limit of its AUC is above 0.5.

    ``result`` is the attack on the control, ``accuracy`` the control's on its members. An attack on a question
    other than membership must do better than its ideal by its own headline figure. Not caught, it is an ERROR, or
    INCONCLUSIVE when the control was not overfitted.
    """
    name = "positive_control"
    if result.evidence is None:
        return _broken(name, result)
    metric = headline_of(result.question)
    value, interval = result.question.interval(result.evidence, alpha)
    seen = f"{metric.label} {value:.3f} {_range(interval)} on a control that knows {accuracy:.1%} of its members"
    if interval.low > metric.ideal:
        return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}: caught.")
    if accuracy < OVERFITTED:
        advice = f"it should know {OVERFITTED:.0%}. Train the control for longer (max_epochs), or scale the features."
        return HealthCheck(name, result.attack, Verdict.INCONCLUSIVE, value, f"{seen}, and {advice}")
    advice = (
        "not caught, so its figure on the target means nothing. Mend or drop the attack, or give the pools more rows."
    )
    return HealthCheck(name, result.attack, Verdict.ERROR, value, f"{seen}: {advice}")


def negative_control(result: AttackResult, *, num_checks: int) -> HealthCheck:
    """Whether the attack finds nothing between two sets of rows that the model never saw, ``result`` being on those."""
    name = "negative_control"
    if result.scores is None or result.is_member is None:
        return _broken(name, result)
    return _holds_half(
        name,
        result.attack,
        *_auc(result.scores, result.is_member, SHARED_ALPHA / num_checks),
        "between rows that the model never saw",
        "It tells them apart by something else than membership: look for rows prepared in two ways, for a score that "
        "reads is_member or the order of rows, and for rows that only one side shares with the shadows.",
    )


def blind_baseline(scores: Floats, is_member: Bools, *, num_checks: int) -> HealthCheck:
    """Whether a classifier that never saw the model fails to tell the pools apart; if not, the audit is void."""
    return _holds_half(
        "blind_baseline",
        "data",
        *_auc(scores, is_member, SHARED_ALPHA / num_checks),
        "from rows and labels alone, without the model",
        "Members and non-members differ by themselves, so no attack's figure speaks of the model. Draw both at random "
        "from one set (make_split does), prepared in one way.",
    )


def sign_agreement(result: AttackResult, *, num_checks: int) -> HealthCheck:
    """Whether the direction found on the fitting pool holds on the verdict pool: AUC not significantly under 0.5."""
    name = "sign"
    if result.scores is None or result.is_member is None:
        return _broken(name, result)
    # one-sided: the whole error rate on the side that counts
    value, interval = _auc(result.scores, result.is_member, 2 * SHARED_ALPHA / num_checks)
    seen = f"AUC {value:.3f} {_range(interval)} on the verdict pool"
    if interval.high < 0.5:
        advice = (
            "the direction learnt on the fitting pool is contradicted. The pools differ, or the attack knows its "
            "fitting rows by heart: draw both pools at random from one set, or give it more fitting rows."
        )
        return HealthCheck(name, result.attack, Verdict.ERROR, value, f"{seen}: {advice}")
    return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}: the fitting pool's direction stands.")


def ties(result: AttackResult) -> HealthCheck:
    """How many rows share the most common score: more than half is INCONCLUSIVE, unless the attack reads labels."""
    name = "ties"
    if result.scores is None:
        return _broken(name, result)
    value = largest_tie(result.scores)
    seen = f"{value:.1%} of the rows share one score"
    if value > LARGEST_TIE and result.access > Access.LABELS:
        advice = "the attack cannot rank them. Look for rounding or clipping in its score, or in the model's outputs."
        return HealthCheck(name, result.attack, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, result.attack, Verdict.PASS, value, f"{seen}.")


def saturation(signals: Signals) -> HealthCheck:
    """How many rows the model's answers leave alike: the largest share with one top margin, to float32's precision.

    Margins are taken for equal when they differ by less than a float32 of the size of the row's logits can say.
    """
    step = float(np.finfo(np.float32).eps) * float(np.median(np.abs(signals.logits_NC).max(axis=1)))
    margins_N = signals.top_margin_N
    value = largest_tie(np.round(margins_N / step) if step > 0 else margins_N)
    seen = f"{value:.1%} of the rows get an answer of one and the same confidence"
    if value > LARGEST_TIE:
        advice = (
            "attacks that read scores have nothing to read there, and another form of the same model may say more. "
            "Audit the logits before they are clipped, rounded or made constant."
        )
        return HealthCheck("saturation", "target", Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck("saturation", "target", Verdict.PASS, value, f"{seen}.")


def shadow_gap(is_correct_N: Bools, is_correct_KN: Bools, is_in_KN: Bools) -> HealthCheck:
    """Whether shadows are as good as the target on rows that neither trained on; ``value`` is the target's lead.

    All N rows are out of the target; each shadow counts on those it was not trained on. More than 0.05 beyond noise
    (z at 0.01, over rows and over shadows, of which the target is one more draw) is INCONCLUSIVE.
    """
    name, subject = "shadow_gap", "shadows"
    is_out_KN = ~is_in_KN
    lead_KN = np.where(is_out_KN, is_correct_N.astype(np.float64) - is_correct_KN, np.nan)
    rows, shadows = is_out_KN.any(axis=0), is_out_KN.any(axis=1)
    if rows.sum() < 2 or shadows.sum() < 2:
        reason = f"{rows.sum()} rows are out of {shadows.sum()} shadows; it takes 2 of each. Train more shadows."
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, None, reason)
    by_row, by_shadow = np.nanmean(lead_KN[:, rows], axis=0), np.nanmean(lead_KN[shadows], axis=1)
    value = float(by_row.mean())
    noise = np.sqrt(by_row.var(ddof=1) / by_row.size + by_shadow.var(ddof=1) * (1 + 1 / by_shadow.size))
    reach = -float(ndtri(DECISIVE / 2)) * float(noise)
    seen = (
        f"on rows that neither saw the target is right {abs(value):.1%} {'more' if value >= 0 else 'less'} often than "
        f"its {by_shadow.size} shadows (noise {reach:.1%})"
    )
    if abs(value) > LARGEST_GAP + reach:
        advice = (
            "they are not models of it, and attacks by shadows may miss what it leaks. Train them as it was trained."
        )
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, value, f"{seen}: {advice}")
    return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}.")


def strength(strong: AttackResult, weak: AttackResult | None) -> HealthCheck:
    """Whether an attack is no weaker than its weaker sibling: paired DeLong at 0.01; ``value`` is the AUCs' difference.

    ``weak`` on the same rows; None when it was not run, which is INCONCLUSIVE.
    """
    name, sibling = "strength", STRONGER_THAN.get(strong.attack, "sibling")
    if strong.scores is None or strong.is_member is None:
        return _broken(name, strong)
    if weak is None or weak.scores is None:
        why = "was not run" if weak is None else f"broke ({weak.error})"
        advice = f"{sibling}, which it is compared with, {why}. Add {sibling!r} to the attacks of the spec."
        return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, None, advice)
    difference = stats.auc_difference(strong.scores, weak.scores, strong.is_member, DECISIVE)
    seen = f"AUC {difference.value:+.3f} {_range(difference.interval)} beside {weak.attack}, its weaker sibling"
    if difference.value < 0 and difference.p_value < DECISIVE:
        advice = f"it is not at its strength, so its figure is too kind. Judge by {weak.attack}, or mend its options."
        return HealthCheck(name, strong.attack, Verdict.INCONCLUSIVE, difference.value, f"{seen}: {advice}")
    return HealthCheck(name, strong.attack, Verdict.PASS, difference.value, f"{seen}.")


def largest_tie(values_N: Floats) -> float:
    """The share of rows in the largest group of equal values, in (0, 1]."""
    return float(np.unique(values_N, return_counts=True)[1].max()) / len(values_N)


@dataclass(frozen=True, eq=False)
class HealthCase:
    """What is examined: ``attackers`` (fitted on ``fit``) and their ``results`` on ``verdict``, against ``target``.

    ``unseen`` are further rows, all non-members, one of each unit, drawn as the verdict's non-members were: the target
    saw none of them, and shadows as many as of those. ``control`` comes from `train_control`. Without one of the two
    the checks that need it are INCONCLUSIVE.
    """

    target: Target
    fit: AuditData
    verdict: AuditData
    unseen: AuditData | None
    attackers: Sequence[Attacker | FailedAttacker]
    results: Sequence[AttackResult]
    control: ControlModel | None = None


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
    if num_shadows:
        checks.append(_attempt("shadow_gap", "shadows", lambda: _compare_shadows(target, verdict, num_shadows)))
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


def _compare_shadows(target: Target, verdict: AuditData, num_shadows: int) -> HealthCheck:
    """The gap between shadows and target on the verdict's non-members."""
    if not target.has_shadows:
        reason = "attacks ask for shadow models, and the target has none. Give the recipe that it was trained by."
        return HealthCheck("shadow_gap", "shadows", Verdict.INCONCLUSIVE, None, reason)
    outputs = target.shadows.outputs(verdict, count=num_shadows)
    rows = ~verdict.is_member
    is_right = target.signals(verdict).is_correct_N
    return shadow_gap(is_right[rows], outputs.is_correct_KN[:, rows], outputs.is_in_KN[:, rows])


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


def _auc(scores: Floats, is_member: Bools, alpha: float) -> tuple[float, Interval]:
    return stats.auc(scores, is_member), stats.auc_interval(scores, is_member, alpha)


def _holds_half(name: str, subject: str, value: float, interval: Interval, where: str, advice: str) -> HealthCheck:
    """PASS where the interval holds 0.5, else ERROR with the advice."""
    seen = f"AUC {value:.3f} {_range(interval)} {where}"
    if interval.low <= 0.5 <= interval.high:
        return HealthCheck(name, subject, Verdict.PASS, value, f"{seen}: nothing found, as it should be.")
    return HealthCheck(name, subject, Verdict.ERROR, value, f"{seen}. {advice}")


def _broken(name: str, result: AttackResult) -> HealthCheck:
    """An attack that gave no scores to look at."""
    reason = f"the attack gave no scores ({result.error or 'no reason given'}). Mend it, or take it out of the spec."
    return HealthCheck(name, result.attack, Verdict.ERROR, None, reason)


def _range(interval: Interval) -> str:
    return f"[{interval.low:.3f}, {interval.high:.3f}]"
