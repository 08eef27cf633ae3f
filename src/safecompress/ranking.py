"""How well the cheap tests ranked candidates: the last round's, attacked again by the verdict's attacks.

That happens on selection rows: no verdict row is opened for it, and the shadows are drawn apart from the verdict's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from safecompress import stats
from safecompress.attacks import Attack, Target, simulate_attacker, tier_of
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import Map, ShadowModels
from safecompress.job import Job
from safecompress.measure import Levels
from safecompress.search import Candidate, Evaluation, RoundResult
from safecompress.seeding import derive
from safecompress.shadowing import Lineage, shadow_rows

NUM_SHADOWS = 16
"""Most shadows that a ranking trains."""

FEWEST = 3
"""Candidates under which a rank correlation says nothing."""


@dataclass(frozen=True)
class Ranking:
    """AUCs of one round's candidates by the cheap tests (the worst of them) and by each verdict attack.

    ``tau`` is Kendall's rank correlation (tau-b) of the two, None where one side does not vary; ``regret`` how much
    lower, in that attack's AUC, the safest candidate by it is than the safest by the cheap tests. ``errors`` are the
    attacks that some candidate got no figure from, with the reason.
    """

    round: int
    cheap: Mapping[str, float]
    verdict: Mapping[str, Mapping[str, float]]
    tau: Mapping[str, float | None]
    regret: Mapping[str, float]
    errors: Mapping[str, str] = field(default_factory=dict)


def rank_candidates(
    job: Job, result: RoundResult, candidates: Sequence[Candidate], *, store: PrivateFolder | None, run: Map
) -> Ranking | None:
    """The ranking of ``candidates``, those of ``result``; None when there are too few, or no verdict attack is left.

    Verdict attacks are the spec's that not every candidate met. Shadows are trained into the winner's pattern and to
    the candidates' age, and attack all of them.
    """
    cheap_attacks, _ = job.plan.tests(job.spec.attacks)
    names = {attack.name for attack in cheap_attacks}
    attacks = [_bounded(a) for a in job.spec.attacks if tier_of(a) > 0 and a.name not in names and not _joins(a)]
    usable = [(c, e) for c, e in zip(candidates, result.evaluations, strict=True) if not e.errors]
    if len(usable) < FEWEST or not attacks:
        return None
    shadows = None
    if any(tier_of(attack) == 2 for attack in attacks):
        share = result.winner.state.step / job.total_steps
        lineage = Lineage.of_job(job, result.winner.objective)
        trainer = lineage.trainer(result.winner.pattern, "final pattern", share=share)
        rows = shadow_rows(job.raw, "select", job.seed, has_reference=lineage.reference is not None)
        shadows = ShadowModels(rows, trainer, store=store, run=run)
    cheap = {evaluation.branch: _worst(evaluation, names) for _, evaluation in usable}
    verdict: dict[str, dict[str, float]] = {attack.name: {} for attack in attacks}
    errors: dict[str, str] = {}
    for candidate, evaluation in usable:
        target = Target(job.dense_network(candidate.state.model), access=job.spec.access, shadows=shadows)
        for attack in attacks:
            generator = derive(job.seed, "ranking", attack.name, candidate.id)
            attacker = simulate_attacker(attack, target, job.raw.audit("fit"), generator=generator)
            found = attacker.test(target, job.raw.audit("select"), Levels())
            if found.error is not None:
                errors[attack.name] = found.error
            elif found.scores is not None and found.is_member is not None:
                verdict[attack.name][evaluation.branch] = stats.auc(found.scores, found.is_member)
    whole = {name: aucs for name, aucs in verdict.items() if len(aucs) == len(cheap)}
    return Ranking(
        result.number,
        cheap,
        whole,
        {name: _tau(list(cheap.values()), [aucs[branch] for branch in cheap]) for name, aucs in whole.items()},
        {name: aucs[min(cheap, key=cheap.__getitem__)] - min(aucs.values()) for name, aucs in whole.items()},
        errors,
    )


def _bounded(attack: Any) -> Attack:
    """The attack with at most as many shadows as a ranking trains."""
    if getattr(attack, "num_shadows", 0) > NUM_SHADOWS:
        attack = replace(attack, num_shadows=NUM_SHADOWS)
    bounded: Attack = attack
    return bounded


def _joins(attack: Attack) -> bool:
    return bool(getattr(attack, "joins_versions", False))


def _worst(evaluation: Evaluation, names: set[str]) -> float:
    return max(evaluation.measurements[f"{name}.auc"].value for name in names)


def _tau(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    from scipy.stats import kendalltau  # takes seconds to import

    tau = float(kendalltau(ours, theirs).statistic)
    return tau if np.isfinite(tau) else None
