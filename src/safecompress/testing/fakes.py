"""Models and attacks whose answer is known, for tests of attacks, specs and searches; and rows without any pattern.

N rows, F features of a row, C classes, M memorised rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from safecompress.attacks import Access, Target
from safecompress.attacks.shadows import ShadowDraw, ShadowModels, ShadowRows
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
class FakeTrainer:
    """Trains shadows in no time: each memorises the rows it draws, or says the same of every row.

    A target that leaks everything, or nothing, has such shadows.
    """

    num_classes: int
    num_features: int
    is_leaky: bool = True
    margin: float = 12.0
    mode: str = field(default="fake", init=False)
    group_size: int = field(default=4, init=False)

    def digest(self) -> str:
        """All options."""
        return repr(self)

    def build(self) -> nn.Module:
        """The network that weights are loaded into."""
        if not self.is_leaky:
            return ConstantModel([0.0] * self.num_classes)
        return _Recalling(self.num_classes, self.num_features, self.margin)

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow."""
        if not self.is_leaky:
            return [self.build().state_dict() for _ in draws]
        places = [torch.from_numpy(draw.rows) for draw in draws]
        drawn = [(shadow_pool.features[place], shadow_pool.labels[place]) for place in places]
        return [
            MemorisingModel(features, labels, self.num_classes, margin=self.margin).state_dict()
            for features, labels in drawn
        ]


class _Recalling(MemorisingModel):
    """A MemorisingModel that takes over the rows of whatever state it is given."""

    def __init__(self, num_classes: int, num_features: int, margin: float) -> None:
        super().__init__(torch.zeros(1, num_features), torch.zeros(1, dtype=torch.int64), num_classes, margin=margin)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As many rows as the state has."""
        for name in ("rows_MF", "answers_MC"):
            setattr(self, name, nn.Buffer(state_dict[name].clone()))
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def fake_target(*pools: AuditData, num_classes: int, is_leaky: bool) -> Target:
    """A target that leaks all of ``pools``' members, or nothing; with shadows, and another version of the same kind."""
    features, labels = (torch.cat([getattr(pool, part) for pool in pools]) for part in ("features", "labels"))
    rows = ShadowRows(features, labels, np.arange(len(labels)), len(labels) // 2, seed=0)

    def one(margin: float, versions: Mapping[str, Target]) -> Target:
        model: nn.Module = ConstantModel([0.0] * num_classes)
        if is_leaky:
            model = MemorisingModel.of(*pools, num_classes=num_classes, margin=margin)
        trainer = FakeTrainer(num_classes, features.flatten(1).shape[1], is_leaky, margin)
        return Target(model, shadows=ShadowModels(rows, trainer), versions=versions)

    return one(12.0, {"other": one(10.0, {})})


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
