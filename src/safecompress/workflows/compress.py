"""From a dense model to a judged artifact: connects the rooms, decides nothing.

    train dense ─> initialise sparse ─> rounds ─> train to the end ─> pack ─> certify ─> report

Every finished phase is kept in the run folder, so the same job resumes where a killed one stopped and ends in the same
digests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safecompress import __version__
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.shadows import OrderedMap
from safecompress.auditing.audit_model import UNCOUNTED
from safecompress.auditing.audited_model import AuditedModel, digest_file
from safecompress.auditing.given_weights import check_given_weights
from safecompress.auditing.judge import AuditCase, AuditResources, judge, open_rows, verdict_key
from safecompress.auditing.proxy_check import rank_candidates
from safecompress.auditing.recorded_training import record_training
from safecompress.auditing.shadow_training import TrainingProvenance
from safecompress.certify import Certification, Ledger, check_feasibility, judged_parts
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases, Trained, search_and_train
from safecompress.compression.run_folder import (
    ARTIFACT,
    ONNX,
    PhaseTimer,
    RoundLog,
    RunFolder,
    read_dense,
    write_dense,
)
from safecompress.compression.search import Executor, RoundResult, RunStore, SerialExecutor, watched_map
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.errors import ArtifactError
from safecompress.export import Artifact
from safecompress.metrics.catalogue import leak_label, leaks
from safecompress.metrics.measurement import Levels
from safecompress.progress import Progress, Silent
from safecompress.report import Report, RunFacts, build_report, describe_round
from safecompress.seeding import derive
from safecompress.sparsity import SparsityPattern, Start
from safecompress.training import TrainingState
from safecompress.workflows.arms import judged_job, search_arms

CALIBRATION_ROWS = 512
"""Most train rows from which int8 takes the ranges of activations."""


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """What a run leaves: the artifact, the report, and the weights of the dense model that it was compared with."""

    artifact: Artifact
    report: Report
    certification: Certification
    dense: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True, eq=False)
class RunContext:
    """What a run uses beside its job; no digest depends on it.

    ``cache`` is a private folder that keeps shadow models for other runs too (default: inside the run's folder).
    ``released`` are the versions that are out, by their paths.
    """

    ledger: Ledger | None = None
    executor: Executor = field(default_factory=SerialExecutor)
    progress: Progress = field(default_factory=Silent)
    cache: Path | None = None
    released: Mapping[str, Artifact] = field(default_factory=dict)


def run(job: Job, folder: RunFolder, context: RunContext | None = None) -> RunOutcome:
    """Carry the job out in ``folder``, resuming from whatever is finished there.

    The job has passed its ``check``. Raises SpecError before any training when a requirement could never pass on this
    data, and the errors of each room.
    """
    context = context or RunContext()
    watcher, evidence = context.progress, one_row_per_unit(job.raw)
    phases = RunPhases(job, RunStore(folder.work, job.objectives, key=folder.work_key), PhaseTimer(folder), watcher)
    levels = job.spec.levels(_opening(phases, evidence, folder, context))
    feasibilities = check_feasibility(job.spec, evidence, levels, density=job.plan.density)
    for line in (*job.notes, *map(str, feasibilities)):
        watcher.say(line)
    store = PrivateFolder(context.cache if context.cache is not None else folder.work / "cache")
    dense = phases.dense()
    checks = check_given_weights(phases.job, phases.fresh_dense)
    for check in checks:
        watcher.say(f"{check.name}: {check.detail}")
    search = _search(phases, dense, folder, store, context.executor, levels)
    final, job = search.trained, search.job
    folder.check_there()
    packed = _pack(job, final, dense, folder, search.arm)
    watcher.begin("certify", 1)
    with phases.timer.of("certify"):
        case = AuditCase(
            packed.subject(job),
            evidence,
            job.spec,
            job.seed,
            job.dense_network(dense.model),
            job.scratch(),
            TrainingProvenance.of_job(job, final.winner.objective),
            packed.trained,
            job.device,
            checks,
        )
        run_shadows = watched_map(context.executor, watcher, "shadows", size=len, then="certify")
        resources = AuditResources(context.ledger, context.released, store, run_shadows)
        certification = judge(case, resources, open_rows(case, resources))
    watcher.advance()
    figures = {f"verdict/{name}": figure.value for name, figure in certification.measurements.items()}
    watcher.measured(final.state.step, figures)
    facts = RunFacts(
        job.seed,
        _weights(phases.job),
        _describe_search(phases.job, search),
        _digests(job, final, dense, packed, folder),
        phases.timer.seconds,
        [*phases.job.notes, *([] if context.ledger else [UNCOUNTED]), *([search.advice] if search.advice else [])],
    )
    report = build_report(
        job.name,
        certification,
        job.raw,
        artifact_facts=case.subject.facts,
        digest=case.subject.digest,
        facts=facts,
        prospects=feasibilities,
    )
    return RunOutcome(packed.artifact, report, certification, dense.model)


@dataclass(frozen=True, eq=False)
class _SearchResult:
    """The ``job`` that made the trained winner, how it was found, and the share of each layer's weights at first.

    ``rounds`` or ``arms`` are what was compared, as JSON; ``arm`` is the key of the one that was chosen, and ``advice``
    says which way to move where none will do.
    """

    job: Job
    trained: Trained
    initial_shares: Mapping[str, float]
    rounds: Sequence[Mapping[str, Any]] = ()
    arms: Sequence[Mapping[str, Any]] = ()
    arm: str | None = None
    advice: str | None = None


def _search(
    phases: RunPhases,
    dense_state: TrainingState,
    folder: RunFolder,
    store: PrivateFolder,
    executor: Executor,
    levels: Levels,
) -> _SearchResult:
    """The arms compared and one chosen; or the rounds that are not finished yet, and the winner trained to the end."""
    job, watcher, rounds = phases.job, phases.watcher, RoundLog(folder)
    if job.plan.arms is not None:
        choice = search_arms(phases, dense_state, levels, store, executor)
        own = choice.job
        first = own.plan.sparsity().first_pattern(own.scratch(), own.task.input_shape, own.seed)
        shares = _layer_shares(first.masks)
        arm, advice = choice.trained.winner.id, choice.advice
        return _SearchResult(own, choice.trained, shares, arms=choice.entries, arm=arm, advice=advice)
    map_shadows = watched_map(executor, watcher, "shadows", size=len)  # an item is a group that is trained at once
    start = phases.start(dense_state)
    initial_shares = _layer_shares(start.pattern.masks)
    parent = phases.parent()
    if parent is not None and len(rounds.entries) > parent.round:  # else the log was lost, and all is searched anew
        start = parent
    rounds.keep(start.round + 1)

    def log_round(result: RoundResult) -> None:
        entry = describe_round(result)
        watcher.say(_round_line(entry))
        rounds.append(entry | _ranked(job, result, phases, store, map_shadows))

    trained = search_and_train(phases, start, dense_state, executor, on_round=log_round)
    return _SearchResult(job, trained, initial_shares, rounds=rounds.entries)


@dataclass(frozen=True, eq=False)
class _Packed:
    """The artifact as ``trained`` and as packed, and the file at ``path`` that ships."""

    trained: Artifact
    artifact: Artifact
    path: Path

    def subject(self, job: Job) -> AuditedModel:
        """The file, read back."""
        if job.packing.format == "onnx":
            return AuditedModel.of_onnx(self.path, original=self.artifact, model=job.scratch().cpu())
        return AuditedModel.of_artifact(self.path, model=job.scratch(), device=job.device)


def _pack(job: Job, final: Trained, dense_state: TrainingState, folder: RunFolder, arm: str | None) -> _Packed:
    """Write the dense weights, the artifact and, where it is asked for, the ONNX file; ``arm`` is what was chosen."""
    recipe = replace(job.recipe, objective=final.winner.objective)
    sub_models = job.sub_models if "folds" in recipe.objective.needs else None
    facts = {
        "safecompress": __version__,
        "name": job.name,
        "data_spec": job.data_digest,
        "objective": repr(final.winner.objective),
        **({} if arm is None else {"arm": arm}),
        **record_training(recipe, dense_recipe=job.dense_recipe, start=job.plan.begins, sub_models=sub_models),
    }
    trained = Artifact(final.state.model, final.winner.pattern.masks, job.model_spec, job.task, facts)
    network = None if job.model_spec else job.scratch().cpu()
    artifact = job.packing(trained, network)
    path = folder.path / ARTIFACT
    write_dense(folder, dense_state.model)
    artifact.save(path)
    if job.packing.format == "onnx":
        path = folder.path / ONNX
        job.packing.export(artifact, path, _calibration(job), None if job.model_spec else job.scratch().cpu())
    return _Packed(trained, artifact, path)


def _weights(job: Job) -> str:
    """Where the weights of what ships come from, in words."""
    start = {
        Start.SCRATCH: "fresh weights",
        Start.DENSE: "the dense model's weights",
        Start.PRETRAINED: "pretrained weights",
    }
    given = "; the dense model was given, not trained by it" if job.dense is not None else ""
    return f"trained by this run, from {start[job.plan.begins]}{given}"


def _digests(
    job: Job, final: Trained, dense_state: TrainingState, packed: _Packed, folder: RunFolder
) -> dict[str, Any]:
    """What the report identifies the run by, beside the file that is judged."""
    return {
        "pattern": final.winner.pattern.digest(),
        "weights": final.state.digest(),
        "dense": dense_state.digest(),
        "packed": packed.artifact.digest(),
        "job": folder.identity,
        "split": job.raw.digest(folder.key),
    }


def _calibration(job: Job) -> NDArray[np.float32]:
    """Some raw train rows, drawn at random."""
    train = job.raw.indices["train"]
    rows = train[derive(job.seed, "calibration").permutation(len(train))[:CALIBRATION_ROWS]]
    return np.asarray(job.raw.dataset.read(torch.from_numpy(rows)).numpy())


def _opening(phases: RunPhases, evidence: DataSplit, folder: RunFolder, context: RunContext) -> int:
    """The number that this run's use of the verdict rows has, or will have."""
    if context.ledger is None:
        return 1
    job, winner = judged_job(phases.job, phases.store), phases.parent()
    artifact_digest, spec_digest, weights = None, job.spec.digest(), read_dense(folder)
    with contextlib.suppress(ArtifactError, RuntimeError):  # none yet, or a broken one, which will be made anew
        artifact_digest = digest_file(folder.path / (ONNX if job.packing.format == "onnx" else ARTIFACT))
        if weights is not None:
            provenance = TrainingProvenance.of_job(job, winner.objective if winner else None)
            spec_digest = verdict_key(job.spec, job.seed, job.dense_network(weights), provenance, context.released)
    parts = judged_parts(job.spec)
    return context.ledger.number_for(
        evidence, artifact_digest=artifact_digest, spec_digest=spec_digest, alpha=job.spec.alpha, parts=parts
    )


def _round_line(entry: Mapping[str, Any]) -> str:
    winner = next(c for c in entry["candidates"] if c["won"])
    worst = max(leaks({name: figure["value"] for name, figure in winner["metrics"].items()}).values())
    figures = f"accuracy {winner['accuracy']:.3f}, worst {leak_label(winner['metrics'])} {worst:.3f}"
    return f"round {entry['round'] + 1}: {winner['branch']} {winner['reason']} ({figures})"


def _ranked(job: Job, result: RoundResult, phases: RunPhases, store: PrivateFolder, run: OrderedMap) -> dict[str, Any]:
    """After the last round, how well its cheap tests ranked the candidates."""
    if result.number + 1 < job.plan.rounds or not job.plan.rank:
        return {}
    with phases.timer.of("rank"):
        ranking = rank_candidates(job, result, phases.candidates(result), store=store, run=run)
    return {} if ranking is None else {"ranking": asdict(ranking)}


def _layer_shares(masks: Mapping[str, Tensor]) -> dict[str, float]:
    """The share of each layer's weights that a mask marks."""
    return {name: float(mask.double().mean()) for name, mask in masks.items()}


def _describe_search(first_job: Job, search: _SearchResult) -> dict[str, Any]:
    """How the artifact was found. ``first_job`` is the run's job, which may compare arms."""
    job, winner = search.job, search.trained.winner
    masks, explored = winner.pattern.masks, _layer_shares(winner.fired)
    shares = _layer_shares(masks)
    layers = [
        {"name": name, "num_weights": masks[name].numel(), "start": start, "end": shares[name], "ever": explored[name]}
        for name, start in search.initial_shares.items()  # in the network's order, which a parent from a file has lost
    ]
    return {
        "plan": {name: repr(value) for name, value in vars(first_job.plan).items()},
        "recipe": job.recipe.to_json(),
        "dense_recipe": None if job.dense is not None else job.dense_recipe.to_json(),
        "objective": repr(winner.objective),
        "coverage": SparsityPattern(winner.fired).density,
        "layers": layers,
        "rounds": list(search.rounds),
        "arms": list(search.arms),
    }
