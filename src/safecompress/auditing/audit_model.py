"""The audit of an existing model: checked against its rows, judged, and reported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from safecompress import __version__
from safecompress.attacks import capabilities_of
from safecompress.auditing.audited_model import AuditedModel, check_answers, check_task, digest_weights, subject_of
from safecompress.auditing.judge import AuditCase, AuditResources, judge, open_rows
from safecompress.auditing.members import check_members
from safecompress.auditing.recorded_training import check_training, recorded_start
from safecompress.auditing.shadow_training import TrainingProvenance
from safecompress.certify import Feasibility, check_feasibility
from safecompress.compression.job import ASKED, check_canaries, check_drawable
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.errors import ModelError, UsageError
from safecompress.export import Artifact
from safecompress.models import ModelSpec
from safecompress.networks import WeightFactory, copied, read_for_audit, read_for_training
from safecompress.report import Report, RunFacts, build_report
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec
from safecompress.training import CrossEntropy, Recipe
from safecompress.training.dynamic import DynamicSparsity

UNCOUNTED = "No ledger was kept: nobody counts how often these verdict rows are opened."
"""The note of a report without a ledger."""


@dataclass(frozen=True, eq=False)
class ModelAudit:
    """Which model is audited by which spec, on which raw rows; the fields are arguments of `api.audit`.

    ``file`` is where the weights of a network in memory come from, beside which its members may be recorded.
    ``factory`` makes the network of an artifact of the user's own class, with the weights that shadows begin with.
    """

    artifact: str | Path | nn.Module
    split: DataSplit
    spec: SafetySpec
    model: nn.Module | None = field(default=None, repr=False)
    initial_spec: ModelSpec | None = None
    dense: nn.Module | None = field(default=None, repr=False)
    seed: int = 0
    recipe: Recipe | None = None
    dense_recipe: Recipe | None = None
    start: Start | None = None
    sub_models: DynamicSparsity | None = None
    file: Path | None = None
    factory: WeightFactory | None = field(default=None, repr=False)


def audit_model(audit: ModelAudit, resources: AuditResources) -> Report:
    """The report of the verdict. Raises what `api.audit` raises.

    The ledger counts a use of the rows only once it is known that they can certify what the spec asks.
    """
    audit, notes = _read(audit)
    subject = subject_of(audit.artifact, audit.split, audit.model)
    audit.split.check()
    check_canaries(audit.spec, audit.split)
    check_task(subject, audit.split)
    check_answers(subject, audit.split)
    checks = [check_members(subject, audit.split, subject.path or audit.file)]
    evidence = one_row_per_unit(audit.split)
    provenance = _provenance(audit, subject.artifact)
    if provenance is not None and _compares_with_shadows(audit.spec):
        if provenance.model_spec is None:
            check_drawable(provenance.template, audit.factory)
        checks.append(check_training(subject, provenance))
    case = AuditCase(
        subject, evidence, audit.spec, audit.seed, audit.dense, audit.model, provenance, checks=tuple(checks)
    )
    forecast = partial(_forecast, case)
    opening = open_rows(case, resources, check=forecast)
    certification = judge(case, resources, opening)
    facts = RunFacts(
        seed=audit.seed,
        weights=_weights(subject.artifact),
        digests={} if audit.dense is None else {"dense": digest_weights(audit.dense)},
        notes=[*_notes(audit, resources, subject.artifact), *notes],
    )
    return build_report(
        _name(subject),
        certification,
        audit.split,
        artifact_facts=subject.facts,
        digest=subject.digest,
        prospects=forecast(opening),
        facts=facts,
    )


def _read(audit: ModelAudit) -> tuple[ModelAudit, tuple[str, ...]]:
    """The audit with networks in memory read as classifiers of raw rows, and notes on how.

    The network of an artifact is read as it was when it was trained, so that its tensors have the file's names.
    """
    features, _ = audit.split.part("train", ASKED)
    num_classes, read = audit.split.dataset.num_classes, audit
    notes: tuple[str, ...] = ()
    if isinstance(audit.artifact, nn.Module):
        reading = read_for_audit(audit.artifact, features, num_classes)
        read, notes = replace(read, artifact=reading.network), reading.notes
    if audit.model is not None and not isinstance(audit.artifact, nn.Module):
        network = copied(read_for_training(audit.model, features, num_classes).network)  # the file's weights go into it
        read = replace(read, model=network)
    if audit.dense is not None:
        read = replace(read, dense=read_for_audit(audit.dense, features, num_classes).network)
    return read, notes


def _forecast(case: AuditCase, opening: int) -> tuple[Feasibility, ...]:
    """What the rows can certify at their use number ``opening``. Raises SpecError for what no outcome could pass."""
    artifact = case.subject.artifact
    density = None if artifact is None else artifact.density
    return check_feasibility(case.spec, case.evidence, case.spec.levels(opening), density=density)


def _provenance(audit: ModelAudit, artifact: Artifact | None) -> TrainingProvenance | None:
    """How the model was trained, as far as its shadows need it; None without a recipe."""
    if audit.recipe is None or artifact is None:
        return None
    template, whole = audit.model, _whole_spec(artifact, audit.initial_spec)
    if template is None:  # of the whole size, whatever units were removed
        template = artifact.build() if whole is None else whole.fresh(audit.seed)
    dense_recipe = audit.dense_recipe or replace(audit.recipe, objective=CrossEntropy())
    if "folds" in audit.recipe.objective.needs and audit.sub_models is None:
        raise UsageError(
            f"The objective {audit.recipe.objective!r} was taught by sparse sub-models, and how sparse is not said. "
            "Give sub_models=plan.sparsity() of the plan that it was trained by."
        )
    reference = None
    if "reference" in audit.recipe.objective.needs | dense_recipe.objective.needs:
        features, labels = audit.split.part("population")
        reference = (artifact.task.prepare(features), labels)
    return TrainingProvenance(
        template,
        whole,
        artifact.task,
        audit.recipe,
        dense_recipe,
        audit.start or recorded_start(artifact.metadata),
        reference=reference,
        sub_models=audit.sub_models,
        factory=audit.factory,
    )


def _whole_spec(artifact: Artifact, initial_spec: ModelSpec | None) -> ModelSpec | None:
    """The spec of the network as it began. Raises ModelError when ``initial_spec`` is of another network."""
    if initial_spec is None:
        return artifact.model_spec
    if initial_spec.stored() != artifact.model_spec:
        raise ModelError(
            f"The artifact holds another network than the spec names: {artifact.model_spec} and "
            f"{initial_spec.stored()}. Name the pretrained model, and its options, that training began with."
        )
    return initial_spec


def _compares_with_shadows(spec: SafetySpec) -> bool:
    return any(capabilities_of(attack).num_shadows for attack in spec.attacks)


def _notes(audit: ModelAudit, resources: AuditResources, artifact: Artifact | None) -> list[str]:
    notes = [] if resources.ledger else [UNCOUNTED]
    version = __version__ if artifact is None else artifact.metadata.get("safecompress", __version__)
    if version != __version__:
        notes.append(f"The artifact was made by version {version}; its shadow models are trained by {__version__}.")
    if audit.dense is None and any(requirement.is_change() for requirement in audit.spec.requirements):
        notes.append("No dense model was given, so no change from it (.drop, .rise) could be measured.")
    return notes


def _weights(artifact: Artifact | None) -> str:
    """Where the weights come from, as far as the file tells."""
    version = None if artifact is None else artifact.metadata.get("safecompress")
    if version is None:
        return "trained elsewhere: nothing is recorded of how"
    return f"by the file's own record, trained by safecompress {version}"


def _name(subject: AuditedModel) -> str:
    name = "model" if subject.path is None else subject.path.stem
    return name if subject.artifact is None else str(subject.artifact.metadata.get("name", name))
