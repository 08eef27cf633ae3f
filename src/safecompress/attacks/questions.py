"""Questions: what an attack tries to find out, on which rows, and what its evidence measures.

An attack answers a question, and the statistics are the question's, so that no attack can forget them. Membership is
one question among others: what an attack answers unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np

from safecompress.attacks.evidence import Evidence, Ranking, Tally
from safecompress.data import AuditData, DataSplit
from safecompress.errors import AttackError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import (
    ADVANTAGE,
    AUC,
    BALANCED_ACCURACY,
    FPRS,
    SUCCESS_RATE,
    TPRS,
    Metric,
    change_of,
)
from safecompress.metrics.certifiers import RowCounts
from safecompress.metrics.measurement import Direction, Interval, Levels, Measurement

Pool = Literal["fit", "select", "verdict"]
"""What rows are for: attackers learn on them, they choose among candidates, or they judge what ships."""


class Question(Protocol):
    """What is asked of a model. ``metrics`` are what its evidence measures, in the order of reports."""

    @property
    def name(self) -> str:
        """The question in a word: ``membership``, ``evasion``."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """One of them is the headline, and one the metric of hard decisions (they may be one)."""
        ...

    def parts(self, pool: Pool) -> tuple[str, ...]:
        """The parts of a split that ``rows`` reads: those of the verdict are counted by the ledger."""
        ...

    def rows(self, split: DataSplit, pool: Pool) -> AuditData:
        """The rows that are attacked. Raises DataError where there are none."""
        ...

    def count_rows(self, split: DataSplit, pool: Pool) -> RowCounts:
        """How many there are, for what they can certify."""
        ...

    def measure(self, name: str, evidence: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """Every metric of the attack ``name``, each with its interval at both levels."""
        ...

    def interval(self, evidence: Evidence, alpha: float) -> tuple[float, Interval]:
        """The headline figure and its interval."""
        ...

    def difference(self, now: Evidence, before: Evidence, alpha: float) -> stats.PairedDifference:
        """The headline figure now minus before, paired by row."""
        ...

    def change(self, name: str, now: Evidence, before: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """Every metric now minus before, on the same rows, named ``attack.metric.rise``."""
        ...

    def epsilon(self, evidence: Evidence, alpha: float) -> float | None:
        """A lower limit on the epsilon per sample of the attack's calls; None where the question has none."""
        ...


def headline_of(question: Question) -> Metric:
    """The one metric by which attacks on ``question`` are compared."""
    return next(metric for metric in question.metrics if metric.is_headline)


