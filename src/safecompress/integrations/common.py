"""What the adapters share: options checked before anything trains, and the state beside a trainer's checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safecompress.errors import ArtifactError, UsageError, suggest
from safecompress.sparsity import SparseTraining
from safecompress.storage import parse_json, read_tensors, write_tensors

_TENSORS, _NUMBERS = ("masks", "fired", "momentum"), ("num_steps", "num_rewires")
_TEXT = "settings"
_OURS = ("model", "optimizer", "total_steps", "automatic", "state")


def check_options(options: Mapping[str, Any]) -> None:
    """Raise UsageError for an option that `SparseTraining` does not have, or that the adapter gives itself."""
    allowed = [name for name in inspect.signature(SparseTraining).parameters if name not in _OURS]
    for name in options:
        if name not in allowed:
            raise UsageError(f"Unknown option {name!r} of sparse training. {suggest(name, allowed)}")


def missing_package(package: str) -> UsageError:
    """What to raise where an adapter's package is not installed."""
    return UsageError(
        f"This integration needs the package {package!r}, which is not installed. Install it: "
        "pip install transformers accelerate lightning"
    )


def write_state(sparse: SparseTraining, path: Path) -> None:
    """Keep the state of ``sparse`` as one safetensors file, whole or not at all."""
    state = sparse.state_dict()
    tensors = {f"{group}/{name}": tensor.cpu() for group in _TENSORS for name, tensor in state[group].items()}
    write_tensors(path, tensors, {name: str(state[name]) for name in (*_NUMBERS, _TEXT)})


def read_state(path: Path) -> dict[str, Any]:
    """The state that `write_state` kept. Raises ArtifactError when the file is not one."""
    tensors, facts = read_tensors(path)
    state: dict[str, Any] = {group: {} for group in _TENSORS}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        if group in state:
            state[group][name] = tensor
    if not state["masks"] or not all(facts.get(name, "").isdigit() for name in _NUMBERS):
        raise ArtifactError(f"{path} holds no state of sparse training. It belongs beside a checkpoint of this run.")
    try:
        settings = parse_json(facts.get(_TEXT, "{}"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise ArtifactError(f"{path} was altered: its settings are not JSON. Resume from another checkpoint.")
    return {**state, **{name: int(facts[name]) for name in _NUMBERS}, _TEXT: facts.get(_TEXT, "{}")}
