"""From a file, or a network, to its certification: what is judged, its shadows, its other versions, the ledger."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.attacks import SignalCache, Target, capabilities_of
from safecompress.attacks.private import PrivateFolder
from safecompress.attacks.shadows import Finish, Map, ShadowModels, ShadowTrainer
from safecompress.certify import Certification, Ledger, Released, certify
from safecompress.data import DataSplit
from safecompress.deploy import Artifact, Served
from safecompress.digests import digest_json, digest_tensors
from safecompress.errors import ArtifactError
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.report import describe_artifact
from safecompress.runtime import load
from safecompress.runtime.asmodule import OnnxNetwork
from safecompress.runtime.measure import in_turns, median_interval
from safecompress.runtime.network import facts_of
from safecompress.shadowing import Lineage, Rounding, rounding_of, shadow_rows
from safecompress.sparsity import SparsityPattern
from safecompress.spec import SafetySpec
from safecompress.threads import fixed_threads

LATENCY = "latency.p50_ms"
LATENCY_ROUNDS = 60
"""Blocks of calls whose medians the latency's interval is taken from."""

SAME = 1e-3
"""What logits of an ONNX file and of its artifact may differ by, as a share of the largest."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is judged: ``network`` reads raw samples and gives logits, as it ships.

    ``digest`` is that of its content, ``counted`` what was counted of its file, ``facts`` what a report says of it.
    ``artifact`` says what shadows are trained into, where that is known; ``finish`` is what they go through before they
    answer. ``path`` is the file that a device would load, None for a network that is no file.
    """

    network: nn.Module = field(repr=False)
    digest: str
    counted: tuple[Measurement, ...]
    facts: Mapping[str, Any]
    input_shape: tuple[int, ...]
    num_classes: int
    artifact: Artifact | None = None
    finish: Rounding | None = None
    path: Path | None = None

    @classmethod
    def of_artifact(cls, path: Path, *, model: nn.Module | None = None, device: str = "cpu") -> Subject:
        """The artifact at ``path``, read back. ``model`` is an instance of a network of the user's own class."""
        artifact = Artifact.load(path)
        own = None if artifact.model_spec else copy.deepcopy(model)
        network = Served(artifact.build(own).to(device), artifact.task)
        size = path.stat().st_size
        counted = (
            Measurement.exact("density", artifact.density, Direction.LOWER),
            Measurement.exact("artifact.size_bytes", size, Direction.LOWER),
            Measurement.exact("compression.ratio", dense_bytes(artifact, model) / size, Direction.HIGHER),
        )
        facts, task = describe_artifact(artifact), artifact.task
        finish = rounding_of(artifact)
        shape = task.input_shape
        return cls(network, artifact.digest(), counted, facts, shape, task.num_classes, artifact, finish, path)

    @classmethod
    def of_onnx(cls, path: Path, *, source: Artifact | None = None, model: nn.Module | None = None) -> Subject:
        """The ONNX file at ``path``, asked in ONNX Runtime. ``source`` is the artifact that it was exported from."""
        own = None if source is None or source.model_spec else copy.deepcopy(model)
        twin = None if source is None else Served(source.build(own), source.task)
        network, size = OnnxNetwork(path, twin), path.stat().st_size
        counted = [Measurement.exact("artifact.size_bytes", size, Direction.LOWER)]
        facts: dict[str, Any] = {"size_bytes": size, "format": "onnx", "class_names": list(network.facts.class_names)}
        finish = None
        if source is not None and twin is not None:
            _require_same(network, twin, source, path)
            ratio = dense_bytes(source, model) / size
            counted.append(Measurement.exact("compression.ratio", ratio, Direction.HIGHER))
            counted.append(Measurement.exact("density", source.density, Direction.LOWER))
            facts |= {"precision": "int8" if network.is_int8 else "float32", "is_resized": source.is_resized}
            facts |= {"num_weights": source.num_weights, "num_active": source.num_active, "density": source.density}
            finish = Rounding("int8") if network.is_int8 else rounding_of(source)
        told = network.facts
        return cls(
            *(network, network.digest, tuple(counted), facts, told.input_shape, told.num_classes, source, finish, path)
        )

    @classmethod
    def of_network(cls, network: nn.Module, input_shape: tuple[int, ...], num_classes: int) -> Subject:
        """A network in memory that reads raw samples."""
        weights = [p for p in network.parameters() if p.ndim >= 2]
        count = sum(weight.numel() for weight in weights)
        active = sum(int(weight.count_nonzero()) for weight in weights)
        density = active / count if count else 1.0
        counted = (Measurement.exact("density", density, Direction.LOWER),)
        facts = {"format": type(network).__name__, "num_weights": count, "num_active": active, "density": density}
        digest = f"{digest_weights(network)}-{digest_json(repr(network))[:16]}"
        return cls(network, digest, counted, facts, tuple(input_shape), num_classes)


