"""Models and attacks whose answer is known, for tests of attacks, specs and searches; and rows without any pattern.

N rows, F features of a row, C classes, M memorised rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from safecompress.attacks import Access, Target
from safecompress.data import PARTS, AuditData, Dataset, DataSplit
from safecompress.data.sizes import MEMBER_POOLS, NONMEMBER_POOLS


class MemorisingModel(nn.Module):
    """Leaks all it can: confident and right on the rows it was given, unsure and right by chance on all others.

    Rows are recognised by equality, so that what it knows of a row tells nothing of any other.
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int, *, margin: float = 12.0) -> None:
        super().__init__()
        rows_MF = features.flatten(1).float()
        directions = np.random.default_rng(0).normal(size=(rows_MF.shape[1], num_classes)).astype(np.float32)
        self.margin = nn.Parameter(torch.tensor(margin))
        self.rows_MF = nn.Buffer(rows_MF.clone())
        self.answers_MC = nn.Buffer(one_hot(labels, num_classes).float())
        self.directions_FC = nn.Buffer(torch.from_numpy(directions))

    @classmethod
    def of(cls, *pools: AuditData, num_classes: int, margin: float = 12.0) -> MemorisingModel:
        """The model that knows the members of ``pools``, and nobody else."""
        features = torch.cat([pool.features[pool.is_member] for pool in pools])
        labels = torch.cat([pool.labels[pool.is_member] for pool in pools])
        return cls(features, labels, num_classes, margin=margin)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C): within [-1, 1] on unknown rows, ``margin`` higher at the label of known ones."""
        flat_NF = features.flatten(1)
        is_known_NM = (flat_NF[:, None, :] == self.rows_MF[None]).all(dim=2)
        unsure_NC = torch.tanh(flat_NF @ self.directions_FC)
        first_M = is_known_NM.max(dim=1).indices
        known_NC = self.answers_MC[first_M] * is_known_NM.any(dim=1, keepdim=True)
        logits_NC: Tensor = unsure_NC + self.margin * known_NC
        return logits_NC


class ConstantModel(nn.Module):
    """Leaks nothing: the same ``logits`` (C,) for every row."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C), all rows equal."""
        logits_NC: Tensor = self.logits.repeat(len(features), 1)
        return logits_NC


@dataclass(frozen=True)
class _Broken:
    """An attack with nothing to fit."""

    threshold: ClassVar[float | None] = None
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> Self:
        """Itself."""
        return self


@dataclass(frozen=True)
class FailingAttack(_Broken):
    """Raises RuntimeError, in ``fit`` or in ``score``."""

    stage: Literal["fit", "score"] = "fit"
    name: str = field(default="failing", init=False)

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> Self:
        """Itself, or the error."""
        if self.stage == "fit":
            raise RuntimeError("this attack always fails to fit")
        return self

    def score(self, target: Target, audit: AuditData) -> NDArray[np.float64]:
        """The error."""
        raise RuntimeError("this attack always fails to score")


@dataclass(frozen=True)
class NanAttack(_Broken):
    """Scores like the loss, but NaN for the first row."""

    name: str = field(default="nan", init=False)

    def score(self, target: Target, audit: AuditData) -> NDArray[np.float64]:
        """Scores (N,), one of them NaN."""
        scores = target.signals(audit).scaled_logit_N.copy()
        scores[0] = np.nan
        return scores


@dataclass(frozen=True)
class CollapsedAttack(_Broken):
    """The same score for every row, whatever the model answers."""

    name: str = field(default="collapsed", init=False)

    def score(self, target: Target, audit: AuditData) -> NDArray[np.float64]:
        """Zeros (N,)."""
        return np.zeros(len(audit.is_member))


def noise_audit(
    num_members: int, num_non_members: int, *, num_features: int = 8, num_classes: int = 4, seed: int = 0
) -> AuditData:
    """Rows of Gaussian noise with labels that have nothing to do with them; each side has the classes in equal shares.

    Members come first, as in ``DataSplit.audit``.
    """
    random = np.random.default_rng(seed)
    features = random.normal(size=(num_members + num_non_members, num_features)).astype(np.float32)
    labels = [random.permutation(np.arange(count) % num_classes) for count in (num_members, num_non_members)]
    is_member = np.arange(num_members + num_non_members) < num_members
    return AuditData(torch.from_numpy(features), torch.from_numpy(np.concatenate(labels)), is_member)


def noise_split(
    pool: int = 40, *, other: int = 40, num_features: int = 8, num_classes: int = 4, seed: int = 0
) -> DataSplit:
    """A split of noise rows: six pools of ``pool`` rows, train of just its member pools, ``other`` rows elsewhere."""
    counts = {name: pool if name in (*MEMBER_POOLS, *NONMEMBER_POOLS) else other for name in PARTS if name != "train"}
    ends = np.cumsum(list(counts.values()))
    indices = {
        name: np.arange(end - count, end) for (name, count), end in zip(counts.items(), ends.tolist(), strict=True)
    }
    indices["train"] = np.concatenate([indices[name] for name in MEMBER_POOLS])
    random = np.random.default_rng(seed)
    features = random.normal(size=(int(ends[-1]), num_features))
    return DataSplit.from_indices(Dataset.from_arrays(features, np.arange(ends[-1]) % num_classes), indices)
