"""From a dense model to a judged artifact: wires the rooms, decides nothing.

    train dense ─> initialise sparse ─> rounds ─> train to the end ─> pack ─> certify ─> report

Every finished phase is kept in the run folder, so the same job goes on where a killed one stopped and ends in the same
digests.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks import SignalCache, Target
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import Finish, Map, ShadowModels, ShadowTrainer
from safecompress.certify import Certification, Ledger, Prospect, Released, certify, foresee
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.deploy import Artifact, Served
from safecompress.errors import ArtifactError
from safecompress.job import Job
from safecompress.measure import Direction, Measurement
from safecompress.progress import Progress, Silent
from safecompress.ranking import rank_candidates
from safecompress.report import Report, build_report, describe_round, digest_json
from safecompress.runfolder import ARTIFACT, DENSE, Clock, RoundLog, RunFolder
from safecompress.search import Candidate, Executor, RoundResult, RunStore, SerialExecutor
from safecompress.shadowing import Lineage, rounding_of, shadow_rows
from safecompress.sparsity import SparsityPattern
from safecompress.spec import SafetySpec
from safecompress.stages import Stages
from safecompress.storage import read_tensors, write_tensors
from safecompress.training import digest_tensors

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

    dense = stages.dense()
    winner = stages.parent() or stages.start(dense)
    rounds.keep(winner.round + 1)
    search = stages.search(worker, dense)
    for result in search.rounds(winner, first=winner.round + 1):
        winner = result.winner
        rounds.append(describe_round(result) | _ranked(job, result, stages, store, worker))
        stages.keep(result)
        watcher.say(_round_line(rounds.entries[-1]))
    final = stages.finish(winner, dense)

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
    watcher.begin("certify", 1)
    with stages.clock.of("certify"):
        certification = certify_file(
            path,
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
            run=worker.map,
        )
    watcher.advance()
    report = build_report(
        job.name,
        certification,
        artifact,
        job.raw,
        prospects=prospects,
        search=_describe_search(job, winner, rounds.entries),
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


def certify_file(
    path: Path,
    evidence: DataSplit,
    spec: SafetySpec,
    *,
    dense: nn.Module | None,
    seed: int,
    ledger: Ledger | None,
    model: nn.Module | None = None,
    device: str = "cpu",
    lineage: Lineage | None = None,
    released: Released | None = None,
    trained: Artifact | None = None,
    store: PrivateFolder | None = None,
    run: Map = map,
) -> Certification:
    """The verdict on the file at ``path``, read back and served as it would be shipped.

    ``model`` is an instance of the network for an artifact of a class of the user's own. ``dense`` reads raw samples.
    ``evidence`` are raw rows, one of each unit. ``lineage`` says how the model was trained; attacks by shadow models
    need it. Attacks that join versions read the dense model and those in ``released``. ``trained`` is the model before
    it was packed: where packing changed it, its figures stand beside the verdict's. Shadows are kept in ``store`` and
    trained by ``run``.
    """
    shipped = Artifact.load(path)
    own = None if shipped.model_spec else model
    network = shipped.build(copy.deepcopy(own)).to(device)
    opening = 1
    if ledger is not None:
        asked = question(spec, seed, dense, lineage, released)
        opening = ledger.open(evidence, artifact=shipped.digest(), spec=asked).number
    counted = (
        Measurement.exact("density", shipped.density, Direction.LOWER),
        Measurement.exact("artifact.size_bytes", path.stat().st_size, Direction.LOWER),
        Measurement.exact("compression.ratio", dense_bytes(shipped, model) / path.stat().st_size, Direction.HIGHER),
    )
    has_reference = lineage is not None and lineage.reference is not None
    rows = shadow_rows(evidence, "verdict", seed, has_reference=has_reference) if lineage else None

    def under_attack(
        network: nn.Module,
        trainer: ShadowTrainer | None,
        versions: Mapping[str, Target],
        finish: Finish | None = None,
    ) -> Target:
        shadows = ShadowModels(rows, trainer, store=store, run=run, finish=finish) if rows and trainer else None
        return Target(
            network, access=spec.access, cache=signals, shadows=shadows, versions=versions, transform=transform
        )

    signals, transform = SignalCache(), digest_tensors(shipped.task.tensors())

    def into(made: Lineage | None, masks: Mapping[str, Tensor]) -> ShadowTrainer | None:
        if made is None:
            return None
        return made.trainer(SparsityPattern(masks), spec.shadows) if masks else made.dense_trainer()

    versions = {}
    if dense is not None:
        versions["dense"] = under_attack(dense, lineage.dense_trainer() if lineage else None, {})
    for name, version in (released.versions() if released else {}).items():
        other = version.build(None if version.model_spec else copy.deepcopy(model))
        made = lineage and lineage.of_version(version, other)
        versions[name] = under_attack(Served(other, version.task), into(made, version.masks), {}, rounding_of(version))
    # shadows are trained as the target was, dead units and all: these answer nothing
    source = trained or shipped
    made = lineage and lineage.of_version(source, network if source is shipped else lineage.template)
    trainer = into(made, source.masks)
    target = under_attack(Served(network, shipped.task), trainer, versions, rounding_of(shipped))
    as_trained = None
    if trained is not None and trained.digest() != shipped.digest():
        as_trained = under_attack(Served(trained.build(copy.deepcopy(own)).to(device), trained.task), trainer, {})
    return certify(
        target,
        versions.get("dense"),
        evidence,
        spec,
        seed=seed,
        opening=opening,
        counted=counted,
        trained=as_trained,
        run=run,
    )


def dense_bytes(artifact: Artifact, model: nn.Module | None = None) -> int:
    """Bytes of all parameters and buffers of the network before anything was removed, as it computes with them."""
    network = model
    if artifact.model_spec is not None:
        with torch.device("meta"):
            network = artifact.model_spec.build()
    state = artifact.state if network is None else network.state_dict()
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in state.values())


def digest_weights(network: nn.Module) -> str:
    """The digest of a network's weights, whether it stands alone or is served."""
    return digest_tensors((network.network if isinstance(network, Served) else network).state_dict())


