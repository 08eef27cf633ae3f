"""The verdict: newly fitted attackers against the model as shipped, tested on held-out rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from safecompress.attacks import Access, Attack, Target, capabilities_of
from safecompress.attacks.controls import train_control
from safecompress.attacks.measure_model import ModelFigures
from safecompress.attacks.shadows import OrderedMap
from safecompress.certify.canaries import measure_canaries, planted_in
from safecompress.certify.companions import describe_attack, measure_with_companions
from safecompress.certify.exposure import Exposure, examine_exposure
from safecompress.certify.health import HealthCase, HealthCheck, examine_health
from safecompress.certify.looks import Look, changes_of, take_looks
from safecompress.certify.who_pays import measure_who_pays
from safecompress.certify.worst_case import PersonFigures, measure_persons
from safecompress.data import AuditData, DataSplit
from safecompress.errors import AttackError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import ACCURACY, attack_of, change_of, tm_score_of
from safecompress.metrics.groups import GroupAccuracy
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.progress import Progress, Silent
from safecompress.seeding import derive, derive_seed
from safecompress.spec import Findings, SafetySpec, ValidityIssue, Verdict


@dataclass(frozen=True, eq=False)
class Certification:
    """Figures of the model as shipped and of the dense one on verdict and test rows, judged by the spec.

    ``opening`` counts how many times these holdout rows have been used, starting at 1; intervals hold at ``levels``.
    """

    findings: Findings
    measurements: Mapping[str, Measurement] = field(repr=False)
    dense: Mapping[str, Measurement] = field(repr=False)
    errors: Mapping[str, str]
    dense_errors: Mapping[str, str]
    attacks: Mapping[str, str]
    """The attacks by name, with all their options."""
    opening: int
    levels: Levels
    access: Access
    """What the attacker is given."""
    bounded: frozenset[str]
    """The attacks that a requirement bounds."""
    epsilon: Mapping[str, float]
    """For each attack a lower limit on its epsilon per sample."""
    dense_findings: Findings
    """The spec's requirements applied to the dense model, as far as it was measured."""
    health: tuple[HealthCheck, ...]
    """What was checked of the attacks and of the data."""
    shadows: str | None
    """How the shipped model's shadows were trained; None when no attack asked for any."""
    trained: Mapping[str, Measurement] = field(default_factory=dict, repr=False)
    """Figures of the model before it was packed; empty where packing changed nothing."""
    trained_findings: Findings = Findings(())
    """The spec's requirements applied to it, as far as it was measured."""
    exposure: Exposure = field(default_factory=Exposure, repr=False)
    """Who is exposed: ROCs, each class, the most exposed rows. It describes, and decides nothing."""
    looks: Mapping[str, Look] = field(default_factory=dict)
    """The attacks that a budget of shadow models let be run more than once, each with its last look."""
    shadows_used: int = 0
    """How many shadows of the shipped model were asked."""
    shadows_reused: int = 0
    """How many of them an earlier process had trained, and a cache kept."""
    who_pays: tuple[GroupAccuracy, ...] = field(default=(), repr=False)
    """The accuracy of each class of the test rows, beside the dense model's."""
    is_rough: bool = False
    """Whether the spec marks the verdict as a first impression."""

    @property
    def tm_score(self) -> float | None:
        """Test accuracy over the worst attack's balanced accuracy; None when an attack broke."""
        return _tm_score(self.measurements, self.attacks)

    @property
    def trained_tm_score(self) -> float | None:
        """That of the model before it was packed; None where packing changed nothing, or an attack on it broke."""
        return _tm_score(self.trained, self.attacks)

    @property
    def dense_tm_score(self) -> float | None:
        """The dense model's; None without one, and when an attack on it broke."""
        measured = set(map(attack_of, self.dense)) | self.dense_errors.keys()
        return _tm_score(self.dense, [name for name in self.attacks if name in measured])


def _tm_score(measurements: Mapping[str, Measurement], attack_names: Iterable[str]) -> float | None:
    return tm_score_of({name: figure.value for name, figure in measurements.items()}, attack_names)


