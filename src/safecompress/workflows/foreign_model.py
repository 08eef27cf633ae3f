"""A model trained elsewhere, and the rows that its owner names as members and non-members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.attacks import capabilities_of
from safecompress.auditing.members import SUFFIX
from safecompress.compression.job import ASKED
from safecompress.data import Dataset, DataSplit
from safecompress.data.pools import split_of
from safecompress.data.tabular.files import read_arrays
from safecompress.errors import DataError, ModelError, SpecError
from safecompress.export import Artifact
from safecompress.export.container import FORMAT
from safecompress.metrics.catalogue import COMPRESSION_RATIO
from safecompress.networks import count_classes, fitted
from safecompress.runtime import load
from safecompress.spec import SafetySpec
from safecompress.storage import read_tensors
from safecompress.workflows.user_model import Factory, call_factory, load_weights


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """``target`` is audited: a file that describes its network, or a network with the file's weights.

    ``network`` is an instance of the target's class where the file alone cannot build it.
    """

    target: Path | nn.Module
    num_classes: int
    network: nn.Module | None = None


def require_knowable(spec: SafetySpec, source: str) -> None:
    """Raise SpecError, with every fault, where ``spec`` asks for what cannot be known of a model from elsewhere."""
    faults = [
        f"the attack {attack.name} compares with shadow models, which repeat the training of the model, and nothing is "
        "known of it. Take the attack out, with its requirements"
        for attack in spec.attacks
        if capabilities_of(attack).num_shadows
    ]
    for requirement in spec.requirements:
        if requirement.is_change():
            faults.append(f"{requirement} compares with a dense model, and there is none. Bound the figure itself")
        elif requirement.metric == COMPRESSION_RATIO.name:
            faults.append(f"{requirement} compares with the bytes of a dense model, and there is none. Take it out")
    if faults:
        faults[-1] += ". safecompress init --for-audit FILE writes a spec without all this"
        raise SpecError.from_faults(f"{source} asks for what cannot be known of a model from elsewhere", faults)


def at_best(spec: SafetySpec, path: Path) -> list[str]:
    """Why no outcome of the audit of ``path`` can be PASS, as far as it is known before anything runs: sentences."""
    reasons = []
    if not path.with_suffix(SUFFIX).exists():
        reasons.append(
            f"nothing proves its members: there is no {path.with_suffix(SUFFIX).name} beside it. Where it was trained, "
            f"run safecompress members {path.name} --rows train.npz"
        )
    if missing := spec.missing_reference_attacks():
        reasons.append(
            f"an attacker who is given {spec.access.name.lower()} has more attacks than this spec bounds "
            f'({"; ".join(missing)}). Only access = "labels" can be certified without the training of the model'
        )
    return [f"At best INCONCLUSIVE: {reason}." for reason in reasons]


def load_foreign_model(path: Path, factory: str | None, members_path: Path) -> ForeignModel:
    """The model in ``path``: an ONNX file, an artifact, or weights for the network that ``factory`` makes.

    ``factory`` is offered the shape of a row and the number of classes: an artifact's own, or those of the rows in
    ``members_path``. Raises ModelError where model and file do not fit, DataError for rows that cannot be used.
    """
    if path.suffix == ".onnx":
        return ForeignModel(path, load(path).facts.num_classes)
    if read_tensors(path)[1].get("format") == FORMAT:
        return _of_artifact(path, factory)
    return _of_weights(path, factory, members_path)


def load_pools(members_path: Path, non_members_path: Path, num_classes: int, seed: int) -> DataSplit:
    """Members and non-members from two .npz files with rows ``x``, class numbers ``y`` and perhaps ``group``."""
    names = tuple(map(str, range(num_classes)))

    def read(path: Path) -> Dataset:
        arrays = read_arrays(path, ("x", "y"), optional=("group",))
        groups = arrays.get("group")
        return Dataset.from_arrays(
            arrays["x"], arrays["y"], name=path.stem, class_names=names, groups=groups, missing_classes=True
        )

    return split_of(read(members_path), read(non_members_path), num_classes=num_classes, seed=seed)


def read_train_rows(path: Path) -> Dataset:
    """The rows ``x`` and class numbers ``y`` of an .npz file that a model was trained on."""
    features, labels = _read_rows(path)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return Dataset.from_arrays(features, labels, name=path.stem, class_names=names, missing_classes=True)


def _of_artifact(path: Path, factory: str | None) -> ForeignModel:
    artifact = Artifact.load(path)
    num_classes = artifact.task.num_classes
    if artifact.model_spec is not None:
        return ForeignModel(path, num_classes)
    if factory is None:
        raise ModelError(f"{path} holds a network of its author's own class. Say what makes it: --model pkg.mod:f.")
    shapes = {"input_shape": artifact.task.input_shape, "num_classes": num_classes}
    return ForeignModel(path, num_classes, call_factory(factory, shapes))


def _of_weights(path: Path, factory: str | None, members_path: Path) -> ForeignModel:
    if factory is None:
        raise ModelError(f"{path} holds bare weights. Say which network they belong to: --model pkg.module:f.")
    features, labels = _read_rows(members_path)
    known = int(labels.max()) + 1
    tensors = load_weights(path)
    model = _network_of(factory, tuple(features.shape[1:]), known, tensors, f"The weights in {path}")
    rows = torch.from_numpy(features[:ASKED].astype("float32"))
    try:
        num_classes = count_classes(model, rows, known)
    except ModelError as error:
        raise ModelError(
            f"--model {factory} and the rows of {members_path} must belong to one model. {error}"
        ) from error
    return ForeignModel(model, num_classes)


def _network_of(
    factory: str, input_shape: tuple[int, ...], known: int, weights: Mapping[str, Tensor], source: str
) -> nn.Module:
    """The network that ``factory`` makes, with ``weights``, whose last sizes say how many classes it tells apart.

    Rows may lack some of the classes, so that ``known``, the number that they have, is the first that is tried.
    """
    sizes = {tensor.shape[0] for tensor in weights.values() if tensor.ndim in (1, 2) and tensor.shape[0] > known}
    faults = []
    for num_classes in (known, *sorted(sizes)):
        model = Factory(factory, input_shape, num_classes)()
        try:
            model.load_state_dict(fitted(weights, model, source))
            return model
        except ModelError as error:
            faults.append(error)
    raise faults[0]


def _read_rows(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    arrays = read_arrays(path, ("x", "y"))
    features, labels = arrays["x"], arrays["y"]
    are_numbers = features.dtype.kind in "biuf" and labels.dtype.kind in "iu"
    if features.ndim < 2 or not len(features) or not are_numbers or labels.shape != (len(features),):
        raise DataError(
            f"{path} must hold rows x (N, ...) and class numbers y (N,); got {features.shape} {features.dtype} and "
            f"{labels.shape} {labels.dtype}."
        )
    return features, labels
