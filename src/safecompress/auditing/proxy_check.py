"""How well the cheap tests ranked candidates: the last round's, attacked again by the verdict's attacks.

That happens on selection rows: no verdict row is opened for it, and the shadows are drawn apart from the verdict's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from safecompress.attacks import Attack, Target, capabilities_of, with_shadows
from safecompress.attacks.measure_model import fit_attackers, run_attackers
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.shadows import OrderedMap, ShadowModels
from safecompress.auditing.shadow_training import TrainingProvenance, shadow_rows
from safecompress.compression.job import Job
from safecompress.compression.search import Candidate, Evaluation, RoundResult
from safecompress.metrics.catalogue import headlines, leaks
from safecompress.metrics.measurement import Levels
from safecompress.seeding import derive

NUM_SHADOWS = 16
"""Most shadows that a ranking trains."""

FEWEST = 3
"""Candidates under which a rank correlation says nothing."""


@dataclass(frozen=True)
class ProxyRanking:
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
    job: Job, result: RoundResult, candidates: Sequence[Candidate], *, store: PrivateFolder | None, run: OrderedMap
) -> ProxyRanking | None:
    """The ranking of ``candidates``, those of ``result``; None when there are too few, or no verdict attack is left.

    Verdict attacks are the spec's that not every candidate met. Shadows are trained into the winner's pattern and to
    the candidates' age, and attack all of them.
    """
    cheap_attacks, _ = job.plan.tests(job.spec.attacks)
    names = {attack.name for attack in cheap_attacks}
    attacks = [
        _bounded(attack)
        for attack in job.spec.attacks
        if (can := capabilities_of(attack)).tier > 0 and attack.name not in names and not can.joins_versions
    ]
    usable = [(c, e) for c, e in zip(candidates, result.evaluations, strict=True) if not e.errors]
    if len(usable) < FEWEST or not attacks:
        return None
    shadows = None
    if any(capabilities_of(attack).tier == 2 for attack in attacks):
        share = result.winner.state.step / job.total_steps
        lineage = TrainingProvenance.of_job(job, result.winner.objective)
        trainer = lineage.trainer(result.winner.pattern, "final pattern", share=share)
        rows = shadow_rows(job.raw, "select", job.seed, has_reference=lineage.reference is not None)
        shadows = ShadowModels(rows, trainer, store=store, run=run)
    cheap = {evaluation.branch: _worst(evaluation, names) for _, evaluation in usable}
    verdict: dict[str, dict[str, float]] = {attack.name: {} for attack in attacks}
    errors: dict[str, str] = {}
    for candidate, evaluation in usable:
        target = Target(job.dense_network(candidate.state.model), access=job.spec.access, shadows=shadows)
        attackers = fit_attackers(target, job.raw, attacks, partial(_stream, job.seed, candidate.id))
        for found in run_attackers(attackers, target, job.raw, Levels(), "select"):
            if found.error is not None:
                errors[found.attack] = found.error
            for name, figure in headlines({m.name: m.value for m in found.measurements}).items():
                verdict[name][evaluation.branch] = figure
    whole = {name: aucs for name, aucs in verdict.items() if len(aucs) == len(cheap)}
    return ProxyRanking(
        result.number,
        cheap,
        whole,
        {name: _tau(list(cheap.values()), [aucs[branch] for branch in cheap]) for name, aucs in whole.items()},
        {name: aucs[min(cheap, key=cheap.__getitem__)] - min(aucs.values()) for name, aucs in whole.items()},
        errors,
    )


def _stream(seed: int, candidate_id: str, attack: Attack) -> np.random.Generator:
    return derive(seed, "ranking", attack.name, candidate_id)


def _bounded(attack: Attack) -> Attack:
    """The attack with at most as many shadows as a ranking trains."""
    return with_shadows(attack, NUM_SHADOWS) if capabilities_of(attack).num_shadows > NUM_SHADOWS else attack


def _worst(evaluation: Evaluation, attack_names: set[str]) -> float:
    values = {name: figure.value for name, figure in evaluation.measurements.items()}
    return max(figure for attack, figure in leaks(values).items() if attack in attack_names)


def _tau(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    from scipy.stats import kendalltau  # takes seconds to import

    tau = float(kendalltau(ours, theirs).statistic)
    return tau if np.isfinite(tau) else None
