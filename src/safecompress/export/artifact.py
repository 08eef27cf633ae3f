"""The model as shipped: one file with the weights, their pattern, and all that is needed to predict with it."""

# N samples, C classes

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from safecompress.errors import ArtifactError, UsageError
from safecompress.export.container import (
    FREE_BYTES,
    MAX_EXPANSION,
    Contents,
    Encoded,
    decode,
    encode,
    fault_of,
    read,
)
from safecompress.export.pack import dtype_name, require_masked, to_bytes
from safecompress.export.precision import (
    Precision,
    as_computed,
    is_rounded,
    require_rounded,
    round_weights,
    to_int8,
)
from safecompress.export.resize import resize_
from safecompress.export.sizes import ByteCount, reference_size_bytes
from safecompress.export.task import TaskInfo, copy_of
from safecompress.models import MODELS, ModelSpec
from safecompress.networks import copied
from safecompress.seeding import seeded
from safecompress.storage import PUBLISHED, write_bytes
from safecompress.tables import TableSchema

_STATE, _TASK, _SCALE = "state/", "task/", "scale/"  # name spaces of the file's tensors


@dataclass(frozen=True, eq=False)
class Artifact:
    """A compressed classifier: its whole state dict, the masks of the sparse parameters, and what they belong to.

    ``state`` holds +0.0 at every masked place; ``masks`` maps parameter names to bool tensors (True: active).
    ``model_spec`` builds the network, and names no place of this machine (see `ModelSpec.stored`); None when its class
    is the user's own. ``metadata`` holds small public facts (versions, the recipe's digest), never a digest of training
    data: it would let a reader confirm a guess of them.

    ``precision`` says how the file keeps matrices and kernels. They are float32 here, rounded to what the file can hold
    (`to_precision` does that); ``scales`` are the channels' scales of 8-bit ones. ``resized_from`` is None, or how many
    weights could be active before dead units were removed. Layers are then smaller than ``model_spec`` makes them, and
    the tensors' shapes tell which sizes are left.

    Tensors are copied, so that later training does not reach them. Raises ArtifactError when the parts do not go
    together.
    """

    state: Mapping[str, Tensor] = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    model_spec: ModelSpec | None
    task: TaskInfo
    metadata: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "float32"
    scales: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    resized_from: int | None = None

    def __post_init__(self) -> None:
        for name, tensor in self.state.items():
            if not isinstance(tensor, Tensor):
                raise ArtifactError(
                    f"{name!r} of the state dict is a {type(tensor).__name__}; an artifact holds tensors only."
                )
            dtype_name(tensor)
        for name, mask in self.masks.items():
            if name not in self.state:
                raise ArtifactError(f"A mask is given for {name!r}, which the state dict does not have.")
            require_masked(self.state[name], mask, repr(name))
        spec, task = self.model_spec, self.task
        if spec and (spec.input_shape, spec.num_classes) != (task.input_shape, task.num_classes):
            raise ArtifactError(
                f"The model maps samples of {spec.input_shape} to {spec.num_classes} classes, the task "
                f"{task.input_shape} to {task.num_classes}. Build the one from the other."
            )
        held = sum(mask.numel() for mask in self.masks.values())
        if self.resized_from is not None and self.resized_from < held:
            raise ArtifactError(f"{held} weights cannot be what is left of {self.resized_from}.")
        if not all(isinstance(text, str) for pair in self.metadata.items() for text in pair):
            raise ArtifactError(
                f"Metadata maps text to text, such as {{'version': '1.0'}}; got {dict(self.metadata)!r}."
            )
        require_rounded(self.state, self.precision, self.scales)
        object.__setattr__(self, "model_spec", spec and spec.stored())
        for attribute in ("state", "masks", "scales"):
            tensors = getattr(self, attribute)
            object.__setattr__(self, attribute, {name: copy_of(tensors[name]) for name in sorted(tensors)})
        object.__setattr__(self, "metadata", dict(sorted(self.metadata.items())))

    @property
    def is_resized(self) -> bool:
        """Whether dead units were removed."""
        return self.resized_from is not None

    @property
    def num_weights(self) -> int:
        """Elements of all masked tensors, active or not, before any unit was removed: the denominator of density."""
        held = sum(mask.numel() for mask in self.masks.values())
        return held if self.resized_from is None else self.resized_from

    @property
    def num_active(self) -> int:
        """Active elements of all masked tensors."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def density(self) -> float:
        """Kept share of the masked tensors, in [0, 1]; 1 when nothing is masked."""
        return self.num_active / self.num_weights if self.num_weights else 1.0

    def to_precision(self, precision: Precision) -> Artifact:
        """The same model with weights rounded to ``precision``, which is how its file will keep them.

        Raises UsageError for an unknown word, ArtifactError for weights out of range, or rounded before.
        """
        if self.precision != "float32":
            raise ArtifactError(
                f"The weights are rounded to {self.precision} already; rounding twice is not rounding. Take the "
                "artifact as trained."
            )
        state, scales = round_weights(self.state, precision)
        return replace(self, state=state, precision=precision, scales=scales)

    def digest(self) -> str:
        """SHA-256 (hex) of the content: names, types, shapes, values, masks, model and task; not of the metadata.

        How the file was compressed does not matter to it.
        """
        tensors = self._tensors() | {_SCALE + name: scale for name, scale in self.scales.items()}
        listed = [[name, dtype_name(tensor), list(tensor.shape)] for name, tensor in tensors.items()]
        facts = {key: value for key, value in self._facts().items() if key != "metadata"}
        text = json.dumps([facts, listed, list(self.masks)], sort_keys=True, separators=(",", ":"), allow_nan=False)
        content = hashlib.sha256(text.encode() + b"\n")
        for tensor in (*tensors.values(), *self.masks.values()):
            content.update(to_bytes(tensor).tobytes())
        return content.hexdigest()

    def save(self, path: str | Path) -> int:
        """Write the artifact to ``path``, whole or not at all; return its size in bytes.

        The same content gives the same bytes (for one version of zstd). Raises StorageError when the disk refuses.
        """
        content = self._encoded().content
        write_bytes(Path(path), content, mode=PUBLISHED)
        return len(content)

    @classmethod
    def load(cls, path: str | Path) -> Artifact:
        """The artifact in the file at ``path``, checked against its digest. No code from the file is run.

        Raises ArtifactError when the file is missing, truncated, altered, of another kind, or of a newer version.
        """
        stored = read(Path(path))
        try:
            contents = decode(*stored)
            artifact = _from_contents(contents)
            if artifact.digest() != contents.digest:
                raise ArtifactError(
                    "It does not match its digest: it is truncated or altered. Take a fresh copy of it."
                )
        except ArtifactError as error:
            raise ArtifactError(f"{path} cannot be used. {error}") from error
        return artifact

    def byte_count(self) -> ByteCount:
        """Where the bytes of the saved file are, beside the reference size of its tensors."""
        encoded = self._encoded()
        size, payload = len(encoded.content), encoded.num_payload_bytes
        tensors, masks = self._stored(), {_STATE + name: mask for name, mask in self.masks.items()}
        return ByteCount(size, payload, size - payload, reference_size_bytes(tensors, masks))

    def build(self, model: nn.Module | None = None) -> nn.Module:
        """The network with these weights, in evaluation mode.

        A network of the user's own class is passed as ``model``; it is loaded in place and returned. Raises
        ArtifactError when there is no such model here, or its tensors are not those of the file.
        """
        if model is None:
            model = self._blank()
        else:
            self._fit_(model)
        model.load_state_dict(dict(self.state))
        return model.eval()

    def predict(self, samples: Any, *, model: nn.Module | None = None, batch_size: int = 1024) -> Tensor:
        """Class probabilities (N, C), float32, of raw ``samples`` (N, *input_shape): a tensor or an array.

        ``model`` is as for ``build``, and on the CPU. Raises DataError for samples of another shape, and ArtifactError
        where ``build`` does.
        """
        inputs = self.task.prepare(torch.as_tensor(samples))
        network = self.build(model)
        starts = range(0, max(1, len(inputs)), batch_size)
        with torch.no_grad():
            logits_NC = torch.cat([network(inputs[start : start + batch_size]) for start in starts])
        return logits_NC.softmax(dim=1)

    def _facts(self) -> dict[str, Any]:
        rounding = {} if self.precision == "float32" else {"precision": self.precision}
        resizing = {} if self.resized_from is None else {"resized_from": self.resized_from}
        return {
            "model": self.model_spec.to_json() if self.model_spec else None,
            "task": {
                "num_classes": self.task.num_classes,
                "class_names": list(self.task.class_names),
                "input_shape": list(self.task.input_shape),
                **({} if self.task.table is None else {"table": self.task.table.to_json()}),
            },
            "metadata": dict(self.metadata),
            **rounding,
            **resizing,
        }

    def _tensors(self) -> dict[str, Tensor]:
        state = {_STATE + name: tensor for name, tensor in self.state.items()}
        return state | {_TASK + name: tensor for name, tensor in self.task.tensors().items()}

    def _stored(self) -> dict[str, Tensor]:
        """The tensors as the file keeps them."""
        stored = self._tensors()
        for name, scale in self.scales.items():
            stored[_STATE + name] = to_int8(self.state[name], scale)
            stored[_SCALE + name] = scale
        if self.precision == "float16":
            stored |= {_STATE + name: tensor.half() for name, tensor in self.state.items() if is_rounded(tensor)}
        return stored

    def _encoded(self) -> Encoded:
        masks = {_STATE + name: mask for name, mask in self.masks.items()}
        version = 2 if self.precision != "float32" or self.is_resized else 1
        version = version if self.task.table is None else 3
        return encode(Contents(self._stored(), masks, self._facts(), self.digest(), version))

    def _blank(self) -> nn.Module:
        if self.model_spec is None:
            raise ArtifactError(
                "This artifact holds a network of the user's own class, which a file cannot build. Make an instance "
                "of that class and pass it: artifact.build(model)."
            )
        try:
            if self.model_spec.name in MODELS.builtins:  # the sizes came from a file: compare before taking memory
                with torch.device("meta"):
                    model = self.model_spec.build()
                    self._fit_(model)
                if self.is_resized:  # what the spec alone would build may be any size
                    return model.to_empty(device="cpu")
            with seeded(0, "artifact.build"):  # the caller's generators stay where they are
                model = self.model_spec.build()
        except UsageError as error:
            raise ArtifactError(
                f"The network of this artifact cannot be built here. {error} Install the package that it comes "
                "from, or pass an instance: artifact.build(model)."
            ) from error
        self._fit_(model)
        return model

    def _fit_(self, model: nn.Module) -> None:
        """Give the layers of ``model`` the sizes that the file has. Raises ArtifactError when that cannot be."""
        if self.is_resized:
            self._require_whole(model)
            resize_(model, {name: tuple(tensor.shape) for name, tensor in self.state.items()})
            self._require_flow(model)
        self._require_fit(model)

    def _require_whole(self, model: nn.Module) -> None:
        """Raise ArtifactError unless ``model`` is what units were removed from, and of a size to be believed."""
        whole = model.state_dict()
        counted = sum(whole[name].numel() for name in self.masks if name in whole)
        if counted != self.resized_from:
            raise ArtifactError(
                f"It says that {self.resized_from} weights could be active before units were removed, and its network "
                f"has {counted}: it is altered, or of another model."
            )
        size, held = (sum(t.numel() * t.dtype.itemsize for t in one.values()) for one in (whole, self.state))
        if size > FREE_BYTES + MAX_EXPANSION * held:
            raise ArtifactError(
                f"Its {held} bytes of weights would be what is left of {size}, which is not believed: it is altered."
            )

    def _require_flow(self, model: nn.Module) -> None:
        """Raise ArtifactError unless layers of these sizes fit each other, and end in the task's classes."""
        is_blank = any(parameter.is_meta for parameter in model.parameters())
        device = "meta" if is_blank else "cpu"  # a module that somebody gave may decide by values, which are none there
        scratch = copied(model).to(device).eval()
        try:
            with torch.no_grad():
                sizes = scratch(torch.zeros(1, *self.task.input_shape, device=device))
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"Its layers do not fit each other ({error}): it is altered.") from error
        if tuple(sizes.shape) != (1, self.task.num_classes):
            raise ArtifactError(f"Its layers give {tuple(sizes.shape[1:])} scores for {self.task.num_classes} classes.")

    def _require_fit(self, model: nn.Module) -> None:
        wanted, held = (
            {
                name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
                for name, tensor in tensors.items()
            }
            for tensors in (model.state_dict(), self.state)
        )
        faults = [
            f"{name!r} is {held.get(name, 'absent')} in the file and {wanted.get(name, 'absent')} in the model"
            for name in sorted(wanted.keys() | held.keys())
            if wanted.get(name) != held.get(name)
        ]
        if faults:
            raise ArtifactError(
                f"The weights do not fit the model, in {len(faults)} tensors: {'; '.join(faults[:3])}. "
                "Pass a model of the same class and sizes as the one that was saved."
            )


