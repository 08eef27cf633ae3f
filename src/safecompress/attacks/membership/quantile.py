"""Quantile regression: how high may a row's score be if the row was never seen? (Bertran et al. 2023)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safecompress.attacks.bags import BagOfTokens
from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats

_WEIGHTS = np.linspace(0, 1, 11)
_TREES: dict[str, Any] = {"max_depth": 3, "min_samples_leaf": 10, "max_features": 0.2, "early_stopping": False}


@dataclass(frozen=True)
class Quantile:
    """Member if the scaled logit is higher than a non-member's with this x and y would be; no shadow models needed.

    Gradient-boosted trees with pinball loss learn the quantiles ``levels`` of the scaled logit on the fitting pool's
    non-members. They read the label and the first ``components`` principal components of the standardised features (of
    texts, of their bags of tokens); ``folds`` sets of them, each fitted without one fold, are averaged. The score is
    the scaled logit less the mean of the levels' quantiles: at a high level they follow who looks like a member, at 0.5
    who is easy anyway.

    Differs from the paper: the low false positive rate is not asked of one high level, for which a few hundred rows are
    too few; and each level is drawn towards its quantile over all rows by the weight (0 to 1) that is best on held-out
    folds, so that where x and y say nothing this is the plain loss attack.
    """

    levels: tuple[float, ...] = (0.5, 0.9)
    components: int = 16
    folds: int = 3
    rounds: int = 50
    learning_rate: float = 0.1
    name: str = field(default="quantile", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=1, init=False)
    reads_rows: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        counts_fit = self.components >= 1 and self.folds >= 2 and self.rounds >= 1
        levels_fit = len(self.levels) > 0 and all(0 < level < 1 for level in self.levels)
        if not (counts_fit and levels_fit and 0 < self.learning_rate <= 1):
            raise UsageError(
                "The quantile attack needs levels in (0, 1), components and rounds of at least 1, folds of at least 2 "
                f"and a learning_rate in (0, 1]; got levels={self.levels}, components={self.components}, "
                f"folds={self.folds}, rounds={self.rounds}, learning_rate={self.learning_rate}."
            )

    def fit(self, target: Target, audit: AuditData, *, generator: np.random.Generator) -> FittedQuantile:
        """Quantiles from the fitting pool's non-members; sign and threshold from scores that no row's own trees gave.

        Raises AttackError when there are fewer non-members than two for each fold.
        """
        outside_N = ~audit.is_member
        num_outside = int(outside_N.sum())
        if num_outside < 2 * self.folds:
            raise AttackError(
                f"The quantile attack got {num_outside} non-members to fit, where its {self.folds} folds need "
                f"{2 * self.folds}. Give nonmember_fit more rows, or ask for fewer folds."
            )
        seed = int(generator.integers(2**31))
        fold_Q = generator.permutation(num_outside) % self.folds
        reader = RowReader.fit(audit, outside_N, self.components, seed)
        scaled_logit_N, rows_NF = target.signals(audit).scaled_logit_N, reader.read(audit)
        with _one_thread():
            curves = tuple(
                Curve.fit(self, level, rows_NF[outside_N], scaled_logit_N[outside_N], fold_Q, seed)
                for level in self.levels
            )
        bar_N = _bar(curves, rows_NF)
        bar_N[outside_N] = np.mean([curve.held_out_Q for curve in curves], axis=0)
        scores_N = scaled_logit_N - bar_N
        sign = 1.0 if stats.auc(scores_N, audit.is_member) >= 0.5 else -1.0
        best = stats.best_threshold(sign * scores_N, audit.is_member)
        threshold = float(np.clip(best, (sign * scores_N).min(), (sign * scores_N).max()))  # all or none is infinite
        return FittedQuantile(reader, curves, sign, threshold)


@dataclass(frozen=True, eq=False)
class FittedQuantile:
    """The fitted quantiles; calls rows members whose score is at or over the fitting pool's best threshold."""

    reader: RowReader = field(repr=False)
    curves: tuple[Curve, ...] = field(repr=False)
    sign: float
    threshold: float | None

    def score(self, target: Target, audit: AuditData) -> Floats:
        """The scaled logit less what the quantiles allow a non-member (turned round where the fitting pool says so)."""
        bar_N = _bar(self.curves, self.reader.read(audit))
        return np.asarray(self.sign * (target.signals(audit).scaled_logit_N - bar_N))


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantile as a function of the row: ``weight`` of the trees' mean, the rest of the ``centre`` of all rows.

    ``held_out_Q`` is the quantile of each row that it was fitted on, by the trees that did not see that row.
    """

    trees: tuple[Any, ...] = field(repr=False)
    weight: float
    centre: float
    held_out_Q: Floats = field(repr=False)

    @classmethod
    def fit(
        cls, quantile: Quantile, level: float, rows_QF: Floats, scores_Q: Floats, fold_Q: NDArray[np.int64], seed: int
    ) -> Curve:
        """The quantile ``level`` of ``scores_Q`` given ``rows_QF``."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        trees, by_trees_Q, by_centre_Q = [], np.empty(len(scores_Q)), np.empty(len(scores_Q))
        for fold in range(quantile.folds):
            held_Q = fold_Q == fold
            regressor = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=quantile.rounds,
                learning_rate=quantile.learning_rate,
                random_state=seed + fold,
                **_TREES,
            )
            trees.append(regressor.fit(rows_QF[~held_Q], scores_Q[~held_Q]))
            by_trees_Q[held_Q] = regressor.predict(rows_QF[held_Q])
            by_centre_Q[held_Q] = np.quantile(scores_Q[~held_Q], level)
        mixed_WQ = by_centre_Q + _WEIGHTS[:, None] * (by_trees_Q - by_centre_Q)
        best = int(np.argmin([pinball_loss(scores_Q, mixed_Q, level) for mixed_Q in mixed_WQ]))
        return cls(tuple(trees), float(_WEIGHTS[best]), float(np.quantile(scores_Q, level)), mixed_WQ[best])

    def at(self, rows_NF: Floats) -> Floats:
        """The quantile (N,) for each row."""
        by_trees_N = np.mean([tree.predict(rows_NF) for tree in self.trees], axis=0)
        return np.asarray(self.centre + self.weight * (by_trees_N - self.centre))


