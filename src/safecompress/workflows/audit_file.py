"""The audit of a saved file by a spec, all of it named by paths."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.auditing.audit_model import ModelAudit, audit_model
from safecompress.auditing.judge import AuditResources
from safecompress.certify import Ledger, load_released
from safecompress.compression.arms.train import arm_plan, arm_recipe
from safecompress.compression.run_folder import ARTIFACT, DENSE, IDENTITY
from safecompress.config import Config, load_config, load_limits
from safecompress.errors import ArtifactError, UsageError
from safecompress.export import Artifact
from safecompress.export.served import serve_dense
from safecompress.models import ModelSpec
from safecompress.report import Report
from safecompress.storage import followed
from safecompress.threads import fixed_threads
from safecompress.training import Recipe
from safecompress.training.dynamic import DynamicSparsity
from safecompress.workflows.export_file import network_of
from safecompress.workflows.foreign_model import load_foreign_model, load_pools
from safecompress.workflows.loading import executor_of, load_rows
from safecompress.workflows.user_model import load_weights


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """Which file is audited by which spec, and where everything else lies.

    With ``members_path`` and ``non_members_path``, two .npz files, the model was trained elsewhere and is audited on
    their rows; otherwise it lies in the folder of a run, and the spec names its rows. ``model_factory`` is
    ``package.module:factory`` for a network of the user's own class. A path that is None is looked for where a run
    leaves the file: the dense model beside the artifact, the ledger beside the run's folder. Shadow models are trained
    anew, unless ``cache_path`` names a folder that keeps them: whoever made the run supplies what lies in its folder.
    """

    artifact_path: Path
    spec_path: Path
    members_path: Path | None = None
    non_members_path: Path | None = None
    model_factory: str | None = None
    dense_path: Path | None = None
    ledger_path: Path | None = None
    cache_path: Path | None = None
    released_path: Path | None = None
    workers: int = 1
    threads: int = 1

    @property
    def is_foreign(self) -> bool:
        """Whether the model was trained elsewhere."""
        return self.members_path is not None or self.non_members_path is not None


def audit_file(request: AuditRequest) -> Report:
    """The verdict of the spec on the file. Raises UsageError (and its kinds), and the errors of `audit_model`."""
    if not request.artifact_path.is_file():
        raise UsageError(f"{request.artifact_path} is no file. Name the artifact: RUN/{ARTIFACT}.")
    return _audit_foreign_model(request) if request.is_foreign else _audit_run(request)


def _audit_foreign_model(request: AuditRequest) -> Report:
    """The verdict on a model that was trained elsewhere, by rows that the user names."""
    unused = {"--dense": request.dense_path, "--cache": request.cache_path, "--released": request.released_path}
    options = [option for option, path in unused.items() if path is not None]
    if options:
        raise UsageError(
            f"{' and '.join(options)}: nothing is compared with, and no shadow is trained for, a model that was "
            "trained elsewhere. Leave it out with --members and --non-members."
        )
    if request.members_path is None or request.non_members_path is None:
        raise UsageError("--members and --non-members go together: attacks tell the ones from the others.")
    limits = load_limits(request.spec_path)
    foreign = load_foreign_model(request.artifact_path, request.model_factory, request.members_path)
    pools = load_pools(request.members_path, request.non_members_path, foreign.num_classes, limits.seed)
    audit = ModelAudit(
        foreign.target, pools, limits.spec, model=foreign.network, seed=limits.seed, file=request.artifact_path
    )
    ledger = Ledger(request.ledger_path or followed(request.artifact_path).parent / "ledger.jsonl")
    with fixed_threads(request.threads):
        report = audit_model(audit, AuditResources(ledger))
    return replace(report, name=limits.name)


def _audit_run(request: AuditRequest) -> Report:
    """The verdict on the file of a run, by the rows of the spec that it was trained by."""
    store = None if request.cache_path is None else PrivateFolder(request.cache_path)
    if store is not None:
        store.prepare()
    artifact = _load_artifact(request)
    config = load_config(request.spec_path, model_given=True)
    _check_data_digest(artifact, config, request.artifact_path)
    rows = load_rows(config)
    network = _network(request, artifact)
    made_by = _training_of(artifact.metadata, config)
    audit = ModelAudit(
        request.artifact_path,
        rows.raw,
        config.spec,
        model=None if network is None else copy.deepcopy(network),  # the artifact's weights go into it
        initial_spec=_initial_spec(config, artifact) if network is None else None,
        dense=_dense_model(request, artifact, config, network),
        seed=config.seed,
        recipe=made_by.recipe,
        dense_recipe=config.dense_recipe,
        start=config.plan.start,
        sub_models=made_by.sub_models,
    )
    ledger = Ledger(request.ledger_path or _ledger_of_run(request.artifact_path))
    with executor_of(request.workers) as executor, fixed_threads(request.threads):
        resources = AuditResources(ledger, load_released(request.released_path), store, executor.map)
        report = audit_model(audit, resources)
    return replace(report, notes=[*report.notes, *config.notes()])


def _load_artifact(request: AuditRequest) -> Artifact:
    """The artifact, which an ONNX file in the folder of a run was exported from. Raises UsageError where none lies."""
    path = request.artifact_path
    source = path.parent / ARTIFACT if path.suffix == ".onnx" else path
    if not source.is_file() or (source != path and not (path.parent / IDENTITY).exists()):
        raise UsageError(
            f"{path} does not lie in the folder of a run, which alone knows its members. Name rows that it was "
            "trained on and rows that it never saw: --members and --non-members."
        )
    artifact = Artifact.load(source)
    if artifact.model_spec is None and request.model_factory is None:
        raise UsageError(f"{path} holds a network of its author's own class. Say what makes it: --model pkg.module:f.")
    return artifact


def _check_data_digest(artifact: Artifact, config: Config, path: Path) -> None:
    """Raise ArtifactError when the artifact was trained on rows that another spec drew."""
    recorded = artifact.metadata.get("data_spec", "")
    if recorded and recorded != config.data_digest():
        raise ArtifactError(
            f"{path} was trained on rows drawn by another [data] table, seed or number of canaries than this spec's, "
            "so the spec's members are not its members and the audit would say nothing. Use the [data], seed and "
            "[safety] canaries it was trained with."
        )


def _network(request: AuditRequest, artifact: Artifact) -> nn.Module | None:
    """An instance of the user's own class, where they say what makes it."""
    return network_of(artifact, request.model_factory)


