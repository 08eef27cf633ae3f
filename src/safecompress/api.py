"""The verbs a user needs: ``compress`` a model until it passes its tests, ``audit`` a file somebody made before."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from safecompress.attacks.private import PrivateFolder
from safecompress.certify import Ledger, Released, foresee
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.deploy import Artifact, Packing, Served, TaskInfo
from safecompress.errors import ModelError, UsageError
from safecompress.job import Job
from safecompress.judging import Subject, digest_weights, judge, question
from safecompress.models import ModelSpec
from safecompress.pipeline import UNCOUNTED, run
from safecompress.progress import Progress
from safecompress.report import Report, build_report, save_report
from safecompress.runfolder import ARTIFACT, IDENTITY, check_members, open_run_folder
from safecompress.search import Executor, Plan
from safecompress.seeding import seeded
from safecompress.shadowing import Lineage
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec
from safecompress.threads import fixed_threads
from safecompress.training import CrossEntropy, Recipe

UNVERIFIED = (
    "Nothing proves that these rows' members are the artifact's own: it does not lie in its run folder, and carries no "
    "digest of them. If they are not, this audit says nothing."
)


@dataclass(frozen=True, eq=False)
class CompressionResult:
    """What `compress` returns. ``model`` is the compressed network in evaluation mode; it reads what training read."""

    artifact: Artifact
    report: Report
    model: nn.Module = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 every requirement PASS; 1 any FAIL; otherwise 3."""
        return self.report.exit_code


def compress(
    model: nn.Module | ModelSpec,
    split: DataSplit,
    *,
    spec: SafetySpec,
    recipe: Recipe | None = None,
    dense_recipe: Recipe | None = None,
    density: float | None = None,
    plan: Plan | None = None,
    seed: int = 0,
    name: str = "model",
    dense: Mapping[str, Tensor] | None = None,
    out: str | Path | None = None,
    ledger: str | Path | Ledger | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    released: str | Path | None = None,
    packing: Packing = Packing(),  # noqa: B008 a frozen value
    threads: int = 1,
    device: str = "cpu",
) -> CompressionResult:
    """Compress a classifier to ``density`` while attacks choose among the candidates, and judge what came out.

    ``model`` is any module that maps features (N, ...) to class scores (N, C); its weights are the fresh start of dense
    and sparse training, and it is not changed. With a `ModelSpec` the weights come from ``seed``, and the artifact can
    be loaded without the class. ``dense`` are trained weights of the dense model; without them it is trained first.
    ``plan`` holds all other choices of the search; ``density`` overrides its own. ``dense_recipe`` trains the dense
    model (default: ``recipe``, by plain cross entropy).

    ``out`` is a folder: the run goes on there after a kill, and leaves its report and artifact. ``ledger`` is the file
    that counts openings of the verdict rows (default: ``ledger.jsonl`` beside ``out``; none without ``out``).
    ``cache`` is a private folder that keeps shadow models for other runs too (default: inside ``out``).
    ``released`` is the list of versions that are already out (`Released`), for attacks that join what all of them say.
    ``packing`` says how the trained model becomes the file that ships (dead units removed, weights rounded): that file
    is judged, and the model as trained stands beside it.
    Numerics run on ``threads`` threads (workers always on one) and on ``device``; on the CPU of one machine type equal
    jobs end in equal digests, serially with one thread as in a pool. ``dense`` must not have been trained on rows
    outside train.

    Raises UsageError (and its kinds) before any training for what cannot be done, TrainingError when training diverges,
    AttackError when no candidate could be tested, StorageError when the disk refuses.
    """
    _expect("model", model, (nn.Module, ModelSpec), "Give an instance of the network, not its class.")
    _expect("split", split, (DataSplit,), "Draw one from a Dataset: make_split(dataset, seed=0).")
    _expect("spec", spec, (SafetySpec,), "Make one: SafetySpec(attacks=[...], requirements=[...]).")
    task = TaskInfo(split.dataset.num_classes, split.dataset.class_names, split.dataset.input_shape)
    recipe = recipe or Recipe()
    plan = plan or Plan()
    job = Job(
        name=name,
        model=build(model, seed) if isinstance(model, ModelSpec) else model,
        model_spec=model if isinstance(model, ModelSpec) else None,
        split=split,
        raw=split,
        task=task,
        spec=spec,
        recipe=recipe,
        dense_recipe=dense_recipe or replace(recipe, objective=CrossEntropy()),
        plan=replace(plan, density=density) if density is not None else plan,
        seed=seed,
        dense=dense,
        device=device,
        packing=packing,
    )
    if ledger is None and out is not None:
        ledger = Path(out).resolve().parent / "ledger.jsonl"
    with contextlib.ExitStack() as stack:
        stack.enter_context(fixed_threads(threads))
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return run_job(
            job, folder, ledger=_ledger(ledger), executor=executor, progress=progress, cache=cache, released=released
        )


