"""From a dense model to a judged artifact: wires the rooms, decides nothing.

    train dense ─> initialise sparse ─> rounds ─> train to the end ─> pack ─> certify ─> report

Every finished phase is kept in the run folder, so the same job goes on where a killed one stopped and ends in the same
digests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safecompress import __version__
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import Map
from safecompress.certify import Certification, Ledger, Prospect, Released, foresee, judged_parts
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.deploy import Artifact
from safecompress.errors import ArtifactError
from safecompress.job import Job
from safecompress.judging import Subject, digest_file, judge, question
from safecompress.metrics.catalogue import leaks
from safecompress.progress import Progress, Silent
from safecompress.ranking import rank_candidates
from safecompress.report import Report, build_report, describe_round
from safecompress.runfolder import ARTIFACT, DENSE, ONNX, Clock, RoundLog, RunFolder
from safecompress.search import Candidate, Executor, RoundResult, RunStore, SerialExecutor, watched_map
from safecompress.seeding import derive
from safecompress.shadowing import Lineage
from safecompress.sparsity import SparsityPattern
from safecompress.stages import Stages, search_and_train
from safecompress.storage import read_tensors, write_tensors

CALIBRATION_ROWS = 512
"""Most train rows from which int8 takes the ranges of activations."""

UNCOUNTED = "No ledger was kept: nobody counts how often these verdict rows are opened."
"""The note of a report without a ledger."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run leaves: the artifact, the report, and the dense model's weights it was compared with."""

    artifact: Artifact
    report: Report
    certification: Certification
    dense: Mapping[str, Tensor] = field(repr=False)


def run(
    job: Job,
    folder: RunFolder,
    *,
    ledger: Ledger | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    released: Released | None = None,
) -> Outcome:
    """Carry the job out in ``folder``, going on from whatever is finished there.

    ``cache`` is a private folder that keeps shadow models for other runs too (default: inside ``folder``). The job has
    passed its ``check``. Raises SpecError before any training when a requirement could never pass on this data, and the
    errors of each room.
    """
    watcher, worker = progress or Silent(), executor or SerialExecutor()
    evidence = one_row_per_unit(job.raw)
    stages = Stages(job, RunStore(folder.work, job.objectives), Clock(folder), watcher)
    levels = job.spec.levels(_opening(stages, evidence, folder, ledger, released))
    prospects = foresee(job.spec, evidence, levels, density=job.plan.density)
    for prospect in prospects:
        watcher.say(_prospect_line(prospect))
    rounds, store = RoundLog(folder), PrivateFolder(cache if cache is not None else folder.work / "cache")
    shadowing = watched_map(worker, watcher, "shadows", size=len)  # an item is a group that is trained at once

    dense = stages.dense()
    start = stages.start(dense)
    began = _layer_shares(start.pattern.masks)
    start = stages.parent() or start
    rounds.keep(start.round + 1)

    def log_round(result: RoundResult) -> None:
        entry = describe_round(result)
        watcher.say(_round_line(entry))
        rounds.append(entry | _ranked(job, result, stages, store, shadowing))

    done = search_and_train(stages, start, dense, worker, on_round=log_round)
    winner, final = done.winner, done.state

    trained = Artifact(
        final.model,
        winner.pattern.masks,
        job.model_spec,
        job.task,
        {
            "safecompress": __version__,
            "name": job.name,
            "data_spec": job.data_digest,
            "objective": repr(winner.objective),
        },
    )
    artifact = job.packing(trained, None if job.model_spec else job.scratch().cpu())
    path = folder.path / ARTIFACT
    write_tensors(folder.path / DENSE, dense.model)
    artifact.save(path)
    if job.packing.format == "onnx":
        path = folder.path / ONNX
        job.packing.export(artifact, path, _calibration(job), None if job.model_spec else job.scratch().cpu())
    watcher.begin("certify", 1)
    with stages.clock.of("certify"):
        if job.packing.format == "onnx":
            subject = Subject.of_onnx(path, source=artifact, model=job.scratch().cpu())
        else:
            subject = Subject.of_artifact(path, model=job.scratch(), device=job.device)
        certification = judge(
            subject,
            evidence,
            job.spec,
            dense=job.dense_network(dense.model),
            seed=job.seed,
            ledger=ledger,
            model=job.scratch(),
            device=job.device,
            lineage=Lineage.of_job(job, winner.objective),
            released=released,
            trained=trained,
            store=store,
            run=watched_map(worker, watcher, "shadows", size=len, then="certify"),
        )
    watcher.advance()
    figures = {f"verdict/{name}": figure.value for name, figure in certification.measurements.items()}
    watcher.measured(final.step, figures)
    report = build_report(
        job.name,
        certification,
        job.raw,
        artifact=subject.facts,
        digest=subject.digest,
        prospects=prospects,
        search=_describe_search(job, winner, rounds.entries, began),
        digests={
            "pattern": winner.pattern.digest(),
            "weights": final.digest(),
            "dense": dense.digest(),
            "job": folder.identity,
            "split": job.raw.digest(folder.key),
        },
        seconds=stages.clock.seconds,
        seed=job.seed,
        notes=[] if ledger else [UNCOUNTED],
    )
    return Outcome(artifact, report, certification, dense.model)


