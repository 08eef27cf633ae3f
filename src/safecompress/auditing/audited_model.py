"""What is judged: an artifact, an ONNX file or a network, as it would be served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from safecompress.auditing.shadow_training import RoundWeights, rounding_of
from safecompress.compression.run_folder import ARTIFACT, IDENTITY
from safecompress.data import DataSplit
from safecompress.digests import digest_json, digest_tensors
from safecompress.errors import ArtifactError, ModelError
from safecompress.export import Artifact, ServedModel
from safecompress.metrics.catalogue import COMPRESSION_RATIO, DENSITY, SIZE_BYTES, Metric
from safecompress.metrics.measurement import Measurement
from safecompress.networks import copied, fault_of_answers
from safecompress.report import describe_artifact
from safecompress.runtime.asmodule import OnnxNetwork
from safecompress.runtime.network import facts_of

SAME = 1e-3
"""How much the logits of an ONNX file may differ from its artifact's, as a share of the largest."""


@dataclass(frozen=True, eq=False)
class AuditedModel:
    """What is judged: ``network`` reads raw samples and gives logits, as it ships.

    ``digest`` is that of its content, ``counted`` are the figures counted on its file, ``facts`` describe it in a
    report. ``artifact``, where it is known, holds the pattern that shadows are trained into; ``finish`` transforms a
    shadow's weights before it is queried. ``path`` is the file that a device would load, None for a network in memory.
    """

    network: nn.Module = field(repr=False)
    digest: str
    counted: tuple[Measurement, ...]
    facts: Mapping[str, Any]
    input_shape: tuple[int, ...]
    num_classes: int
    artifact: Artifact | None = None
    finish: RoundWeights | None = None
    path: Path | None = None

    @property
    def known_digests(self) -> frozenset[str]:
        """Its own digest, and that of the artifact which an ONNX file was exported from."""
        return frozenset({self.digest} | ({self.artifact.digest()} if self.artifact else set()))

    @classmethod
    def of_artifact(cls, path: Path, *, model: nn.Module | None = None, device: str = "cpu") -> AuditedModel:
        """The artifact at ``path``, read back. ``model`` is an instance of a network of the user's own class."""
        artifact = Artifact.load(path)
        own = None if artifact.model_spec or model is None else copied(model)
        network = ServedModel(artifact.build(own).to(device), artifact.task)
        size = path.stat().st_size
        counted = (
            _exact(DENSITY, artifact.density),
            _exact(SIZE_BYTES, size),
            _exact(COMPRESSION_RATIO, dense_bytes(artifact, model) / size),
        )
        facts, task = describe_artifact(artifact), artifact.task
        finish = rounding_of(artifact)
        shape = task.input_shape
        return cls(network, artifact.digest(), counted, facts, shape, task.num_classes, artifact, finish, path)

    @classmethod
    def of_onnx(cls, path: Path, *, original: Artifact | None = None, model: nn.Module | None = None) -> AuditedModel:
        """The ONNX file at ``path``, run in ONNX Runtime. ``original`` is the artifact that it was exported from."""
        own = None if model is None or original is None or original.model_spec else copied(model)
        twin = None if original is None else ServedModel(original.build(own), original.task)
        network, size = OnnxNetwork(path, twin), path.stat().st_size
        counted = [_exact(SIZE_BYTES, size)]
        facts: dict[str, Any] = {"size_bytes": size, "format": "onnx", "class_names": list(network.facts.class_names)}
        finish = None
        if original is not None and twin is not None:
            _require_same(network, twin, original, path)
            ratio = dense_bytes(original, model) / size
            counted.append(_exact(COMPRESSION_RATIO, ratio))
            counted.append(_exact(DENSITY, original.density))
            facts |= {"precision": "int8" if network.is_int8 else "float32", "is_resized": original.is_resized}
            facts |= {
                "num_weights": original.num_weights,
                "num_active": original.num_active,
                "density": original.density,
            }
            finish = RoundWeights("int8") if network.is_int8 else rounding_of(original)
        shape, num_classes = network.facts.input_shape, network.facts.num_classes
        return cls(network, network.digest, tuple(counted), facts, shape, num_classes, original, finish, path)

    @classmethod
    def of_network(cls, network: nn.Module, input_shape: tuple[int, ...], num_classes: int) -> AuditedModel:
        """A network in memory that reads raw samples."""
        weights = [p for p in network.parameters() if p.ndim >= 2]
        count = sum(weight.numel() for weight in weights)
        active = sum(int(weight.count_nonzero()) for weight in weights)
        density = active / count if count else 1.0
        counted = (_exact(DENSITY, density),)
        facts = {"format": type(network).__name__, "num_weights": count, "num_active": active, "density": density}
        digest = f"{digest_weights(network)}-{digest_json(repr(network))[:16]}"
        return cls(network, digest, counted, facts, tuple(input_shape), num_classes)


def subject_of(source: str | Path | nn.Module, split: DataSplit, model: nn.Module | None = None) -> AuditedModel:
    """The model to judge: an artifact, an ONNX file, or a network that reads raw samples.

    For an ONNX file in a run folder the artifact that it was exported from is known.
    """
    if isinstance(source, nn.Module):
        return AuditedModel.of_network(source, split.dataset.input_shape, split.dataset.num_classes)
    path = Path(source)
    if path.suffix != ".onnx":
        return AuditedModel.of_artifact(path, model=model)
    artifact = path.parent / ARTIFACT
    is_known = (path.parent / IDENTITY).exists() and artifact.is_file()
    return AuditedModel.of_onnx(path, original=Artifact.load(artifact) if is_known else None, model=model)


def check_task(subject: AuditedModel, split: DataSplit) -> None:
    """Raise ModelError when the data is not what the model reads."""
    dataset = split.dataset
    wanted: tuple[Any, ...] = (subject.input_shape, subject.num_classes)
    got = (dataset.input_shape, dataset.num_classes)
    if wanted != got:
        raise ModelError(
            f"The artifact reads features of shape {wanted[0]} and tells {wanted[1]} classes apart; the data has "
            f"{got[0]} and {got[1]}. Audit it on the data set it was trained on."
        )


def check_answers(subject: AuditedModel, split: DataSplit) -> None:
    """Raise ModelError where the model's answer for a row depends on more than that row (`fault_of_answers`)."""
    network, (features, _) = subject.network, split.part("train", 16)
    is_coarse = isinstance(network, OnnxNetwork) and network.is_int8
    is_coarse |= any(p.dtype in (torch.float16, torch.bfloat16) for p in network.parameters())
    if len(features) and (fault := fault_of_answers(network, features, is_coarse=is_coarse)):
        raise ModelError(fault)


def digest_file(path: Path) -> str:
    """The digest of the content of an artifact or an ONNX file, as `AuditedModel` knows it. Raises ArtifactError."""
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
    return digest_tensors((network.network if isinstance(network, ServedModel) else network).state_dict())


def _exact(metric: Metric, value: float) -> Measurement:
    """A figure that is counted, not estimated."""
    return Measurement.exact(metric.name, value, metric.direction)


def _require_same(network: OnnxNetwork, twin: nn.Module, original: Artifact, path: Path) -> None:
    """Raise ArtifactError for a file that is not ``original``: its density and shadows would be another model's.

    An int8 network computes otherwise, so only its shapes are compared.
    """
    facts, task = network.facts, original.task
    is_same = (facts.input_shape, facts.num_classes) == (task.input_shape, task.num_classes)
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