class _StoredTask(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    num_classes: int
    class_names: list[str]
    input_shape: list[int]
    table: dict[str, Any] | None = None


class _StoredFacts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    model: dict[str, Any] | None
    task: _StoredTask
    metadata: dict[str, str]
    precision: Literal["float16", "int8"] | None = None
    resized_from: Annotated[int, Field(ge=0)] | None = None


def _from_contents(contents: Contents) -> Artifact:
    try:
        facts = _StoredFacts.model_validate(contents.facts)
        spec = None if facts.model is None else ModelSpec.from_json(facts.model)
        table = None if facts.task.table is None else TableSchema.from_json(facts.task.table)
    except (ValidationError, UsageError) as error:
        fault = fault_of(error) if isinstance(error, ValidationError) else error
        raise ArtifactError(f"It describes its model or task wrongly ({fault}): it is altered.") from error
    if spec is not None and spec.places:
        raise ArtifactError(f"Its model names files of a machine ({', '.join(spec.places)}), which no artifact does.")
    state = {name.removeprefix(_STATE): t for name, t in contents.tensors.items() if name.startswith(_STATE)}
    scales = {name.removeprefix(_SCALE): t for name, t in contents.tensors.items() if name.startswith(_SCALE)}
    others = {
        name.removeprefix(_TASK): t for name, t in contents.tensors.items() if not name.startswith((_STATE, _SCALE))
    }
    if not others.keys() <= {"shift", "scale"}:
        raise ArtifactError(f"It holds tensors that no artifact has ({', '.join(map(repr, others))}): it is altered.")
    names, shape = tuple(facts.task.class_names), tuple(facts.task.input_shape)
    task = TaskInfo(facts.task.num_classes, names, shape, **others, table=table)
    masks = {name.removeprefix(_STATE): mask for name, mask in contents.masks.items()}
    precision: Precision = facts.precision or "float32"
    state = as_computed(state, precision, scales)
    return Artifact(state, masks, spec, task, facts.metadata, precision, scales, facts.resized_from)