def _calibration(job: Job) -> NDArray[np.float32]:
    """Some raw train rows, drawn by lot."""
    train = job.raw.indices["train"]
    rows = train[derive(job.seed, "calibration").permutation(len(train))[:CALIBRATION_ROWS]]
    return np.asarray(job.raw.dataset.read(torch.from_numpy(rows)).numpy())


def _opening(
    stages: Stages, evidence: DataSplit, folder: RunFolder, ledger: Ledger | None, released: Released | None
) -> int:
    """The number that this run's opening of the verdict rows has, or will have."""
    if ledger is None:
        return 1
    job, winner = stages.job, stages.parent()
    made, asked = None, job.spec.digest()
    with contextlib.suppress(ArtifactError, RuntimeError):  # none yet, or a broken one, which will be made anew
        made = digest_file(folder.path / (ONNX if job.packing.format == "onnx" else ARTIFACT))
        dense = job.dense_network(read_tensors(folder.path / DENSE)[0])
        asked = question(job.spec, job.seed, dense, Lineage.of_job(job, winner.objective if winner else None), released)
    return ledger.number_for(evidence, artifact=made, spec=asked, parts=judged_parts(job.spec))


def _prospect_line(prospect: Prospect) -> str:
    tightest = "" if prospect.tightest is None else f"tightest certifiable {prospect.tightest:.4g}; "
    return f"{prospect.requirement}: {tightest}{prospect.note}"


def _round_line(entry: Mapping[str, Any]) -> str:
    winner = next(c for c in entry["candidates"] if c["won"])
    worst = max(leaks({name: figure["value"] for name, figure in winner["metrics"].items()}).values())
    figures = f"accuracy {winner['accuracy']:.3f}, worst AUC {worst:.3f}"
    return f"round {entry['round'] + 1}: {winner['branch']} {winner['reason']} ({figures})"


def _ranked(job: Job, result: RoundResult, stages: Stages, store: PrivateFolder, run: Map) -> dict[str, Any]:
    """After the last round, how well its cheap tests ranked the candidates."""
    if result.number + 1 < job.plan.rounds or not job.plan.rank:
        return {}
    with stages.clock.of("rank"):
        ranking = rank_candidates(job, result, stages.tried(result), store=store, run=run)
    return {} if ranking is None else {"ranking": asdict(ranking)}


def _layer_shares(masks: Mapping[str, Tensor]) -> dict[str, float]:
    """The share of each layer's weights that a mask marks."""
    return {name: float(mask.double().mean()) for name, mask in masks.items()}


def _describe_search(
    job: Job, winner: Candidate, rounds: Sequence[Mapping[str, Any]], began: Mapping[str, float]
) -> dict[str, Any]:
    """How the artifact came about; layers had the shares ``began`` of their weights at first."""
    masks, explored = winner.pattern.masks, _layer_shares(winner.fired)
    shares = _layer_shares(masks)
    layers = [
        {"name": name, "num_weights": masks[name].numel(), "start": start, "end": shares[name], "ever": explored[name]}
        for name, start in began.items()  # in the network's order, which a parent from a file has lost
    ]
    return {
        "plan": {name: repr(value) for name, value in vars(job.plan).items()},
        "recipe": job.recipe.facts(),
        "dense_recipe": None if job.dense is not None else job.dense_recipe.facts(),
        "objective": repr(winner.objective),
        "coverage": SparsityPattern(winner.fired).density,
        "layers": layers,
        "rounds": list(rounds),
    }