@dataclass(frozen=True, eq=False)
class JudgedModels:
    """The model as ``shipped`` and the models that it is compared with.

    ``counted`` are figures of the file (density, bytes, latency). ``trained`` is the model before it was packed, judged
    beside the shipped one and deciding nothing. Without ``dense`` a `within` requirement is an ERROR that says so.
    ``checks`` are what was found of the file and its rows before any attack; they count as health checks do.
    """

    shipped: Target
    dense: Target | None = None
    trained: Target | None = None
    counted: tuple[Measurement, ...] = ()
    checks: tuple[HealthCheck, ...] = ()

    @property
    def by_name(self) -> dict[str, Target]:
        """Those that are there, as shipped, dense and trained."""
        targets = {"shipped": self.shipped, "dense": self.dense, "trained": self.trained}
        return {name: target for name, target in targets.items() if target is not None}


def certify(
    models: JudgedModels,
    split: DataSplit,
    spec: SafetySpec,
    *,
    seed: int,
    opening: int,
    run: OrderedMap = map,
    watcher: Progress | None = None,
) -> Certification:
    """Judge ``models`` by ``spec``. Attackers are fitted on the fitting pool, per model, with their own seeds.

    ``run`` maps over groups of the health control's shadows; ``watcher`` hears which model is attacked. PASS takes that
    every requirement and health check holds, and that the spec bounds the reference set of its access.
    """
    levels, shipped = spec.levels(opening), models.shipped
    known, watcher = models.by_name, watcher or Silent()
    alone = [attack for attack in spec.attacks if not capabilities_of(attack).joins_versions]
    attacks_on = {name: spec.attacks if name == "shipped" else alone for name in known}
    figures, looks = _attack_all(known, attacks_on, split, spec, levels, seed, watcher)
    shipped_figures, dense_figures = figures["shipped"], figures.get("dense")
    persons = {name: _measure_persons(target, split, attacks_on[name], levels) for name, target in known.items()}
    who_pays = measure_who_pays(split, {name: target.model for name, target in known.items()}, levels)
    measured = {
        name: {**figures[name].measurements, **who_pays.of[name], **persons[name].measurements} for name in known
    }
    measurements = measured["shipped"] | {figure.name: figure for figure in models.counted}
    if dense_figures is not None:
        measurements.update(_changes(shipped_figures, dense_figures, levels, looks))
    watcher.begin("check the attacks on models that they must catch", 1)
    health = (*models.checks, *_examine_health(shipped, shipped_figures, split, spec, opening, seed, run))
    return Certification(
        findings=spec.judge(
            measurements,
            shipped_figures.errors,
            unmeasured={**persons["shipped"].unmeasured, **who_pays.unmeasured},
            doubts=_validity_issues(spec, health),
        ),
        measurements=measurements,
        dense=measured.get("dense", {}),
        errors=shipped_figures.errors,
        dense_errors=dense_figures.errors if dense_figures else {},
        attacks={one.attack.name: describe_attack(one.attack) for one in shipped_figures.attackers},
        opening=opening,
        levels=levels,
        access=spec.access,
        bounded=spec.bounded,
        epsilon={result.attack: result.epsilon for result in shipped_figures.results if result.epsilon is not None},
        dense_findings=_partly_judged(spec, "dense", figures, measured),
        health=health,
        shadows=shipped.shadows.mode if shipped.has_shadows and shipped.shadows.num_used else None,
        trained=measured.get("trained", {}),
        trained_findings=_partly_judged(spec, "trained", figures, measured),
        exposure=_exposure(shipped, split, shipped_figures, dense_figures, levels),
        looks=looks,
        shadows_used=shipped.shadows.num_used if shipped.has_shadows else 0,
        shadows_reused=shipped.shadows.num_reused if shipped.has_shadows else 0,
        who_pays=who_pays.apart,
        is_rough=spec.rough is not None,
    )


def _attack_all(
    targets: Mapping[str, Target],
    attacks_on: Mapping[str, Sequence[Attack]],
    split: DataSplit,
    spec: SafetySpec,
    levels: Levels,
    seed: int,
    watcher: Progress,
) -> tuple[Mapping[str, ModelFigures], Mapping[str, Look]]:
    """The figures of every model, and at which look each attack of a budget was judged."""
    figures = {}
    for name, target in targets.items():
        watcher.begin(f"attack the {name} model with {len(attacks_on[name])} attacks", 1)
        figures[name] = _examine(target, split, attacks_on[name], levels, seed)
    return take_looks(
        spec, levels, targets, figures, lambda target, attack, at: _examine(target, split, [attack], at, seed)
    )


def _measure_persons(target: Target, split: DataSplit, attacks: Sequence[Attack], levels: Levels) -> PersonFigures:
    """What the attacks' shadows say of the most exposed members, and of canaries."""
    exposed = measure_persons(target, split.audit("verdict"), attacks, levels)
    return exposed.joined(measure_canaries(target, split, attacks, levels))


