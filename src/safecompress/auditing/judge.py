"""The verdict on one model: its shadows, its other versions, the ledger, and fresh attackers on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks import Access, SignalCache, Target, capabilities_of
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.shadows import OrderedMap, ShadowModels, ShadowRows, ShadowTrainer, WeightTransform
from safecompress.auditing.audited_model import AuditedModel, digest_weights
from safecompress.auditing.latency import latency
from safecompress.auditing.shadow_training import TrainingProvenance, rounding_of, shadow_rows
from safecompress.auditing.whole_model import look_at_whole
from safecompress.certify import Certification, JudgedModels, Ledger, certify, judged_parts
from safecompress.certify.health import HealthCheck
from safecompress.data import DataSplit
from safecompress.digests import digest_json, digest_tensors
from safecompress.export import Artifact, ServedModel
from safecompress.metrics.catalogue import LATENCY
from safecompress.networks import copied
from safecompress.progress import Progress, Silent
from safecompress.sparsity import SparsityPattern
from safecompress.spec import SafetySpec
from safecompress.training import engine_name


@dataclass(frozen=True, eq=False)
class AuditResources:
    """What an audit uses beside the case it judges.

    ``ledger`` counts how often the rows were used. ``released`` are the released versions, by their paths, for attacks
    that combine several versions. Shadows are kept in ``store`` and trained by ``run``. ``watcher`` is told what is
    attacked and checked.
    """

    ledger: Ledger | None = None
    released: Mapping[str, Artifact] = field(default_factory=dict)
    store: PrivateFolder | None = None
    run: OrderedMap = map
    watcher: Progress = field(default_factory=Silent, repr=False)


@dataclass(frozen=True, eq=False)
class AuditCase:
    """The model to judge, the spec, and the rows: ``evidence`` are raw rows, one of each unit.

    ``model`` is an instance of the network for artifacts of a user's own class. ``dense`` reads raw samples.
    ``provenance`` says how the model was trained; attacks by shadow models need it. ``trained`` is the model before it
    was packed: where packing changed it, its figures stand beside the verdict's. ``checks`` are what was found of the
    file and its rows before any attack: whether its members are proved, for one.
    """

    subject: AuditedModel
    evidence: DataSplit
    spec: SafetySpec
    seed: int
    dense: nn.Module | None = field(default=None, repr=False)
    model: nn.Module | None = field(default=None, repr=False)
    provenance: TrainingProvenance | None = None
    trained: Artifact | None = None
    device: str = "cpu"
    checks: tuple[HealthCheck, ...] = ()

    def verdict_key(self, released: Mapping[str, Artifact]) -> str:
        """Identifies this verdict in the ledger (`verdict_key`)."""
        shrunk = None if self.trained else self.subject.artifact
        return verdict_key(self.spec, self.seed, self.dense, self.provenance, released, into=shrunk)


def open_rows(
    case: AuditCase, resources: AuditResources, *, check: Callable[[int], object] = lambda number: None
) -> int:
    """Record in the ledger that the rows are used for this verdict; the number of that use, 1 without a ledger.

    ``check`` is called with the number first: where that raises, the rows were not used. Raises SpecError where the
    spec's alpha is larger than the one that the first use of these rows fixed.
    """
    if resources.ledger is None:
        check(1)
        return 1
    return resources.ledger.open(
        case.evidence,
        artifact_digest=case.subject.digest,
        spec_digest=case.verdict_key(resources.released),
        alpha=case.spec.alpha,
        parts=judged_parts(case.spec),
        check=check,
    ).number


def judge(case: AuditCase, resources: AuditResources, opening: int) -> Certification:
    """The verdict on the case's model, served as it would be shipped, at use number ``opening`` of its rows."""
    targets = _Targets(case, resources)
    subject, provenance = case.subject, case.provenance
    versions = {}
    if case.dense is not None:
        versions["dense"] = targets.of(case.dense, provenance.dense_trainer() if provenance else None)
    versions |= {name: targets.of_version(version) for name, version in resources.released.items()}
    source = case.trained or subject.artifact  # shadows are trained as the target was, dead units and all
    trainer, as_trained = None, None
    if source is not None:
        own_provenance = provenance and provenance.of_version(
            source, targets.build(source) if source.is_resized else provenance.template
        )
        trainer = targets.trainer(own_provenance, source.masks, is_subject=True)
    if case.trained is not None and case.trained.digest() != subject.digest:
        network = ServedModel(targets.build(case.trained).to(case.device), case.trained.task)
        as_trained = targets.of(network, trainer)
    target = targets.of(subject.network, trainer, versions, subject.finish)
    counted = list(subject.counted)
    if any(requirement.metric == LATENCY.name for requirement in case.spec.requirements):
        counted.append(latency(subject, case.spec.levels(opening)))
    checks = case.checks
    if case.spec.access is Access.WEIGHTS:  # whoever is given less has the answers alone
        checks = (*checks, *look_at_whole(subject, case.evidence))
    models = JudgedModels(target, versions.get("dense"), as_trained, tuple(counted), checks)
    run, watcher = resources.run, resources.watcher
    return certify(models, case.evidence, case.spec, seed=case.seed, opening=opening, run=run, watcher=watcher)


