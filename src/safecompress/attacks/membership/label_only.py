"""How far a row can be moved before the predicted label changes: what labels alone give away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safecompress.attacks.queries import shortened, vary
from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError, suggest
from safecompress.seeding import derive
from safecompress.training import predict_logits

_MOVE_GROUPS = 6
"""Groups of shifted copies, from small to large shifts, that get a weight each."""

_NO_WEIGHT = 1e-9
"""A regression whose weights are all this small found both sides of the pool alike."""


@dataclass(frozen=True)
class LabelOnly:
    """Member if the label is right, and stays so when the row is moved (Choquette-Choo et al. 2021; Li & Zhang 2021).

    The model is asked for the label of the row and of ``queries`` copies. With ``by="noise"`` each copy adds Gaussian
    noise of one of ``sizes``, in units of the row's own root mean square; where all features are 0 or 1, every size
    takes turns with ``flips``, the shares of features that are flipped. With ``by="moves"`` copies are images, mirrored
    and shifted. Of a text, whichever is asked for, ``drops`` are the shares of tokens that are left out. The k-th copy
    goes in the same direction for every row.

    Differs from the papers: not one size is chosen, but the shares of right answers at all of them are weighted, by
    logistic regression on the fitting pool. Large sizes may count against membership: who survives them is easy.
    """

    queries: int = 64
    by: Literal["noise", "moves"] = "noise"
    sizes: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
    flips: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05, 0.1)
    drops: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8)
    name: str = field(default="label_only", init=False)
    access: Access = field(default=Access.LABELS, init=False)
    tier: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if self.by not in ("noise", "moves"):
            raise UsageError(f"What moves a row in the label-only attack: {suggest(self.by, ('noise', 'moves'))}")
        sizes_fit = len(self.sizes) > 0 and all(0 < size < np.inf for size in self.sizes)
        shares_fit = len(self.drops) > 0 and all(0 < share < 1 for share in (*self.flips, *self.drops))
        if not (self.queries >= 1 and sizes_fit and shares_fit):
            raise UsageError(
                "The label-only attack needs queries of at least 1, one or more finite sizes above 0, flips in (0, 1) "
                f"and one or more drops in (0, 1); got queries={self.queries}, sizes={self.sizes}, flips={self.flips}, "
                f"drops={self.drops}."
            )

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedLabelOnly:
        """The weight of each size. Raises AttackError where rows are to be shifted that are not images."""
        copies, seed = self._copies(audit.features), int(generator.integers(2**62))
        shares_NG = right_shares(target, audit, copies, seed)
        return FittedLabelOnly(copies, seed, _weights(shares_NG, audit.is_member))

    def varies(self, target: Target, audit: AuditData) -> bool:
        """Right and wrong answers both occur; a model that is always right may give this attack nothing to read."""
        is_right_N = _is_right(target, audit.features, audit.labels)
        return bool(is_right_N.any() and not is_right_N.all())

    def _copies(self, features: Tensor) -> tuple[Copy, ...]:
        """``queries`` copies: noise and flips in turn, so that each size has its share, or images in order of shift."""
        if not features.is_floating_point():
            turns = [k % len(self.drops) for k in range(self.queries)]
            return tuple(Copy("drop", self.drops[turn], group=turn) for turn in turns)
        if self.by == "moves":
            if features.ndim != 4:
                raise AttackError(
                    "The label-only attack can shift images (N, channels, height, width); these rows have shape "
                    f'{tuple(features.shape)}. Ask for by="noise".'
                )
            groups = np.array_split(np.arange(1, self.queries + 1), min(_MOVE_GROUPS, self.queries))
            return tuple(Copy("move", int(k), group) for group, numbers in enumerate(groups) for k in numbers)
        ways = [("noise", size) for size in self.sizes]
        if bool(((features == 0) | (features == 1)).all()):
            ways += [("flip", share) for share in self.flips]
        turns = [k % len(ways) for k in range(self.queries)]
        return tuple(Copy(*ways[turn], group=turn) for turn in turns)


@dataclass(frozen=True)
class Copy:
    """One way to move a row: how, how far (for ``move`` the variant's number), and whose weight it shares."""

    kind: str
    size: float
    group: int

    def of(self, features: Tensor, seed: int, number: int) -> Tensor:
        """``features`` (N, ...), moved; ``seed`` and ``number`` draw the direction, which is one for all rows."""
        if self.kind == "move":
            return vary(features, int(self.size))
        chance, shape = derive(seed, "copy", number), tuple(features.shape[1:])
        if self.kind == "drop":
            return shortened(features, torch.from_numpy(chance.random(shape) < self.size))
        if self.kind == "flip":
            return torch.where(torch.from_numpy(chance.random(shape) < self.size), 1 - features, features)
        root_mean_square = features.flatten(1).square().mean(dim=1).sqrt().view(-1, *[1] * len(shape))
        return features + self.size * root_mean_square * torch.from_numpy(chance.normal(size=shape)).to(features)


@dataclass(frozen=True, eq=False)
class FittedLabelOnly:
    """The copies to ask about, and what each group of them weighs."""

    copies: tuple[Copy, ...] = field(repr=False)
    seed: int
    weights_G: Floats
    threshold: float | None = field(default=None, init=False)

    def score(self, target: Target, audit: AuditData) -> Floats:
        """The weighted sum of the shares of right answers: the row's own first, then each group's."""
        return np.asarray(right_shares(target, audit, self.copies, self.seed) @ self.weights_G)


def right_shares(target: Target, audit: AuditData, copies: tuple[Copy, ...], seed: int) -> Floats:
    """(N, 1 + groups): whether the row itself is classified right, and the share of right answers in each group."""
    num_groups = 1 + max(copy.group for copy in copies)
    right_NG, counts_G = np.zeros((len(audit.labels), 1 + num_groups)), np.zeros(1 + num_groups)
    right_NG[:, 0], counts_G[0] = _is_right(target, audit.features, audit.labels), 1
    for number, copy in enumerate(copies):
        right_NG[:, 1 + copy.group] += _is_right(target, copy.of(audit.features, seed, number), audit.labels)
        counts_G[1 + copy.group] += 1
    return np.asarray(right_NG / counts_G)


def _is_right(target: Target, features: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Whether the model's label is the row's; nothing else of its answer is looked at."""
    logits_NC = predict_logits(target.model, features)
    if not bool(logits_NC.isfinite().all()):
        raise AttackError("The model gives logits that are not finite numbers for some rows, so it has no label there.")
    return np.asarray((logits_NC.argmax(dim=1) == labels).numpy())


def _weights(shares_NG: Floats, is_member: NDArray[np.bool_]) -> Floats:
    """The weights that tell the fitting pool's members best; all 1 where the pool cannot say."""
    equal_G = np.ones(shares_NG.shape[1])
    if is_member.all() or not is_member.any():
        return equal_G
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(max_iter=1000).fit(shares_NG, is_member)
    weights_G = np.asarray(regression.coef_[0], dtype=np.float64)
    return weights_G if np.abs(weights_G).max() > _NO_WEIGHT else equal_G
