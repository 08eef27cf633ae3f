"""The verbs a user needs: ``compress`` a model until it passes its tests, ``audit`` an existing file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.auditing.audit_model import ModelAudit, audit_model
from safecompress.auditing.judge import AuditResources
from safecompress.certify import Ledger, load_released
from safecompress.compression.arms.train import check_job
from safecompress.compression.job import Job, read_model
from safecompress.compression.run_folder import open_run_folder
from safecompress.compression.search import Executor, Plan, SerialExecutor
from safecompress.compression.search.arm import Arms
from safecompress.data import DataSplit
from safecompress.errors import UsageError
from safecompress.export import Artifact, Packing, TaskInfo
from safecompress.models import ModelSpec
from safecompress.networks import WeightFactory
from safecompress.progress import Progress, Silent
from safecompress.report import Report, save_report
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec
from safecompress.storage import followed
from safecompress.threads import fixed_threads
from safecompress.training import CrossEntropy, Recipe
from safecompress.training.dynamic import DynamicSparsity
from safecompress.workflows.compress import RunContext, run
from safecompress.workflows.start import settle_start
from safecompress.workflows.user_model import load_weights


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
    dense: Mapping[str, Tensor] | str | Path | None = None,
    out: str | Path | None = None,
    ledger: str | Path | Ledger | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    released: str | Path | None = None,
    packing: Packing = Packing(),  # noqa: B008 a frozen value
    threads: int = 1,
    device: str = "cpu",
    model_factory: WeightFactory | None = None,
) -> CompressionResult:
    """Compress a classifier to ``density`` while attacks choose among the candidates, and judge the result.

    ``model`` is any module that gives class scores (`ClassScores` says of one what cannot be told); it is not changed.
    Shadow models of it begin with what ``model_factory()`` returns, the network as it is before training; without one
    its modules draw new weights, which those of PyTorch and Hugging Face can. With a `ModelSpec` the weights come from
    ``seed``, and the artifact can be loaded without the class. ``dense`` are trained weights of the dense model, or a
    safetensors file of them; without them it is trained first, by ``dense_recipe`` (default: ``recipe``, by plain cross
    entropy). Where weights are given, ``dense_recipe`` says how they were trained: shadow models repeat it. They must
    not have seen rows outside train: where nothing proves that (a file of members beside them, or the folder of their
    run), no verdict is PASS, nor is one on a module that was trained before.

    Trained weights are kept: pruning starts from ``dense``, or from those of ``model`` where it is trained already
    (`settle_start` recognises that), by the method "rewiring". Fresh weights train by the method "folds". ``plan``
    holds all choices of the search: ``Plan(arms=Arms())`` asks for folds by name, ``Plan(start="scratch")`` for fresh
    weights; ``density`` overrides its own.

    ``out`` is a folder: a killed run resumes there, and leaves its report and artifact. ``ledger`` is the file that
    counts uses of the verdict rows (default: ``ledger.jsonl`` beside ``out``; none without ``out``).
    ``cache`` is a private folder that keeps shadow models for other runs too (default: inside ``out``).
    ``released`` is the list of released versions (`Released`), for attacks that combine several versions.
    ``packing`` says how the trained model becomes the file that ships (dead units removed, weights rounded): that file
    is judged, and the model as trained stands beside it.
    Numerics run on ``threads`` threads (workers always on one) and on ``device``; on the CPU of one machine type equal
    jobs end in equal digests, serially with one thread as in a pool.

    Raises UsageError (and its kinds), before any training, for requests that cannot be met; TrainingError when training
    diverges, AttackError when no candidate could be tested, StorageError when the disk refuses.
    """
    _expect("model", model, (nn.Module, ModelSpec), "Give an instance of the network, not its class.")
    _expect("split", split, (DataSplit,), "Draw one from a Dataset: make_split(dataset, seed=0).")
    _expect("spec", spec, (SafetySpec,), "Make one: SafetySpec(attacks=[...], requirements=[...]).")
    dataset = split.dataset
    task = TaskInfo(dataset.num_classes, dataset.class_names, dataset.input_shape, table=dataset.table)
    recipe = recipe or Recipe()
    job = Job(
        name=name,
        model=model.fresh(seed) if isinstance(model, ModelSpec) else model,
        model_spec=model if isinstance(model, ModelSpec) else None,
        split=split,
        raw=split,
        task=task,
        spec=spec,
        recipe=recipe,
        dense_recipe=dense_recipe or replace(recipe, objective=CrossEntropy()),
        plan=_plan_of(plan, density),
        seed=seed,
        dense=load_weights(Path(dense)) if isinstance(dense, str | Path) else dense,
        device=device,
        packing=packing,
        factory=model_factory,
        weights_path=Path(dense) if isinstance(dense, str | Path) else None,
    )
    job = settle_start(read_model(job), names_method=plan is not None)
    if ledger is None and out is not None:
        ledger = followed(Path(out)).parent / "ledger.jsonl"
    with contextlib.ExitStack() as stack:
        stack.enter_context(fixed_threads(threads))
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        context = RunContext(
            _ledger(ledger),
            executor or SerialExecutor(),
            progress or Silent(),
            None if cache is None else Path(cache),
            load_released(released),
        )
        return run_job(job, folder, context)


def _plan_of(plan: Plan | None, density: float | None) -> Plan:
    """The ``plan``, or the default one, at ``density``."""
    plan = plan or Plan(arms=Arms())
    return plan if density is None else replace(plan, density=density)


def run_job(
    job: Job, folder: Path, context: RunContext, complete: Callable[[Report], Report] = lambda report: report
) -> CompressionResult:
    """Carry ``job`` out in ``folder`` and leave ``report.json`` and the pages made of it there.

    ``complete`` adds to the report what the caller knows, before it is written.
    """
    check_job(job)
    if context.cache is not None:
        PrivateFolder(context.cache).prepare()
    with open_run_folder(folder, job.name, job.digest) as opened:
        outcome = run(job, opened, context)
        report = complete(outcome.report)
        opened.check_there()
        save_report(report, folder)
    network = outcome.artifact.build(None if job.model_spec else job.scratch())
    return CompressionResult(outcome.artifact, report, network)


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
    start: Start | None = None,
    sub_models: DynamicSparsity | None = None,
    cache: str | Path | None = None,
    released: str | Path | None = None,
    ledger: str | Path | Ledger | None = None,
    executor: Executor | None = None,
    threads: int = 1,
    model_factory: WeightFactory | None = None,
) -> Report:
    """Judge a saved artifact by ``spec``; ``split`` holds raw rows and must name the artifact's own members.

    They are proved by the folder of its run, or by the file that `write_members` left beside it; where nothing proves
    them, the verdict is INCONCLUSIVE at best.

    ``model`` is an instance of the network when the artifact's class is the user's own (``model_factory`` makes it with
    the weights that shadow models begin with, as in `compress`); for one that began with pretrained weights it is the
    `ModelSpec` that names them, so that shadows begin there too. ``dense`` is the dense
    model, reading raw samples, for requirements within a margin of it. ``recipe`` (with ``dense_recipe`` and
    ``start``, by default what the artifact records) says how the artifact was trained, which it must record
    (`record_training`): attacks by shadow models
    need it, and train theirs in ``executor``. Where sub-models taught it, ``sub_models`` says how those were trained:
    ``plan.sparsity()`` of its plan.
    ``cache`` is a private folder that keeps them for the next audit; without it they are forgotten.
    ``released`` is the list of released versions (`Released`), for attacks that combine several versions.

    Raises ArtifactError for a broken file, and for one that was trained by another recipe or on other rows; SpecError
    when a requirement could never pass on these rows.
    """
    _expect(
        "split", split, (DataSplit,), "Draw the one that the artifact was trained on: make_split(dataset, seed=...)."
    )
    _expect("spec", spec, (SafetySpec,), "Make one: SafetySpec(attacks=[...], requirements=[...]).")
    initial_spec = model if isinstance(model, ModelSpec) else None
    request = ModelAudit(
        artifact,
        split,
        spec,
        model=None if isinstance(model, ModelSpec) else model,
        initial_spec=initial_spec,
        dense=dense,
        seed=seed,
        recipe=recipe,
        dense_recipe=dense_recipe,
        start=start,
        sub_models=sub_models,
        factory=model_factory,
    )
    store = None if cache is None else PrivateFolder(Path(cache))
    if store is not None:
        store.prepare()
    resources = AuditResources(
        _ledger(ledger),
        load_released(released),
        store,
        executor.map if executor is not None else map,
    )
    with fixed_threads(threads):
        return audit_model(request, resources)


def _expect(what: str, thing: object, kinds: tuple[type, ...], advice: str) -> None:
    """Raise UsageError unless ``thing`` is one of ``kinds``: the slips that would else end in an AttributeError."""
    if not isinstance(thing, kinds):
        got = f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
        raise UsageError(f"{what} must be a {' or a '.join(kind.__name__ for kind in kinds)}, got {got}. {advice}")


def _ledger(ledger: str | Path | Ledger | None) -> Ledger | None:
    return Ledger(Path(ledger)) if isinstance(ledger, str | Path) else ledger