class _Targets:
    """Makes targets of networks: with the audit's access and signals, and with shadows where the training is known."""

    def __init__(self, case: AuditCase, resources: AuditResources) -> None:
        self._case, self._resources, self._signals = case, resources, SignalCache()
        self._rows: ShadowRows | None = None
        if case.provenance is not None:
            has_reference = case.provenance.reference is not None
            self._rows = shadow_rows(case.evidence, "verdict", case.seed, has_reference=has_reference)
        source = case.trained or case.subject.artifact
        self._transform = digest_tensors(source.task.tensors()) if source else ""

    def of(
        self,
        network: nn.Module,
        trainer: ShadowTrainer | None,
        versions: Mapping[str, Target] | None = None,
        finish: WeightTransform | None = None,
    ) -> Target:
        """``network`` under attack, with shadows by ``trainer``."""
        shadows = None
        if self._rows is not None and trainer is not None:
            store, run = self._resources.store, self._resources.run
            shadows = ShadowModels(self._rows, trainer, store=store, run=run, finish=finish)
        access, transform = self._case.spec.access, self._transform
        return Target(
            network, access=access, cache=self._signals, shadows=shadows, versions=versions, transform=transform
        )

    def of_version(self, version: Artifact) -> Target:
        """A released version under attack."""
        network, provenance = self.build(version), self._case.provenance
        is_own = version.model_spec is None and not version.is_resized  # no shadow may begin with the version's weights
        own_provenance = provenance and provenance.of_version(version, provenance.template if is_own else network)
        trainer = self.trainer(own_provenance, version.masks)
        return self.of(ServedModel(network, version.task), trainer, {}, rounding_of(version))

    def trainer(
        self, provenance: TrainingProvenance | None, masks: Mapping[str, Tensor], *, is_subject: bool = False
    ) -> ShadowTrainer | None:
        """Trains shadows into ``masks``; where there are none, of the model that is judged or of a dense version."""
        if provenance is None:
            return None
        if masks:
            return provenance.trainer(SparsityPattern(masks), self._case.spec.shadows)
        return provenance.unmasked_trainer() if is_subject else provenance.dense_trainer()

    def build(self, artifact: Artifact) -> nn.Module:
        """The artifact's network."""
        own = None if artifact.model_spec is not None else self._case.model
        return artifact.build(None if own is None else copied(own))


def verdict_key(
    spec: SafetySpec,
    seed: int,
    dense_model: nn.Module | None,
    provenance: TrainingProvenance | None,
    released: Mapping[str, Artifact],
    *,
    into: Artifact | None = None,
) -> str:
    """Identifies a verdict in the ledger: with another key the rows are used again.

    It depends on spec and seed; on the dense model, where a requirement or an attack compares with it; on how shadows
    are trained (``into`` an artifact of which only the file is known, without its dead units, is another way than into
    the model as trained); on the released versions, where an attack combines them; on version, threads and engine.
    """
    dense_digest, shadow_digest = None, None
    is_joint = any(capabilities_of(attack).joins_versions for attack in spec.attacks)
    if dense_model is not None and (is_joint or any(requirement.is_change() for requirement in spec.requirements)):
        dense_digest = digest_weights(dense_model)
    if provenance is not None and any(capabilities_of(attack).num_shadows for attack in spec.attacks):
        shadow_digest = provenance.digest() + (" without dead units" if into is not None and into.is_resized else "")
    others = sorted(artifact.digest() for artifact in released.values()) if is_joint else []
    numerics = [__version__, torch.get_num_threads(), engine_name()]
    return digest_json([spec.digest(), seed, dense_digest, shadow_digest, others, *numerics])
