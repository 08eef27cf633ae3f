"""What the benchmarks of leak share: many models on random parts of one pool, targets and their shadows.

Either every model is a target once and all others are its shadows, so that M trainings give M targets; or some are
shadows alone, and targets are drawn apart from them, as in an audit. M models, P rows of the pool, C classes, N rows
that are attacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from safecompress.attacks.membership import likelihood
from safecompress.attacks.shadows import ShadowDraw, ShadowRows, ShadowTrainer
from safecompress.attacks.signals import Signals
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.config.prepared import PreparedData
from safecompress.metrics import stats
from safecompress.seeding import derive
from safecompress.training import predict_logits


@dataclass(frozen=True, eq=False)
class World:
    """One draw of the data: ``pool`` and the rows that each of M models trained on."""

    data: PreparedData
    pool: ShadowRows
    is_in_MP: np.ndarray

    @classmethod
    def of(cls, data: PreparedData, seed: int, num_models: int, num_targets: int = 0) -> World:
        """``num_models`` balanced draws, as shadows have them, and after them ``num_targets`` independent ones."""
        pool = shadow_rows(data.evidence, "verdict", seed)
        draws = [*pool.draws(num_models)]
        for number in range(num_targets):
            order = derive(seed, "targets", number).permutation(len(pool.labels))
            draws.append(np.isin(np.arange(len(order)), order[: pool.size]))
        return cls(data, pool, np.stack(draws))

    def train(self, trainer: ShadowTrainer, kept: Path) -> tuple[list[Signals], np.ndarray]:
        """What each model says of the pool, and its accuracy on test rows (M,); looked up in ``kept`` where it is."""
        names = [kept.with_name(f"{kept.stem}-{number}.npz") for number in range(len(self.is_in_MP))]
        size = trainer.group_size
        for first in range(0, len(names), size):
            group = [n for n in range(first, min(first + size, len(names))) if not names[n].exists()]
            draws = [ShadowDraw(number, np.flatnonzero(self.is_in_MP[number])) for number in group]
            for number, weights in zip(group, trainer(self.pool, draws) if draws else [], strict=True):
                network = trainer.build()
                network.load_state_dict(dict(weights))
                x, y = self.data.raw.part("test")
                is_right = predict_logits(network, x).argmax(1) == y
                names[number].parent.mkdir(parents=True, exist_ok=True)
                logits_PC = predict_logits(network, self.pool.features).numpy()
                np.savez_compressed(names[number], logits=logits_PC, accuracy=is_right.float().mean().item())
                print(names[number].stem, f"accuracy {is_right.float().mean().item():.3f}", flush=True)
        loaded = [np.load(name) for name in names]
        labels = self.pool.labels.numpy().astype(np.int64)
        return [Signals(one["logits"].astype(np.float64), labels) for one in loaded], np.array(
            [float(one["accuracy"]) for one in loaded]
        )


@dataclass(frozen=True, eq=False)
class Attacked:
    """Model ``number`` of a world as the target; its shadows are the first ``num_shadows``, or else all others."""

    signals: Sequence[Signals]
    is_in_MP: np.ndarray
    number: int
    num_shadows: int | None = None

    @property
    def is_member(self) -> np.ndarray:
        """(P,)."""
        return np.asarray(self.is_in_MP[self.number])

    @property
    def is_fair(self) -> np.ndarray:
        """Where all others are shadows: rows (P,) that equally many of them trained on.

        Draws are balanced, so that a member of this model is in fewer of the others than a non-member: their densities
        would be estimated from fewer models, and a score could tell them by that. Rows of one count have no such mark.
        """
        count_P = self._others(list(self.is_in_MP)).sum(axis=0)
        sizes = {
            count: min(np.count_nonzero((count_P == count) & side) for side in (self.is_member, ~self.is_member))
            for count in np.unique(count_P)
        }
        return np.asarray(count_P == max(sizes, key=lambda count: sizes[count]))

    def _others(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([value for number, value in enumerate(values[: self.num_shadows]) if number != self.number])

    def loss(self) -> np.ndarray:
        """Minus the loss (P,)."""
        return -self.signals[self.number].loss_N

    def by_label(self) -> np.ndarray:
        """LiRA on the scaled logit (P,): a log likelihood ratio."""
        phi = [one.scaled_logit_N for one in self.signals]
        shadows = self._others(phi)[:, None]
        return likelihood.lira_online(phi[self.number][None], shadows, self._others(list(self.is_in_MP)))

    def by_class(self) -> np.ndarray:
        """LiRA on all log-probabilities (P,): the mean over classes of their log likelihood ratios."""
        log_p = [one.centred_log_probs_NC for one in self.signals]
        return likelihood.lira_classes(log_p[self.number], self._others(log_p), self._others(list(self.is_in_MP)))


def auc_of(score_N: np.ndarray, is_positive_N: np.ndarray) -> float:
    """The AUC."""
    return float(stats.auc(score_N, is_positive_N))


def tpr_of(score_N: np.ndarray, is_member_N: np.ndarray, fpr: float = 0.01) -> float:
    """The share of members above the threshold that at most ``fpr`` of the non-members exceed."""
    threshold = np.quantile(score_N[~is_member_N], 1 - fpr)
    return float((score_N[is_member_N] > threshold).mean())


def with_interval(values: Sequence[float], signed: bool = False) -> str:
    """The mean of ``values`` with its 95 % t interval."""
    array = np.asarray(values)
    half = scipy_stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    sign = "+" if signed else ""
    return f"{array.mean():{sign}.3f} [{array.mean() - half:{sign}.3f}, {array.mean() + half:{sign}.3f}]"
