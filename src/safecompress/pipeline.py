"""From a dense model to a judged artifact: wires the rooms, decides nothing.

    train dense ─> initialise sparse ─> rounds ─> train to the end ─> pack ─> certify ─> report

Every finished phase is kept in the run folder, so the same job goes on where a killed one stopped and ends in the same
digests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks import Target
from safecompress.certify import Certification, Ledger, Prospect, certify, foresee
from safecompress.data import DataSplit
from safecompress.deploy import Artifact, Served
from safecompress.errors import ArtifactError
from safecompress.job import Job
from safecompress.measure import Direction, Measurement
from safecompress.progress import Progress, Silent
from safecompress.report import Report, build_report, describe_round
from safecompress.runfolder import ARTIFACT, Clock, RoundLog, RunFolder
from safecompress.search import (
    Attackers,
    Candidate,
    Choice,
    Evaluation,
    Executor,
    Proposal,
    RunStore,
    Search,
    SerialExecutor,
    Trial,
    candidate_name,
    keeps_momentum,
    propose,
)
from safecompress.seeding import derive
from safecompress.sparsity import SparsityPattern, Start, find_maskable, initial_pattern, rescale_, view_layers
from safecompress.spec import SafetySpec
from safecompress.storage import write_tensors
from safecompress.training import Course, TrainingState, dense_gradient, train

A = TypeVar("A")
B = TypeVar("B")


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
) -> Outcome:
    """Carry the job out in ``folder``, going on from whatever is finished there.

    The job has passed its ``check``. Raises SpecError before any training when a requirement could never pass on this
    data, and the errors of each room.
    """
    watcher = progress or Silent()
    prospects = foresee(job.spec, job.raw, job.spec.levels(_opening(job, folder, ledger)), density=job.plan.density)
    for prospect in prospects:
        watcher.say(_prospect_line(prospect))
    store = RunStore(folder.work)
    clock, rounds = Clock(folder), RoundLog(folder)

    dense = _dense_state(job, store, clock, watcher)
    start = store.load_candidate("parent") or _start(job, dense)
    search = _search(job, store, executor or SerialExecutor(), clock, watcher)
    rounds.keep(start.round + 1)
    winner = start
    for result in search.rounds(start, first=start.round + 1):
        winner = result.winner
        rounds.append(describe_round(result))
        store.save_candidate("parent", winner)
        store.forget(_checkpoint(_round_phase(job, result.number)))
        for evaluation in result.evaluations:
            store.forget(candidate_name(evaluation.candidate))
        watcher.say(_round_line(rounds.entries[-1]))
    final = _final_state(job, store, winner, clock, watcher)

    artifact = Artifact(
        final.model,
        winner.pattern.masks,
        job.model_spec,
        job.task,
        {"safecompress": __version__, "name": job.name, "data_spec": job.data_digest},
    )
    path = folder.path / ARTIFACT
    write_tensors(folder.path / "dense.safetensors", dense.model)
    artifact.save(path)
    watcher.begin("certify", 1)
    with clock.of("certify"):
        certification = certify_file(
            path,
            job.raw,
            job.spec,
            dense=job.dense_network(dense.model),
            seed=job.seed,
            ledger=ledger,
            model=job.scratch(),
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
        seconds=clock.seconds,
        seed=job.seed,
        notes=[] if ledger else ["No ledger was kept: nobody counts how often these verdict rows are opened."],
    )
    return Outcome(artifact, report, certification, dense.model)


def certify_file(
    path: Path,
    raw: DataSplit,
    spec: SafetySpec,
    *,
    dense: nn.Module | None,
    seed: int,
    ledger: Ledger | None,
    model: nn.Module | None = None,
    device: str = "cpu",
) -> Certification:
    """The verdict on the file at ``path``, read back and served as it would be shipped.

    ``model`` is an instance of the network for an artifact of a class of the user's own. ``dense`` reads raw samples.
    """
    shipped = Artifact.load(path)
    network = shipped.build(None if shipped.model_spec else model).to(device)
    opening = ledger.open(raw, artifact=shipped.digest(), spec=spec.digest()).number if ledger else 1
    counted = (
        Measurement.exact("density", shipped.density, Direction.LOWER),
        Measurement.exact("artifact.size_bytes", path.stat().st_size, Direction.LOWER),
    )
    return certify(Served(network, shipped.task), dense, raw, spec, seed=seed, opening=opening, counted=counted)


def _opening(job: Job, folder: RunFolder, ledger: Ledger | None) -> int:
    """The number that this run's opening of the verdict rows has, or will have."""
    if ledger is None:
        return 1
    made = None
    with contextlib.suppress(ArtifactError):  # none yet, or a broken one, which will be made anew
        made = Artifact.load(folder.path / ARTIFACT).digest()
    return ledger.number_for(job.raw, artifact=made, spec=job.spec.digest())


def _dense_state(job: Job, store: RunStore, clock: Clock, watcher: Progress) -> TrainingState:
    if job.dense is not None:
        return TrainingState(0, {name: tensor.detach().cpu().clone() for name, tensor in job.dense.items()})
    course = job.dense_course
    state = TrainingState.capture(0, job.model)
    trained = _train_kept("dense", job.scratch(), state, course, course.total_steps, store, clock, watcher)
    return TrainingState(trained.step, trained.model)  # its optimizer state serves nobody any more


def _start(job: Job, dense: TrainingState) -> Candidate:
    """Candidate number zero: the first pattern, on fresh weights (rescaled) or on the dense model's."""
    model = job.scratch()
    if job.plan.start is Start.DENSE:
        model.load_state_dict(dense.model)
    weights = find_maskable(model, include=job.plan.include, exclude=job.plan.exclude)
    pattern = initial_pattern(
        weights, job.plan.density, allocation=job.plan.allocation, start=job.plan.start, seed=job.seed
    )
    if job.plan.start is Start.SCRATCH:
        rescale_(model, pattern)
    pattern.apply_(model)
    return Candidate("start", None, -1, "start", pattern, TrainingState.capture(0, model), dict(pattern.masks))