def question(
    spec: SafetySpec, seed: int, dense: nn.Module | None, lineage: Lineage | None, released: Released | None
) -> str:
    """What a verdict is asked, as the ledger knows it: another seed asks anew, and so opens anew.

    So does another dense model, where a requirement or an attack compares with it, and another way of training shadows.
    """
    compared, trained = None, None
    is_joint = any(getattr(attack, "joins_versions", False) for attack in spec.attacks)
    if dense is not None and (is_joint or any(requirement.is_change() for requirement in spec.requirements)):
        compared = digest_weights(dense)
    if lineage is not None and any(hasattr(attack, "num_shadows") for attack in spec.attacks):
        trained = lineage.digest()
    others = sorted(artifact.digest() for artifact in released.versions().values()) if released and is_joint else []
    return digest_json([spec.digest(), seed, compared, trained, others, __version__, torch.get_num_threads()])


def _opening(
    stages: Stages, evidence: DataSplit, folder: RunFolder, ledger: Ledger | None, released: Released | None
) -> int:
    """The number that this run's opening of the verdict rows has, or will have."""
    if ledger is None:
        return 1
    job, winner = stages.job, stages.parent()
    made, asked = None, job.spec.digest()
    with contextlib.suppress(ArtifactError, RuntimeError):  # none yet, or a broken one, which will be made anew
        made = Artifact.load(folder.path / ARTIFACT).digest()
        dense = job.dense_network(read_tensors(folder.path / DENSE)[0])
        asked = question(job.spec, job.seed, dense, Lineage.of_job(job, winner.objective if winner else None), released)
    return ledger.number_for(evidence, artifact=made, spec=asked)


def _prospect_line(prospect: Prospect) -> str:
    tightest = "" if prospect.tightest is None else f"tightest certifiable {prospect.tightest:.4g}; "
    return f"{prospect.requirement}: {tightest}{prospect.note}"


def _round_line(entry: Mapping[str, Any]) -> str:
    winner = next(c for c in entry["candidates"] if c["won"])
    return f"round {entry['round'] + 1}: {winner['branch']} {winner['reason']} (accuracy {winner['accuracy']:.3f})"


def _ranked(job: Job, result: RoundResult, stages: Stages, store: PrivateFolder, executor: Executor) -> dict[str, Any]:
    """After the last round, how well its cheap tests ranked the candidates."""
    if result.number + 1 < job.plan.rounds or not job.plan.rank:
        return {}
    with stages.clock.of("rank"):
        ranking = rank_candidates(job, result, stages.tried(result), store=store, run=executor.map)
    return {} if ranking is None else {"ranking": asdict(ranking)}


def _describe_search(job: Job, winner: Candidate, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the artifact came about."""
    return {
        "plan": {name: repr(value) for name, value in vars(job.plan).items()},
        "recipe": job.recipe.facts(),
        "dense_recipe": None if job.dense is not None else job.dense_recipe.facts(),
        "objective": repr(winner.objective),
        "coverage": SparsityPattern(winner.fired).density,
        "rounds": list(rounds),
    }