def _initial_spec(config: Config, artifact: Artifact) -> ModelSpec | None:
    """The spec of the pretrained network that training began with; None where the artifact itself knows it."""
    if config.model is None:
        return None
    spec = config.model.spec(artifact.task.input_shape, artifact.task.num_classes)
    return None if artifact.model_spec is None or spec.stored() == spec else spec


def _dense_model(
    request: AuditRequest, artifact: Artifact, config: Config, network: nn.Module | None
) -> nn.Module | None:
    """The dense model, by the weights that the user names or those beside the artifact."""
    beside = request.artifact_path.parent / DENSE
    path = request.dense_path or (beside if beside.exists() else None)
    if path is None:
        return None
    template = network
    if artifact.model_spec is not None and network is None:
        artifact.build()  # refuses sizes that are not the file's, before memory is taken for the whole
        template = artifact.model_spec.fresh(config.seed)  # of the whole size, whatever units were removed
    assert template is not None  # _load_artifact refused an artifact without either
    return serve_dense(artifact, load_weights(path, template), network)


@dataclass(frozen=True)
class _MadeBy:
    """The recipe that made an artifact, and how the sub-models were trained that taught it."""

    recipe: Recipe
    sub_models: DynamicSparsity | None = None


def _training_of(metadata: Mapping[str, str], config: Config) -> _MadeBy:
    """The training of the spec that the artifact names: its arm, or the objective that its search ended towards."""
    recipe, plan = config.recipe, config.plan
    if plan.arms is not None:
        for arm in plan.each_arm:
            if arm.key == metadata.get("arm"):
                return _MadeBy(
                    arm_recipe(recipe, plan.arms, arm), arm_plan(plan, arm).sub_models() if arm.share else None
                )
        raise ArtifactError(
            "The artifact names no arm of this spec, so how it was trained is not known. Use the spec of its run."
        )
    known = {repr(objective): objective for objective in (recipe.objective, *plan.objectives)}
    objective = known.get(metadata.get("objective", ""), recipe.objective)
    sub_models = plan.sub_models() if "folds" in objective.needs else None
    return _MadeBy(replace(recipe, objective=objective), sub_models)


def _ledger_of_run(artifact_path: Path) -> Path:
    """The ledger beside the artifact or, in a run, beside its folder."""
    folder = followed(artifact_path).parent
    return (folder.parent if (folder / IDENTITY).exists() else folder) / "ledger.jsonl"
