"""The search by arms: sub-models teach, every arm is trained and attacked, strong tests say which one ships.

folds ─> teachers ─> arms trained and tested ─> dominated ones dropped ─> finalists: costly attacks, repeats
                                                                            └─> the choice, with its reasons
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from safecompress.attacks import capabilities_of
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.auditing.arm_evidence import gather_evidence
from safecompress.compression.arms.choose import (
    ArmEvidence,
    ArmResult,
    ArmState,
    DenseFigures,
    advise,
    choose_arm,
    drop_dominated,
    forecast,
    name_finalists,
)
from safecompress.compression.arms.train import arm_job
from safecompress.compression.arms.trial import ArmTrial
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, Trained
from safecompress.compression.search import Evaluation, Executor, RunStore, TrialRows, status_of, watched_map
from safecompress.compression.search.arm import Arm, Arms, short_names
from safecompress.export import ServedModel
from safecompress.metrics.measurement import Levels
from safecompress.progress import CandidateState, CandidateStatus, RoundStatus
from safecompress.report import describe_arm
from safecompress.seeding import derive
from safecompress.training import TrainingState, classified_right

CHOSEN = "chosen"
"""The name of the chosen arm in the run's store."""


@dataclass(frozen=True, eq=False)
class ArmChoice:
    """The arm that ships, trained by ``job`` alone, and all arms as JSON."""

    job: Job
    trained: Trained
    entries: Sequence[Mapping[str, Any]]
    advice: str | None


def search_arms(
    phases: RunPhases, dense_state: TrainingState, levels: Levels, store: PrivateFolder, executor: Executor
) -> ArmChoice:
    """Train, test and compare the arms of the job's plan, and choose one; ``levels`` are the verdict's.

    ``store`` keeps sub-models and repeats by content, the run's folder the trained arms: what a killed run finished is
    not done again.
    """
    job, watcher = phases.job, phases.watcher
    arms = job.plan.arms
    assert arms is not None  # whoever calls this has looked
    trials = _trials(phases, store, executor)
    watch = _ArmStatus(phases, [trial.name for trial in trials])
    with phases.timer.of("arms"):
        tested = watched_map(executor, watcher, "arms")(ArmTrial.try_out, trials)
        results = [ArmResult(trial.arm, trial.name, watch.seen(e)) for trial, e in zip(trials, tested, strict=True)]
    results = drop_dominated(results)
    count = len(results) if arms.goal == "front" else job.plan.finalists
    finalists = name_finalists(results, count, job.plan.selector, derive(job.seed, "finalists"))
    with phases.timer.of("finalists"):
        deepened = list(executor.map(_deepen, [(trials[i], results[i].evaluation) for i in finalists]))
    evidence = _evidence(phases, [trials[index] for index in finalists], levels, store, executor)
    dense = _dense_figures(job, dense_state, trials[0].rows)
    for index, evaluation, found in zip(finalists, deepened, evidence, strict=True):
        finalist = replace(results[index], evaluation=evaluation, evidence=found, state=ArmState.FINALIST)
        results[index] = replace(finalist, forecasts=forecast(job.spec, levels, finalist, dense))
    results = choose_arm(results)
    place = next(index for index, result in enumerate(results) if result.state is ArmState.CHOSEN)
    watch.close(results)
    advice = advise(results)
    for line in ([] if advice is None else [advice]) + [f"{results[place].name}: {results[place].reason}"]:
        watcher.say(line)
    candidate = trials[place].trained()
    phases.store.save_candidate(CHOSEN, candidate)
    entries = [describe_arm(result) for result in results]
    return ArmChoice(trials[place].job, Trained(candidate, candidate.state), entries, advice)


def judged_job(job: Job, store: RunStore) -> Job:
    """The job whose model is judged: that of the chosen arm, where a former run has chosen; else ``job`` itself."""
    if job.plan.arms is None or not store.has(CHOSEN):
        return job
    jobs = {arm.key: arm_job(job, arm) for arm in job.plan.each_arm}
    known = store.for_objectives(own.recipe.objective for own in jobs.values())
    chosen = known.load_candidate(CHOSEN)
    return job if chosen is None else jobs[chosen.id]