def _search(job: Job, store: RunStore, executor: Executor, clock: Clock, watcher: Progress) -> Search[Attackers]:
    """The loop of search/loop.py with this job's functions in its places."""
    plan, course = job.plan, job.sparse_course
    model = job.scratch()
    attacks = plan.attacks or job.spec.attacks
    trial = Trial(
        model, course, job.split.part("validation"), job.split.audit("fit"), job.split.audit("select"),
        attacks, job.spec, plan, store,
    )  # fmt: skip

    def train_interval(parent: Candidate, number: int) -> Candidate:
        until, _ = plan.round_steps(number, course.total_steps)
        with clock.of("train"):
            state = _train_segment(
                _round_phase(job, number), model, parent.state, course, until, store, watcher,
                pattern=parent.pattern, keep_momentum=keeps_momentum(plan),
            )  # fmt: skip
        return Candidate(f"r{number + 1}", parent.id, number, "trained", parent.pattern, state, parent.fired)

    def propose_branches(trained: Candidate, number: int) -> Sequence[Proposal]:
        with clock.of("propose"):
            reads = frozenset().union(*(branch.reads for branch in plan.branches))
            gradient = (
                dense_gradient(model, trained.state, course, trained.pattern.masks) if "gradient" in reads else None
            )
            layers = view_layers(
                trained.state.model,
                trained.pattern.masks,
                gradient=gradient,
                momentum=trained.state.momentum or None,
                fired=trained.fired,
            )
            fraction = plan.schedule(trained.state.step / course.total_steps)
            return propose(layers, plan.branches, fraction, stream=partial(derive, job.seed, "rewire", number))

    def simulate(trained: Candidate, number: int) -> Attackers:
        if plan.refit == "candidate":
            return ()
        with clock.of("simulate"):
            trained.state.restore_(model)
            target = Target(model)
            return tuple(trial.simulate(attack, target, trained.id) for attack in attacks)

    def select(evaluations: Sequence[Evaluation], number: int) -> Choice:
        for evaluation in evaluations:
            clock.add_all(evaluation.seconds)
        return plan.selector(evaluations, generator=derive(job.seed, "select", number))

    def adopt(evaluation: Evaluation) -> Candidate:
        candidate = store.load_candidate(candidate_name(evaluation.candidate))
        assert candidate is not None  # its trial saved it a moment ago
        return candidate

    watched = _Watched(executor, watcher)
    return Search(plan.rounds, train_interval, propose_branches, simulate, trial, select, adopt, watched)


def _final_state(job: Job, store: RunStore, winner: Candidate, clock: Clock, watcher: Progress) -> TrainingState:
    course = job.sparse_course
    return _train_kept(
        "final", job.scratch(), winner.state, course, course.total_steps, store, clock, watcher, pattern=winner.pattern
    )


def _train_kept(
    name: str,
    model: nn.Module,
    state: TrainingState,
    course: Course,
    until: int,
    store: RunStore,
    clock: Clock,
    watcher: Progress,
    **options: Any,
) -> TrainingState:
    """Train to ``until`` unless a former run did; the result is kept under ``name``."""
    kept = store.load_state(name)
    if kept is not None:
        return kept
    with clock.of(name):
        state = _train_segment(name, model, state, course, until, store, watcher, **options)
    store.save_state(name, state)
    store.forget(_checkpoint(name))
    return state


def _train_segment(
    phase: str,
    model: nn.Module,
    state: TrainingState,
    course: Course,
    until: int,
    store: RunStore,
    watcher: Progress,
    **options: Any,
) -> TrainingState:
    """Train to ``until`` with a checkpoint now and then, from which a killed run goes on.

    The checkpoint stays until the caller has saved what came of it: a full disk must not cost the work.
    """
    state = store.load_state(_checkpoint(phase)) or state
    watcher.begin(phase, until - state.step)
    save: Callable[[TrainingState], None] = partial(store.save_state, _checkpoint(phase))
    return train(model, state, course, until=until, progress=watcher, checkpoint=save, **options)


def _checkpoint(phase: str) -> str:
    return "checkpoint-" + phase.replace(" ", "-")


def _round_phase(job: Job, number: int) -> str:
    return f"round {number + 1} of {job.plan.rounds}"


@dataclass(frozen=True)
class _Watched:
    """An executor whose finished items move the watcher's bar."""

    executor: Executor
    watcher: Progress

    def map(self, fn: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]:
        work = list(items)
        self.watcher.begin("candidates", len(work))
        for result in self.executor.map(fn, work):
            self.watcher.advance()
            yield result


def _prospect_line(prospect: Prospect) -> str:
    tightest = "" if prospect.tightest is None else f"tightest certifiable {prospect.tightest:.4g}; "
    return f"{prospect.requirement}: {tightest}{prospect.note}"


def _round_line(entry: Mapping[str, Any]) -> str:
    winner = next(c for c in entry["candidates"] if c["won"])
    return f"round {entry['round'] + 1}: {winner['branch']} {winner['reason']} (accuracy {winner['accuracy']:.3f})"


def _describe_search(job: Job, winner: Candidate, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the artifact came about."""
    return {
        "plan": {name: repr(value) for name, value in vars(job.plan).items()},
        "recipe": asdict(job.recipe),
        "dense_recipe": None if job.dense is not None else asdict(job.dense_recipe),
        "coverage": SparsityPattern(winner.fired).density,
        "rounds": list(rounds),
    }