@dataclass(frozen=True, eq=False)
class RowReader:
    """What the trees read of a row: its principal components after standardisation, and its label, one-hot.

    Of a text the components are those of its ``bag``, not standardised: rare words would drown the common ones.
    """

    shift_F: Floats = field(repr=False)
    directions_FP: Floats = field(repr=False)
    num_classes: int
    bag: BagOfTokens | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, audit: AuditData, chosen_N: NDArray[np.bool_], components: int, seed: int) -> RowReader:
        """The reader whose components are those of the ``chosen_N`` rows; fewer where rows or columns are fewer."""
        from sklearn.utils.extmath import randomized_svd

        is_text = not audit.features.is_floating_point()
        bag = BagOfTokens.fit(audit.features[torch.from_numpy(chosen_N)]) if is_text else None
        flat_QF = _flat(audit, bag)[chosen_N]
        shift_F = flat_QF.mean(axis=0)
        scale_F = np.ones_like(shift_F) if is_text else flat_QF.std(axis=0)
        is_constant_F = scale_F <= 1e-9 * np.abs(flat_QF).max(axis=0)
        scale_F[is_constant_F] = np.inf  # it would tell no fitted rows apart, and throw others far out
        standard_QF = (flat_QF - shift_F) / scale_F
        _, _, axes_PF = randomized_svd(standard_QF, min(components, *standard_QF.shape), random_state=seed)
        return cls(shift_F, (axes_PF / scale_F).T, int(audit.labels.max()) + 1, bag)

    def read(self, audit: AuditData) -> Floats:
        """(N, P + C); a label that the fitting pool did not have reads as none."""
        label_N1 = audit.labels.numpy()[:, None]
        components_NP = (_flat(audit, self.bag) - self.shift_F) @ self.directions_FP
        return np.hstack([components_NP, label_N1 == np.arange(self.num_classes)])


def pinball_loss(scores_N: Floats, quantile_N: Floats, level: float) -> float:
    """The mean pinball loss, least in expectation at the ``level`` quantile (Koenker & Bassett 1978)."""
    over_N = scores_N - quantile_N
    return float(np.maximum(level * over_N, (level - 1) * over_N).mean())


def _bar(curves: tuple[Curve, ...], rows_NF: Floats) -> Floats:
    """What a row's scaled logit is compared with (N,): the mean of the quantiles."""
    with _one_thread():
        return np.asarray(np.mean([curve.at(rows_NF) for curve in curves], axis=0))


def _one_thread() -> AbstractContextManager[Any]:
    """One OpenMP thread for a while: small trees on two threads take ten times as long when the cores are shared."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limit: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="openmp")
    return limit


def _flat(audit: AuditData, bag: BagOfTokens | None) -> Floats:
    if bag is not None:
        return np.asarray(bag.read(audit.features).toarray())
    return audit.features.flatten(1).double().numpy()
