"""A RunStore: the folder in which a run keeps what it has finished, so that it can go on after a kill."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from safecompress.compression.search.candidate import Candidate
from safecompress.errors import ArtifactError
from safecompress.storage import read_tensors, write_tensors
from safecompress.training import CrossEntropy, Objective, TrainingState


class RunStore:
    """Named states and candidates as safetensors files under ``folder``; every write is whole or absent.

    ``objectives`` are those that candidates may be trained towards.
    """

    def __init__(self, folder: Path, objectives: Iterable[Objective] = (CrossEntropy(),)) -> None:
        self.folder = folder
        self.objectives = tuple(objectives)

    def path(self, name: str) -> Path:
        """Where ``name`` is kept."""
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        """Whether ``name`` was saved."""
        return self.path(name).exists()

    def save_state(self, name: str, state: TrainingState) -> None:
        """Keep a training state."""
        self._write(name, state.to_tensors(), {"step": str(state.step)})

    def load_state(self, name: str) -> TrainingState | None:
        """The training state called ``name``, or None. Raises ArtifactError when its file is broken."""
        if not self.has(name):
            return None
        tensors, facts = read_tensors(self.path(name))
        with self._explaining(name):
            return TrainingState.from_tensors(int(facts["step"]), tensors)

    def save_candidate(self, name: str, candidate: Candidate) -> None:
        """Keep a candidate."""
        self._write(name, candidate.to_tensors(), candidate.facts())

    def load_candidate(self, name: str) -> Candidate | None:
        """The candidate called ``name``, or None. Raises ArtifactError when its file is broken."""
        if not self.has(name):
            return None
        tensors, facts = read_tensors(self.path(name))
        with self._explaining(name):
            return Candidate.from_tensors(tensors, facts, self.objectives)

    def forget(self, name: str) -> None:
        """Delete ``name`` if it is there."""
        self.path(name).unlink(missing_ok=True)

    def _write(self, name: str, tensors: Mapping[str, Tensor], stored_facts: Mapping[str, str]) -> None:
        write_tensors(self.path(name), tensors, stored_facts)

    @contextlib.contextmanager
    def _explaining(self, name: str):  # type: ignore[no-untyped-def]
        try:
            yield
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"{self.path(name)} does not hold what it should ({error!r}). Delete it, and run again to make it anew."
            ) from error