@dataclass(frozen=True)
class Membership:
    """Was this row trained on? Members against non-members, by the scores of a `Ranking`."""

    name: str = "membership"
    metrics: tuple[Metric, ...] = (AUC, BALANCED_ACCURACY, ADVANTAGE, *TPRS)

    def __repr__(self) -> str:
        return "MEMBERSHIP"

    def parts(self, pool: Pool) -> tuple[str, ...]:
        """The pool's two parts, such as ``member_verdict`` and ``nonmember_verdict``."""
        return f"member_{pool}", f"nonmember_{pool}"

    def rows(self, split: DataSplit, pool: Pool) -> AuditData:
        """Members, then non-members."""
        return split.audit(pool)

    def count_rows(self, split: DataSplit, pool: Pool) -> RowCounts:
        """Members and non-members."""
        members, others = self.parts(pool)
        return RowCounts(split.size(members), split.size(others))

    def measure(self, name: str, evidence: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """AUC, balanced accuracy, advantage, and TPR at the fixed FPRs."""
        ranking = _ranking(name, evidence)
        scores, is_member = ranking.scores_N, ranking.truth_N
        confusion = stats.confusion_at(scores, is_member, ranking.threshold)
        noise = ranking.noise

        def measurement(metric: Metric, value: float, interval_at: Callable[[float], Interval]) -> Measurement:
            near, far = (interval_at(alpha) for alpha in (levels.alpha, levels.simultaneous_alpha))
            return Measurement(metric.of(name), value, near, far, len(scores), metric.direction)

        def accuracy_at(alpha: float) -> Interval:
            interval = stats.balanced_accuracy_interval(confusion, alpha)
            return noise.balanced_accuracy.widen(confusion.balanced_accuracy, interval, 0.0, 1.0)

        def advantage_at(alpha: float) -> Interval:
            return noise.advantage.widen(confusion.advantage, stats.advantage_interval(confusion, alpha), -1.0, 1.0)

        def tpr_measurement(metric: Metric, fpr: float) -> Measurement:
            value, extra = stats.tpr_at_fpr(scores, is_member, fpr), noise.tprs[fpr]
            return measurement(
                metric,
                value,
                lambda alpha: extra.widen(value, stats.tpr_at_fpr_interval(scores, is_member, fpr, alpha), 0.0, 1.0),
            )

        return (
            measurement(
                AUC, stats.auc(scores, is_member), lambda a: stats.auc_interval(scores, is_member, a, noise.auc)
            ),
            measurement(BALANCED_ACCURACY, confusion.balanced_accuracy, accuracy_at),
            measurement(ADVANTAGE, confusion.advantage, advantage_at),
            *(tpr_measurement(metric, fpr) for metric, fpr in zip(TPRS, FPRS, strict=True)),
        )

    def interval(self, evidence: Evidence, alpha: float) -> tuple[float, Interval]:
        """The AUC."""
        ranking = _ranking("the attack", evidence)
        scores, is_member = ranking.scores_N, ranking.truth_N
        return stats.auc(scores, is_member), stats.auc_interval(scores, is_member, alpha, ranking.noise.auc)

    def difference(self, now: Evidence, before: Evidence, alpha: float) -> stats.PairedDifference:
        """Of the AUCs, by DeLong's test."""
        ours, theirs = _ranking("the attack", now), _ranking("the attack", before)
        noise = _difference_noise(ours, theirs)
        return stats.auc_difference(ours.scores_N, theirs.scores_N, ours.truth_N, alpha, noise)

    def change(self, name: str, now: Evidence, before: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """The AUC's is paired; the others' intervals are differences of intervals at half of alpha."""
        ours, theirs = _ranking(name, now), _ranking(name, before)
        num_rows = len(ours.scores_N)
        noise = _difference_noise(ours, theirs)
        paired = [
            stats.auc_difference(ours.scores_N, theirs.scores_N, ours.truth_N, alpha, noise)
            for alpha in (levels.alpha, levels.simultaneous_alpha)
        ]
        changes = [_change(AUC.of(name), paired[0].value, [one.interval for one in paired], num_rows)]
        half = Levels(levels.alpha / 2, levels.num_figures)  # two intervals at half of alpha hold together at alpha
        for mine, other in zip(self.measure(name, now, half), self.measure(name, before, half), strict=True):
            if mine.name != AUC.of(name):
                pairs = ((mine.interval, other.interval), (mine.simultaneous, other.simultaneous))
                intervals = [stats.difference_of_intervals(*pair) for pair in pairs]
                changes.append(_change(mine.name, mine.value - other.value, intervals, num_rows))
        return tuple(changes)

    def epsilon(self, evidence: Evidence, alpha: float) -> float | None:
        """Of ln(TPR / FPR) or ln(TNR / FNR) at the attack's threshold (`stats.epsilon_per_sample`)."""
        ranking = _ranking("the attack", evidence)
        confusion = stats.confusion_at(ranking.scores_N, ranking.truth_N, ranking.threshold)
        return stats.epsilon_per_sample(confusion, alpha)


MEMBERSHIP = Membership()


READS: Mapping[Pool, str] = MappingProxyType({"fit": "validation", "select": "validation", "verdict": "test"})
"""What most rates of success are measured on: no attacker learns, or chooses, on the rows that judge."""


@dataclass(frozen=True)
class RateOfSuccess:
    """On how many rows does the attack succeed? One rate, by a `Tally`; for evasion and its kin.

    ``reads`` says which part of a split each pool is. The rows come with ``is_member`` false throughout.
    """

    name: str
    reads: Mapping[Pool, str] = field(default_factory=lambda: READS, hash=False)
    metrics: tuple[Metric, ...] = (SUCCESS_RATE,)

    def __repr__(self) -> str:
        return f"RateOfSuccess({self.name!r})"

    def parts(self, pool: Pool) -> tuple[str, ...]:
        """One part."""
        return (self.reads[pool],)

    def rows(self, split: DataSplit, pool: Pool) -> AuditData:
        """All rows of the part."""
        features, labels = split.part(self.reads[pool])
        return AuditData(features, labels, np.zeros(len(labels), dtype=bool))

    def count_rows(self, split: DataSplit, pool: Pool) -> RowCounts:
        """All rows of the part; an attack may count fewer."""
        return RowCounts(split.size(self.reads[pool]))

    def measure(self, name: str, evidence: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """The success rate, by Clopper and Pearson."""
        tally, (metric,) = _tally(name, evidence), self.metrics
        alphas = (levels.alpha, levels.simultaneous_alpha)
        intervals = [stats.clopper_pearson(tally.num_hits, tally.num_counted, alpha) for alpha in alphas]
        value = tally.num_hits / tally.num_counted
        return (Measurement(metric.of(name), value, intervals[0], intervals[1], tally.num_counted, metric.direction),)

    def interval(self, evidence: Evidence, alpha: float) -> tuple[float, Interval]:
        """The success rate."""
        tally = _tally("the attack", evidence)
        interval = stats.clopper_pearson(tally.num_hits, tally.num_counted, alpha)
        return tally.num_hits / tally.num_counted, interval

    def difference(self, now: Evidence, before: Evidence, alpha: float) -> stats.PairedDifference:
        """Of the rates, over the rows that count for both. Raises AttackError when there is none."""
        ours, theirs = _tally("the attack", now), _tally("the attack", before)
        both_N = ours.is_counted_N & theirs.is_counted_N
        if not both_N.any():
            raise AttackError("No row counts for both models, so that their success rates cannot be compared.")
        # the drop of a share from the first to the second
        return stats.accuracy_drop_interval(ours.is_hit_N[both_N], theirs.is_hit_N[both_N], alpha)

    def change(self, name: str, now: Evidence, before: Evidence, levels: Levels) -> tuple[Measurement, ...]:
        """The paired rise of the rate."""
        paired = [self.difference(now, before, alpha) for alpha in (levels.alpha, levels.simultaneous_alpha)]
        both_N = _tally(name, now).is_counted_N & _tally(name, before).is_counted_N
        intervals = [one.interval for one in paired]
        return (_change(self.metrics[0].of(name), paired[0].value, intervals, int(both_N.sum())),)

    def epsilon(self, evidence: Evidence, alpha: float) -> float | None:
        """None: it is no question of membership."""
        return None


def _difference_noise(ours: Ranking, theirs: Ranking) -> stats.DrawNoise:
    """That of the difference of two AUCs, whose shadows trained on the same rows where both have as many.

    Otherwise variances add, as those of independent draws do.
    """
    first_SHN, second_SHN = ours.halves_SHN, theirs.halves_SHN
    if first_SHN is not None and second_SHN is not None and len(first_SHN) == len(second_SHN):
        return stats.auc_difference_noise(first_SHN, second_SHN, ours.truth_N)
    mine, other = ours.noise.auc, theirs.noise.auc
    df = min((noise.df for noise in (mine, other) if noise.variance), default=1)
    return stats.DrawNoise(mine.variance + other.variance, df)


def _change(name: str, value: float, intervals: Sequence[Interval], num_rows: int) -> Measurement:
    return Measurement(change_of(name), value, intervals[0], intervals[1], num_rows, Direction.LOWER)


def _ranking(name: str, evidence: Evidence) -> Ranking:
    if not isinstance(evidence, Ranking):
        raise AttackError(f"{name}: a question of membership takes scores for rows, got a {type(evidence).__name__}.")
    return evidence


def _tally(name: str, evidence: Evidence) -> Tally:
    if not isinstance(evidence, Tally):
        raise AttackError(f"{name}: a rate of success takes a tally of rows, got a {type(evidence).__name__}.")
    return evidence