def _exposure(
    shipped: Target, split: DataSplit, figures: ModelFigures, dense_figures: ModelFigures | None, levels: Levels
) -> Exposure:
    """Whom the attacks find, of the shipped model and of the dense one."""
    audit, names = split.audit("verdict"), split.dataset.class_names
    dense_results = dense_figures.results if dense_figures else ()
    return examine_exposure(shipped, audit, names, figures.results, dense_results, levels.alpha, planted_in(split))


def _partly_judged(
    spec: SafetySpec,
    which: str,
    by_model: Mapping[str, ModelFigures],
    measured: Mapping[str, Mapping[str, Measurement]],
) -> Findings:
    """The requirements applied to a ``which`` beside the shipped one, as far as it was measured."""
    if which not in by_model:
        return Findings(())
    return spec.judge(measured[which], by_model[which].errors, partly=True)


def _validity_issues(spec: SafetySpec, health: Sequence[HealthCheck]) -> list[ValidityIssue]:
    """Why the evidence is not valid: health checks that do not hold, attacks that are missing."""
    issues = [
        ValidityIssue(check.outcome, f"{check.name} of {check.subject}: {check.detail}")
        for check in health
        if check.outcome is not Verdict.PASS
    ]
    if spec.rough is not None:
        issues.append(ValidityIssue(Verdict.INCONCLUSIVE, ROUGH.format(command=spec.rough)))
    if missing := spec.missing_reference_attacks():
        issues.append(
            ValidityIssue(Verdict.INCONCLUSIVE, BELOW.format(access=spec.access.name, missing="; ".join(missing)))
        )
    return issues


ROUGH = (
    "this verdict is rough: few rows and a short training give a first impression and never a PASS. The full verdict: "
    "{command}"
)
"""Why a rough spec cannot pass anything, and what to run instead."""

BELOW = (
    "the attacks that are bounded do not make up the reference set for an attacker who is given {access}: {missing}. "
    "Until they do, no verdict is PASS"
)
"""Why a spec below its access level cannot pass anything."""


def _examine(target: Target, split: DataSplit, attacks: Sequence[Attack], levels: Levels, seed: int) -> ModelFigures:
    """The figures of one model on verdict and test rows, of each attack the largest among its companions'."""

    def stream(attack: Attack) -> np.random.Generator:
        return derive(seed, "verdict", attack.name)

    return measure_with_companions(target, split, attacks, levels, pool="verdict", accuracy_part="test", stream=stream)


def _examine_health(
    shipped: Target,
    shipped_figures: ModelFigures,
    split: DataSplit,
    spec: SafetySpec,
    opening: int,
    seed: int,
    run: OrderedMap,
) -> tuple[HealthCheck, ...]:
    fit_pool, verdict_pool = split.audit("fit"), split.audit("verdict")
    unseen = None
    if split.size("population"):
        features, labels = split.part("population")
        unseen = AuditData(features, labels, np.zeros(len(labels), dtype=bool))
    control = None
    with contextlib.suppress(AttackError):  # a network that cannot be made anew: the checks will say so
        control = train_control(shipped, fit_pool, verdict_pool, seed=derive_seed(seed, "verdict", "control"))
    case = HealthCase(
        shipped,
        fit_pool,
        verdict_pool,
        unseen,
        shipped_figures.attackers,
        shipped_figures.results,
        control,
        spec.bounded,
        split,
    )
    return examine_health(case, levels=spec.levels(opening), seed=derive_seed(seed, "verdict", "health"), run=run)


def _changes(
    shipped_figures: ModelFigures, dense_figures: ModelFigures, levels: Levels, looks: Mapping[str, Look]
) -> dict[str, Measurement]:
    """Every figure's change from the dense model: accuracy.drop, and .rise of each attack figure."""
    drops = [
        stats.accuracy_drop_interval(dense_figures.is_right, shipped_figures.is_right, alpha)
        for alpha in (levels.alpha, levels.simultaneous_alpha)
    ]
    intervals = [drop.interval for drop in drops]
    name = change_of(ACCURACY.name)
    drop = Measurement(name, drops[0].value, intervals[0], intervals[1], len(shipped_figures.is_right), Direction.LOWER)
    by_attack = {
        result.attack: looks[result.attack].levels if result.attack in looks else levels
        for result in shipped_figures.results
    }
    return {change.name: change for change in (drop, *changes_of(shipped_figures, dense_figures, by_attack))}