def run_job(
    job: Job,
    folder: Path,
    *,
    ledger: Ledger | None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    released: str | Path | None = None,
) -> CompressionResult:
    """Carry ``job`` out in ``folder`` and leave ``report.json`` and the pages made of it there."""
    job.check()
    kept, out = None if cache is None else Path(cache), _released(released)
    with open_run_folder(folder, job.name, job.digest) as opened:
        outcome = run(job, opened, ledger=ledger, executor=executor, progress=progress, cache=kept, released=out)
        save_report(outcome.report, folder)
    network = outcome.artifact.build(None if job.model_spec else job.scratch())
    return CompressionResult(outcome.artifact, outcome.report, network)


def audit(
    artifact: str | Path | nn.Module,
    split: DataSplit,
    *,
    spec: SafetySpec,
    model: nn.Module | ModelSpec | None = None,
    dense: nn.Module | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    dense_recipe: Recipe | None = None,
    start: Start = Start.SCRATCH,
    cache: str | Path | None = None,
    released: str | Path | None = None,
    ledger: str | Path | Ledger | None = None,
    executor: Executor | None = None,
    threads: int = 1,
) -> Report:
    """Judge a saved artifact by ``spec``; ``split`` holds raw rows and must name the artifact's own members.

    ``model`` is an instance of the network when the artifact's class is the user's own; for one that began with
    pretrained weights it is the `ModelSpec` that names them, so that shadows begin there too. ``dense`` is the dense
    model, reading raw samples, for requirements within a margin of it. ``recipe`` (with ``dense_recipe`` and
    ``start``) says how the artifact was trained: attacks by shadow models need it, and train theirs in ``executor``.
    ``cache`` is a private folder that keeps them for the next audit; without it they are forgotten.
    ``released`` is the list of versions already out (`Released`), for attacks that join what all of them say.

    Raises ArtifactError for a broken file, SpecError when a requirement could never pass on these rows.
    """
    _expect(
        "split", split, (DataSplit,), "Draw the one that the artifact was trained on: make_split(dataset, seed=...)."
    )
    _expect("spec", spec, (SafetySpec,), "Make one: SafetySpec(attacks=[...], requirements=[...]).")
    book = _ledger(ledger)
    begun = model if isinstance(model, ModelSpec) else None
    model = None if isinstance(model, ModelSpec) else copy.deepcopy(model)  # the artifact's weights go into it
    with fixed_threads(threads):
        subject = subject_of(artifact, split, model)
        split.check()
        _check_task(subject, split)
        is_verified = subject.path is not None and check_members(subject.path, split)
        evidence = one_row_per_unit(split)
        lineage, made = None, subject.artifact
        if recipe is not None and made is not None:
            template, whole = model, _whole_spec(made, begun)
            if template is None:  # of the whole size, whatever units were removed
                template = made.build() if whole is None else build(whole, seed)
            big = dense_recipe or replace(recipe, objective=CrossEntropy())
            needs = recipe.objective.needs | big.objective.needs
            population = split.part("population")
            reference = (made.task.prepare(population[0]), population[1]) if "reference" in needs else None
            lineage = Lineage(template, whole, made.task, recipe, big, start, reference=reference)
        opening = 1
        if book is not None:
            asked = question(spec, seed, dense, lineage, _released(released), into=made)
            opening = book.number_for(evidence, artifact=subject.digest, spec=asked)
        density = None if made is None else made.density
        prospects = foresee(spec, evidence, spec.levels(opening), density=density)
        certification = judge(
            subject,
            evidence,
            spec,
            dense=dense,
            seed=seed,
            ledger=book,
            model=model,
            lineage=lineage,
            released=_released(released),
            store=PrivateFolder(Path(cache)) if cache is not None else None,
            run=executor.map if executor is not None else map,
        )
        notes = [] if is_verified else [UNVERIFIED]
        notes += [] if book else [UNCOUNTED]
        if dense is None and any(requirement.is_change() for requirement in spec.requirements):
            notes.append("No dense model was given, so no change from it (.drop, .rise) could be measured.")
        name = "model" if subject.path is None else subject.path.stem
        return build_report(
            name if made is None else made.metadata.get("name", name),
            certification,
            split,
            artifact=subject.facts,
            digest=subject.digest,
            prospects=prospects,
            seed=seed,
            notes=notes,
            digests={} if dense is None else {"dense": digest_weights(dense)},
        )