def judge(
    subject: Subject,
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
    """The verdict on ``subject``, served as it would be shipped.

    ``model`` is an instance of the network for artifacts of a class of the user's own. ``dense`` reads raw samples.
    ``evidence`` are raw rows, one of each unit. ``lineage`` says how the model was trained; attacks by shadow models
    need it. Attacks that join versions read the dense model and those in ``released``. ``trained`` is the model before
    it was packed: where packing changed it, its figures stand beside the verdict's. Shadows are kept in ``store`` and
    trained by ``run``.
    """
    opening = 1
    if ledger is not None:
        asked = question(spec, seed, dense, lineage, released, into=None if trained else subject.artifact)
        opening = ledger.open(evidence, artifact=subject.digest, spec=asked).number
    has_reference = lineage is not None and lineage.reference is not None
    rows = shadow_rows(evidence, "verdict", seed, has_reference=has_reference) if lineage else None
    source = trained or subject.artifact  # shadows are trained as the target was, dead units and all
    signals = SignalCache()
    transform = digest_tensors(source.task.tensors()) if source else ""

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

    def into(made: Lineage | None, masks: Mapping[str, Tensor]) -> ShadowTrainer | None:
        if made is None:
            return None
        return made.trainer(SparsityPattern(masks), spec.shadows) if masks else made.dense_trainer()

    def built(artifact: Artifact) -> nn.Module:
        return artifact.build(None if artifact.model_spec else copy.deepcopy(model))

    versions = {}
    if dense is not None:
        versions["dense"] = under_attack(dense, lineage.dense_trainer() if lineage else None, {})
    for name, version in (released.versions() if released else {}).items():
        other = built(version)
        is_own = version.model_spec is None and not version.is_resized  # no shadow may begin with the version's weights
        made = lineage and lineage.of_version(version, lineage.template if is_own else other)
        versions[name] = under_attack(Served(other, version.task), into(made, version.masks), {}, rounding_of(version))
    trainer, as_trained = None, None
    if source is not None:
        made = lineage and lineage.of_version(source, built(source) if source.is_resized else lineage.template)
        trainer = into(made, source.masks)
    if trained is not None and trained.digest() != subject.digest:
        as_trained = under_attack(Served(built(trained).to(device), trained.task), trainer, {})
    target = under_attack(subject.network, trainer, versions, subject.finish)
    counted = list(subject.counted)
    if any(requirement.metric == LATENCY for requirement in spec.requirements):
        counted.append(latency(subject, spec.levels(opening)))
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


def latency(subject: Subject, levels: Levels) -> Measurement:
    """Milliseconds that one sample takes on one thread of this machine: the median over blocks of calls.

    A file is asked by the engine that `runtime.load` would choose. Intervals are order statistics of the blocks'
    medians; they know of this machine's noise and of no other machine.
    """
    noise = np.random.default_rng(0).standard_normal((1, *subject.input_shape), dtype=np.float32)
    loadable = subject.path is not None and (subject.path.suffix == ".onnx" or _is_built_by_name(subject))
    with fixed_threads(1):
        if loadable and subject.path is not None:
            predictor = load(subject.path, batch_sizes=(1,), threads=1)
            (timing,) = in_turns({"": lambda: predictor.logits(noise)}, rounds=LATENCY_ROUNDS).values()
        else:
            sample = torch.from_numpy(noise)
            with torch.inference_mode():
                (timing,) = in_turns({"": lambda: subject.network(sample)}, rounds=LATENCY_ROUNDS).values()
    medians = timing.medians()
    alphas = (levels.alpha, levels.simultaneous_alpha)
    intervals = [median_interval(medians, 1e3, confidence=1 - alpha) for alpha in alphas]
    value = float(np.median(medians)) * 1e3
    return Measurement(LATENCY, value, intervals[0], intervals[1], len(medians), Direction.LOWER)


def _require_same(network: OnnxNetwork, twin: nn.Module, source: Artifact, path: Path) -> None:
    """Raise ArtifactError for a file that is not ``source``: its density and shadows would be another model's.

    Int8 computes otherwise; of it, and of any file, only the shapes are compared.
    """
    told, task = network.facts, source.task
    is_same = (told.input_shape, told.num_classes) == (task.input_shape, task.num_classes)
    if is_same and not network.is_int8:
        samples = torch.from_numpy(facts_of(task).random_samples(5))
        with torch.inference_mode():
            wanted, got = twin.eval()(samples), network(samples)
        is_same = bool((got - wanted).abs().max() <= SAME * wanted.abs().max())
    if not is_same:
        raise ArtifactError(
            f"{path} is not the artifact beside it: it answers otherwise, so that nothing is known of its weights or "
            "of how it was trained. Audit it in a folder of its own, by rows that you name: --members, --non-members."
        )


def _is_built_by_name(subject: Subject) -> bool:
    return subject.artifact is not None and subject.artifact.model_spec is not None


def digest_file(path: Path) -> str:
    """The digest of the content of an artifact or an ONNX file, as `Subject` knows it. Raises ArtifactError."""
    if path.suffix != ".onnx":
        return Artifact.load(path).digest()
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    spec: SafetySpec,
    seed: int,
    dense: nn.Module | None,
    lineage: Lineage | None,
    released: Released | None,
    *,
    into: Artifact | None = None,
) -> str:
    """What a verdict is asked, as the ledger knows it: another seed asks anew, and so opens anew.

    So does another dense model, where a requirement or an attack compares with it, and another way of training shadows,
    such as ``into`` an artifact of which only the file is known, without its dead units, and not the model as trained.
    """
    compared, trained = None, None
    is_joint = any(capabilities_of(attack).joins_versions for attack in spec.attacks)
    if dense is not None and (is_joint or any(requirement.is_change() for requirement in spec.requirements)):
        compared = digest_weights(dense)
    if lineage is not None and any(capabilities_of(attack).num_shadows for attack in spec.attacks):
        trained = lineage.digest() + (" without dead units" if into is not None and into.is_resized else "")
    others = sorted(artifact.digest() for artifact in released.versions().values()) if released and is_joint else []
    return digest_json([spec.digest(), seed, compared, trained, others, __version__, torch.get_num_threads()])
