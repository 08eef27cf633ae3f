"""The audit of a model that was made before: checked against its rows, judged, and reported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from safecompress.auditing.audited_model import AuditedModel, check_task, digest_weights, subject_of
from safecompress.auditing.judge import AuditCase, AuditResources, judge, open_rows
from safecompress.auditing.shadow_training import TrainingProvenance
from safecompress.certify import Feasibility, check_feasibility
from safecompress.compression.run_folder import check_members
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.errors import ModelError
from safecompress.export import Artifact
from safecompress.models import ModelSpec
from safecompress.report import Report, RunFacts, build_report
from safecompress.sparsity import Start
from safecompress.spec import SafetySpec
from safecompress.training import CrossEntropy, Recipe

UNVERIFIED = (
    "Nothing proves that these rows' members are the artifact's own: it does not lie in its run folder, and carries no "
    "digest of them. If they are not, this audit says nothing."
)

UNCOUNTED = "No ledger was kept: nobody counts how often these verdict rows are opened."
"""The note of a report without a ledger."""


@dataclass(frozen=True, eq=False)
class ModelAudit:
    """Which model is audited by which spec, on which raw rows; the fields are the arguments of `api.audit`."""

    artifact: str | Path | nn.Module
    split: DataSplit
    spec: SafetySpec
    model: nn.Module | None = field(default=None, repr=False)
    initial_spec: ModelSpec | None = None
    dense: nn.Module | None = field(default=None, repr=False)
    seed: int = 0
    recipe: Recipe | None = None
    dense_recipe: Recipe | None = None
    start: Start = Start.SCRATCH


def audit_model(audit: ModelAudit, resources: AuditResources) -> Report:
    """The report of the verdict. Raises what `api.audit` raises; the rows are opened once it is known that they can
    certify what the spec asks."""
    subject = subject_of(audit.artifact, audit.split, audit.model)
    audit.split.check()
    check_task(subject, audit.split)
    is_verified = subject.path is not None and check_members(subject.path, audit.split)
    evidence = one_row_per_unit(audit.split)
    lineage = _lineage(audit, subject.artifact)
    case = AuditCase(subject, evidence, audit.spec, audit.seed, audit.dense, audit.model, lineage)
    forecast = partial(_forecast, case)
    opening = open_rows(case, resources, check=forecast)
    certification = judge(case, resources, opening)
    facts = RunFacts(
        seed=audit.seed,
        digests={} if audit.dense is None else {"dense": digest_weights(audit.dense)},
        notes=_notes(audit, resources, is_verified),
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


def _forecast(case: AuditCase, opening: int) -> tuple[Feasibility, ...]:
    """What the rows can certify at their ``opening``-th use. Raises SpecError for what no outcome could pass."""
    artifact = case.subject.artifact
    density = None if artifact is None else artifact.density
    return check_feasibility(case.spec, case.evidence, case.spec.levels(opening), density=density)


def _lineage(audit: ModelAudit, artifact: Artifact | None) -> TrainingProvenance | None:
    """How the model was trained, as far as its shadows must know; None where no recipe says it."""
    if audit.recipe is None or artifact is None:
        return None
    template, whole = audit.model, _whole_spec(artifact, audit.initial_spec)
    if template is None:  # of the whole size, whatever units were removed
        template = artifact.build() if whole is None else whole.fresh(audit.seed)
    dense_recipe = audit.dense_recipe or replace(audit.recipe, objective=CrossEntropy())
    reference = None
    if "reference" in audit.recipe.objective.needs | dense_recipe.objective.needs:
        features, labels = audit.split.part("population")
        reference = (artifact.task.prepare(features), labels)
    return TrainingProvenance(
        template, whole, artifact.task, audit.recipe, dense_recipe, audit.start, reference=reference
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


def _notes(audit: ModelAudit, resources: AuditResources, is_verified: bool) -> list[str]:
    notes = [] if is_verified else [UNVERIFIED]
    notes += [] if resources.ledger else [UNCOUNTED]
    if audit.dense is None and any(requirement.is_change() for requirement in audit.spec.requirements):
        notes.append("No dense model was given, so no change from it (.drop, .rise) could be measured.")
    return notes


def _name(subject: AuditedModel) -> str:
    name = "model" if subject.path is None else subject.path.stem
    return name if subject.artifact is None else str(subject.artifact.metadata.get("name", name))