def _whole_spec(artifact: Artifact, begun: ModelSpec | None) -> ModelSpec | None:
    """The spec of the network as it began. Raises ModelError when ``begun`` is of another network."""
    if begun is None:
        return artifact.model_spec
    if begun.stored() != artifact.model_spec:
        raise ModelError(
            f"The artifact holds another network than the spec names: {artifact.model_spec} and {begun.stored()}. Name "
            "the pretrained model, and its options, that training began with."
        )
    return begun


def subject_of(given: str | Path | nn.Module, split: DataSplit, model: nn.Module | None = None) -> Subject:
    """What is to be judged: an artifact, an ONNX file, or a network that reads raw samples.

    An ONNX file in a run folder knows the artifact that it was exported from.
    """
    if isinstance(given, nn.Module):
        return Subject.of_network(given, split.dataset.input_shape, split.dataset.num_classes)
    path = Path(given)
    if path.suffix != ".onnx":
        return Subject.of_artifact(path, model=model)
    source = path.parent / ARTIFACT
    known = (path.parent / IDENTITY).exists() and source.is_file()
    return Subject.of_onnx(path, source=Artifact.load(source) if known else None, model=model)


def build(spec: ModelSpec, seed: int) -> nn.Module:
    """The network of ``spec`` with the fresh weights that belong to ``seed``."""
    with seeded(seed, "model"):
        return spec.build()


def served(artifact: Artifact, weights: Mapping[str, Tensor], model: nn.Module | None = None) -> nn.Module:
    """The dense model with ``weights`` behind the artifact's input transform."""
    if model is None and artifact.model_spec is None:
        raise ModelError("The artifact's network is a class of its author's: give an instance of it.")
    network = copy.deepcopy(model) if model is not None else artifact.model_spec.build()  # type: ignore[union-attr]
    network.load_state_dict(dict(weights))
    return Served(network, artifact.task)


def _expect(what: str, value: object, kinds: tuple[type, ...], advice: str) -> None:
    """Raise UsageError unless ``value`` is one of ``kinds``: the slips that would else end in an AttributeError."""
    if not isinstance(value, kinds):
        got = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise UsageError(f"{what} must be a {' or a '.join(kind.__name__ for kind in kinds)}, got {got}. {advice}")


def _ledger(ledger: str | Path | Ledger | None) -> Ledger | None:
    return Ledger(Path(ledger)) if isinstance(ledger, str | Path) else ledger


def _released(path: str | Path | None) -> Released | None:
    """The list at ``path``, read once to find out now, and not after the training, whether it is whole."""
    if path is None:
        return None
    released = Released(Path(path))
    released.versions()
    return released


def _check_task(subject: Subject, split: DataSplit) -> None:
    """Raise ModelError when the data is not what the model reads."""
    dataset = split.dataset
    wanted: tuple[Any, ...] = (subject.input_shape, subject.num_classes)
    got = (dataset.input_shape, dataset.num_classes)
    if wanted != got:
        raise ModelError(
            f"The artifact reads features of shape {wanted[0]} and tells {wanted[1]} classes apart; the data has "
            f"{got[0]} and {got[1]}. Audit it on the data set it was trained on."
        )