def one_arm(arms: Arms, arm: Arm) -> Arms:
    """Arms that compare nothing: ``arm`` alone, to be certified by a run of its own."""
    return replace(arms, shares=(arm.share,), lengths=(arm.length,), densities=(), goal="spec", repeats=0)


def _trials(phases: RunPhases, store: PrivateFolder, executor: Executor) -> list[ArmTrial]:
    """A trial of each arm; their teachers are trained first, once for each density."""
    job = phases.job
    arms = job.plan.each_arm
    jobs = {arm: arm_job(job, arm) for arm in arms}
    states = phases.store.for_objectives(one.recipe.objective for one in jobs.values())
    attacks, costly = job.plan.tests(job.spec.attacks)
    rows = TrialRows.of(job.raw, (*attacks, *costly))
    teachers: dict[float, Tensor] = {}
    for arm, own in jobs.items():
        if arm.share and arm.density not in teachers:
            teachers[arm.density] = _teacher(phases, own, arm, store, executor)
    names = short_names(arms)
    return [
        ArmTrial(arm, names[arm], own, rows, states, teachers.get(arm.density) if arm.share else None)
        for arm, own in jobs.items()
    ]


def _teacher(phases: RunPhases, job: Job, arm: Arm, store: PrivateFolder, executor: Executor) -> Tensor:
    """The logits of the sub-models for the train rows, kept in the run's folder."""
    name = f"teacher-d{arm.density:g}"
    kept = phases.store.load_state(name)
    if kept is None:
        run = watched_map(executor, phases.watcher, "folds")
        with phases.timer.of("folds"):
            logits_NC = job.teacher({}, store=store, run=run)
        assert logits_NC is not None  # its share is above 0
        kept = TrainingState(0, {"logits": logits_NC})
        phases.store.save_state(name, kept)
    return kept.model["logits"]


def _deepen(finalist: tuple[ArmTrial, Evaluation]) -> Evaluation:
    trial, evaluation = finalist
    return trial.deepen(evaluation)


def _evidence(
    phases: RunPhases, trials: Sequence[ArmTrial], levels: Levels, store: PrivateFolder, executor: Executor
) -> list[ArmEvidence | None]:
    """What LiRA finds among repeats of each finalist; None where no attack by shadow models is asked for."""
    job = phases.job
    assert job.plan.arms is not None
    if not job.plan.arms.repeats or not any(capabilities_of(attack).tier == 2 for attack in job.spec.attacks):
        return [None] * len(trials)
    run = watched_map(executor, phases.watcher, "repeats")
    with phases.timer.of("repeats"):
        jobs = [trial.job for trial in trials]
        return [*gather_evidence(jobs, levels, repeats=job.plan.arms.repeats, store=store, run=run)]


def _dense_figures(job: Job, dense_state: TrainingState, trial_rows: TrialRows) -> DenseFigures:
    model = job.scratch()
    model.load_state_dict(dense_state.model)
    return DenseFigures(classified_right(ServedModel(model, job.task), *trial_rows.validation))


class _ArmStatus:
    """Reports the arms as the candidates of one round."""

    def __init__(self, phases: RunPhases, names: Sequence[str]) -> None:
        self._watcher, self._step = phases.watcher, phases.job.total_steps
        self._statuses = {name: CandidateStatus(name) for name in names}
        self._report()

    def seen(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation itself, once it was reported."""
        self._statuses[evaluation.branch] = status_of(evaluation, CandidateState.TESTED)
        self._report()
        return evaluation

    def close(self, arm_results: Sequence[ArmResult]) -> None:
        """One arm has been chosen."""
        for result in arm_results:
            state = CandidateState.WON if result.state is ArmState.CHOSEN else CandidateState.LOST
            self._statuses[result.name] = status_of(result.evaluation, state)
        self._report()

    def _report(self) -> None:
        self._watcher.stands(RoundStatus(0, 0, self._step, tuple(self._statuses.values())))
