"""A RunStore: the folder in which a run keeps what it has finished, so that a killed run can resume."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from safecompress.compression.search.candidate import Candidate
from safecompress.errors import ArtifactError, StorageError
from safecompress.storage import Seal, make_private_folder, writing
from safecompress.training import CrossEntropy, Objective, TrainingState

Kept = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors by name, and the facts beside them."""


class RunStore:
    """Named states and candidates as safetensors files under ``folder``; every write is whole or absent.

    Each is sealed with ``key`` under its name, so one that was altered, or lies under another's name, counts as missing
    and is made anew. ``objectives`` are those that candidates may be trained towards.
    """

    def __init__(
        self, folder: Path, objectives: Iterable[Objective] = (CrossEntropy(),), *, key: bytes = b"unkeyed"
    ) -> None:
        self.folder = folder
        self.objectives = tuple(objectives)
        self._seal = Seal(key)
        with writing(folder):
            make_private_folder(folder)

    def for_objectives(self, objectives: Iterable[Objective]) -> RunStore:
        """The same store for candidates that are trained towards one of ``objectives``."""
        store = copy.copy(self)
        store.objectives = tuple(objectives)
        return store

    def path(self, name: str) -> Path:
        """Where ``name`` is kept."""
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        """Whether ``name`` is there as it was saved."""
        return self._seal.is_sealed(self.path(name), name)

    def save_state(self, name: str, state: TrainingState) -> None:
        """Keep a training state."""
        self._write(name, state.to_tensors(), {"step": str(state.step)})

    def load_state(self, name: str) -> TrainingState | None:
        """The training state called ``name``, or None where there is none, or not what was saved."""
        found = self._read(name)
        if found is None:
            return None
        with self._explaining(name):
            return TrainingState.from_tensors(int(found[1]["step"]), found[0])

    def save_candidate(self, name: str, candidate: Candidate) -> None:
        """Keep a candidate."""
        self._write(name, candidate.to_tensors(), candidate.facts())

    def load_candidate(self, name: str) -> Candidate | None:
        """The candidate called ``name``, or None where there is none, or not what was saved."""
        found = self._read(name)
        if found is None:
            return None
        with self._explaining(name):
            return Candidate.from_tensors(*found, self.objectives)

    def kept_candidate(self, name: str) -> Candidate:
        """The candidate that was saved a moment ago. Raises StorageError where it was removed or altered since."""
        candidate = self.load_candidate(name)
        if candidate is None:
            raise StorageError(
                f"{self.path(name)} was removed or altered while the run needed it. Run the same command again: what "
                "is missing is made anew."
            )
        return candidate

    def forget(self, name: str) -> None:
        """Delete ``name`` if it is there."""
        with writing(self.path(name)):
            self.path(name).unlink(missing_ok=True)

    def _read(self, name: str) -> Kept | None:
        return self._seal.read_tensors(self.path(name), name)

    def _write(self, name: str, tensors: Mapping[str, Tensor], stored_facts: Mapping[str, str]) -> None:
        if not self.folder.is_dir():
            raise StorageError(f"{self.folder} was removed while the run needed it. Run the same command again.")
        self._seal.write_tensors(self.path(name), name, tensors, stored_facts)

    @contextlib.contextmanager
    def _explaining(self, name: str):  # type: ignore[no-untyped-def]
        try:
            yield
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"{self.path(name)} does not hold what it should ({error!r}).") from error


class MemoryStore(RunStore):
    """A store for a search of one process that is not resumed: nothing reaches a disk, so a kill leaves nothing."""

    def __init__(self, objectives: Iterable[Objective] = (CrossEntropy(),)) -> None:
        self.folder = Path("memory")
        self.objectives = tuple(objectives)
        self._kept: dict[str, Kept] = {}

    def has(self, name: str) -> bool:
        """Whether ``name`` was saved."""
        return name in self._kept

    def forget(self, name: str) -> None:
        """Drop ``name`` if it is there."""
        self._kept.pop(name, None)

    def _read(self, name: str) -> Kept | None:
        return _copied(*self._kept[name]) if name in self._kept else None

    def _write(self, name: str, tensors: Mapping[str, Tensor], stored_facts: Mapping[str, str]) -> None:
        self._kept[name] = _copied(tensors, stored_facts)


def _copied(tensors: Mapping[str, Tensor], stored_facts: Mapping[str, str]) -> Kept:
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return copies, dict(stored_facts)
