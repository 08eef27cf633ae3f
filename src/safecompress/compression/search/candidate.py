"""A Candidate: one sparse model during the search, identified by its ancestry; and what was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from safecompress.attacks import AttackResult
from safecompress.attacks.measure_model import errors_of
from safecompress.metrics.catalogue import ACCURACY, decisions, leaks, tm_score
from safecompress.metrics.measurement import Measurement
from safecompress.sparsity import SparsityPattern
from safecompress.spec import Findings
from safecompress.training import CrossEntropy, Objective, TrainingState


@dataclass(frozen=True, eq=False)
class Candidate:
    """Pattern and training state of one sparse model, and the objective that it is trained towards.

    ``fired`` marks weights that were ever active in the candidate or its ancestors.
    """

    id: str
    parent: str | None
    round: int
    branch: str
    pattern: SparsityPattern = field(repr=False)
    state: TrainingState = field(repr=False)
    fired: Mapping[str, Tensor] = field(repr=False)
    objective: Objective = CrossEntropy()

    def to_tensors(self) -> dict[str, Tensor]:
        """All tensors under one flat namespace, for a file."""
        return {
            **{f"state/{name}": tensor for name, tensor in self.state.to_tensors().items()},
            **{f"mask/{name}": tensor for name, tensor in self.pattern.masks.items()},
            **{f"fired/{name}": tensor.clone() for name, tensor in self.fired.items()},  # at the start it is the mask
        }

    def facts(self) -> dict[str, str]:
        """The rest, as strings, for the file's metadata."""
        facts = {"id": self.id, "parent": self.parent or "", "branch": self.branch, "objective": repr(self.objective)}
        return {**facts, "round": str(self.round), "step": str(self.state.step)}

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        stored_facts: Mapping[str, str],
        objectives: Iterable[Objective] = (CrossEntropy(),),
    ) -> Candidate:
        """The candidate of which `to_tensors` and `facts` were stored; its objective is one of ``objectives``."""
        groups: dict[str, dict[str, Tensor]] = {"state": {}, "mask": {}, "fired": {}}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        return cls(
            id=stored_facts["id"],
            parent=stored_facts["parent"] or None,
            round=int(stored_facts["round"]),
            branch=stored_facts["branch"],
            pattern=SparsityPattern(groups["mask"]),
            state=TrainingState.from_tensors(int(stored_facts["step"]), groups["state"]),
            fired=groups["fired"],
            objective={repr(one): one for one in objectives}[stored_facts["objective"]],
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one candidate on validation rows and the selection pool; no digest covers its seconds.

    ``is_right`` (N,) says which validation rows were classified right.
    """

    candidate: str
    branch: str
    measurements: Mapping[str, Measurement] = field(repr=False)
    results: tuple[AttackResult, ...] = field(repr=False)
    findings: Findings = field(repr=False)
    num_moved: int
    seconds: Mapping[str, float] = field(repr=False)
    is_right: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of validation rows classified right."""
        return self.measurements[ACCURACY.name].value

    @property
    def errors(self) -> dict[str, str]:
        """Attacks that gave no numbers, with the reason."""
        return errors_of(self.results)

    @property
    def worst_leak(self) -> float:
        """The largest headline figure (AUC) over all attacks that gave numbers, on the scale of an AUC."""
        return max(leaks(self._values).values())

    def tm_score(self, power: float = 1.0) -> float:
        """TaskAcc^power over the worst decision of the attacks that gave numbers (`catalogue.tm_score`)."""
        return tm_score(self.accuracy, decisions(self._values).values(), power=power)

    @property
    def slacks(self) -> dict[str, float]:
        """By requirement that was measured, how far its figure is within the bound (`Requirement.slack`)."""
        judged = [(one.requirement, one.measurement) for one in self.findings.findings]
        return {str(asked): asked.slack(figure.value) for asked, figure in judged if figure is not None}

    @property
    def _values(self) -> dict[str, float]:
        return {name: figure.value for name, figure in self.measurements.items()}
