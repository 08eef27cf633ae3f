"""The catalogue of metrics: what a figure means, which way it is better, how it is shown, and how rows certify it.

Everything else asks here: requirements, feasibility, selection, report, plots, terminal, gate and studies. A metric of
an attack is named ``attack.metric`` (``lira.auc``), a metric of the task by itself (``accuracy``), and a paired change
from the dense model ends in ``.rise`` or ``.drop``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from safecompress.metrics import stats
from safecompress.metrics.certifiers import (
    Certifier,
    CertifyAccuracy,
    CertifyAuc,
    CertifyCalls,
    CertifyCanaries,
    CertifyRate,
    CertifyTpr,
    CertifyWorstCase,
    CertifyWorstGroup,
)
from safecompress.metrics.measurement import Direction

T = TypeVar("T")

RISE, DROP = ".rise", ".drop"
"""How the names of paired changes end: of metrics that are better when lower, and when higher."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a requirement may name.

    ``ideal`` is the figure of a model without fault (0.5 for an AUC: guessing), ``low`` and ``high`` are the ends of
    the range; a figure that is bounded by nothing goes to infinity. ``label`` heads axes and columns. ``certifier``
    says how rows certify it, None for what is counted or timed. ``is_headline`` marks the one metric by which attacks
    of a question are compared, ``is_decision`` the one of hard decisions that the TM-score divides by, ``is_compared``
    those whose change from the dense model is measured, ``is_shown`` those in the short table of the terminal.
    """

    name: str
    direction: Direction
    ideal: float
    low: float
    high: float
    label: str
    certifier: Certifier | None = None
    is_headline: bool = False
    is_decision: bool = False
    is_compared: bool = True
    is_shown: bool = True

    @property
    def change_suffix(self) -> str:
        """How the name of its change from the dense model ends: ``.drop`` where higher is better, else ``.rise``."""
        return DROP if self.direction is Direction.HIGHER else RISE

    @property
    def is_share(self) -> bool:
        """Whether its figures lie between 0 and 1."""
        return (self.low, self.high) == (0.0, 1.0)

    def of(self, attack_name: str) -> str:
        """Its full name as a metric of ``attack_name``: ``lira.auc``."""
        return f"{attack_name}.{self.name}"

    def as_leak(self, value: float) -> float:
        """``value`` on the scale of an AUC: 0.5 at the ideal, 1 at the worst end of the range.

        So that attacks of different questions can be compared. Figures of an AUC and of a balanced accuracy stay as
        they are. Only for metrics of attacks, which are better when lower.
        """
        if (self.ideal, self.high) == (0.5, 1.0):
            return value
        return 0.5 + 0.5 * (value - self.ideal) / (self.high - self.ideal)


def _share(name: str, label: str, certifier: Certifier, *, ideal: float = 0.0, **options: bool) -> Metric:
    """A metric of an attack: a share that is better when lower."""
    return Metric(name, Direction.LOWER, ideal, 0.0, 1.0, label, certifier, **options)


FPRS = (0.01, 0.001)
"""The false positive rates at which the true positive rate is reported."""

AUC = _share("auc", "AUC", CertifyAuc(), ideal=0.5, is_headline=True)
BALANCED_ACCURACY = _share(
    "balanced_accuracy",
    "balanced accuracy",
    CertifyCalls(stats.balanced_accuracy_interval),
    ideal=0.5,
    is_decision=True,
)
ADVANTAGE = _share("advantage", "advantage", CertifyCalls(stats.advantage_interval), is_shown=False)
TPRS = tuple(
    _share(f"tpr@fpr={fpr:g}", f"TPR at FPR {fpr:g}", CertifyTpr(fpr), is_shown=fpr == max(FPRS)) for fpr in FPRS
)
WORST_CASE = _share("worst_case", "worst case", CertifyWorstCase(), ideal=0.5, is_compared=False)
"""Of two models, one trained with one of the most exposed rows and one without, how often the first is surer of it: a
figure of attacks on membership by shadow models, measured on these (`certify.worst_case`)."""
CANARIES = _share("canaries", "canaries found", CertifyCanaries(), is_compared=False)
"""The share of planted canaries that the shadow models of an attack on membership find (`certify.canaries`)."""
OF_PERSONS = (WORST_CASE, CANARIES)
"""Metrics of an attack that are measured on its shadow models beside the attack itself."""
SUCCESS_RATE = _share("success_rate", "success rate", CertifyRate(), is_headline=True, is_decision=True)

OF_ATTACKS: Mapping[str, Metric] = {
    metric.name: metric for metric in (AUC, BALANCED_ACCURACY, ADVANTAGE, *TPRS, WORST_CASE, CANARIES, SUCCESS_RATE)
}
"""What attacks measure; which of them an attack has depends on its question."""

ACCURACY = Metric("accuracy", Direction.HIGHER, 1.0, 0.0, 1.0, "accuracy", CertifyAccuracy())
WORST_CLASS = Metric(
    "accuracy.worst_class", Direction.HIGHER, 1.0, 0.0, 1.0, "accuracy, worst class", CertifyWorstGroup("class")
)
"""The accuracy of the class that is worst off; its change is the most that any class loses (`metrics.groups`)."""
AGREEMENT = Metric(
    "agreement", Direction.HIGHER, 1.0, 0.0, 1.0, "agreement with the dense model", CertifyAccuracy(), is_compared=False
)
"""The share of test rows to which the model gives the dense model's class."""
DENSITY = Metric("density", Direction.LOWER, 0.0, 0.0, 1.0, "density", is_compared=False, is_shown=False)
SIZE_BYTES = Metric(
    "artifact.size_bytes", Direction.LOWER, 0.0, 1.0, math.inf, "bytes", is_compared=False, is_shown=False
)
COMPRESSION_RATIO = Metric(
    "compression.ratio", Direction.HIGHER, math.inf, 0.0, math.inf, "ratio", is_compared=False, is_shown=False
)
LATENCY = Metric("latency.p50_ms", Direction.LOWER, 0.0, 0.0, math.inf, "ms", is_compared=False, is_shown=False)

OF_THE_TASK: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (ACCURACY, WORST_CLASS, AGREEMENT, DENSITY, SIZE_BYTES, COMPRESSION_RATIO, LATENCY)
}
"""Metrics that need no attack. The ratio is the dense model's bytes over the file's; the latency is that of one sample
on one thread of the machine that certifies."""


@dataclass(frozen=True, slots=True)
class MetricName:
    """The full name of a figure, taken apart: its ``attack`` (None for the task), its ``metric``, ``is_change``."""

    attack: str | None
    metric: Metric
    is_change: bool

    @property
    def direction(self) -> Direction:
        """Which way is better; every change from the dense model is better when lower."""
        return Direction.LOWER if self.is_change else self.metric.direction


class AttackMetric(NamedTuple):
    """A metric of an attack."""

    attack: str
    metric: Metric


def parse_name(name: str) -> MetricName | None:
    """``lira.auc.rise`` taken apart; None for a name that no metric has."""
    plain, is_change = (name[: -len(RISE)], True) if name.endswith((RISE, DROP)) else (name, False)
    attack: str | None = None
    metric = OF_THE_TASK.get(plain)
    if metric is None:
        attack, _, rest = plain.partition(".")
        metric = OF_ATTACKS.get(rest)
    if metric is None or (is_change and not name.endswith(metric.change_suffix)):
        return None
    return MetricName(attack, metric, is_change)


def attack_of(name: str) -> str:
    """The attack that the figure called ``name`` comes from; of a metric of the task its first word."""
    return name.partition(".")[0]


def is_change(name: str) -> bool:
    """Whether the figure called ``name`` is a change from the dense model."""
    return name.endswith((RISE, DROP))


def is_of_persons(name: str) -> bool:
    """Whether the figure called ``name`` is one of `OF_PERSONS`."""
    parsed = parse_name(name)
    return parsed is not None and parsed.metric in OF_PERSONS


def change_of(name: str) -> str:
    """The name of the change in ``name`` from the dense model: ``accuracy.drop``, ``lira.auc.rise``."""
    parsed = parse_name(name)
    return name + (parsed.metric.change_suffix if parsed is not None else RISE)


def direction_of(name: str) -> Direction:
    """Which way the figure called ``name`` is better; lower for a name that no metric has."""
    parsed = parse_name(name)
    return Direction.LOWER if parsed is None else parsed.direction


def headlines(figures: Mapping[str, T]) -> dict[str, T]:
    """By attack, the figure that attacks are compared by (their AUC, or their success rate), in their order."""
    return {parsed.attack: figure for parsed, figure in _of_attacks(figures) if parsed.metric.is_headline}


def leaks(values: Mapping[str, float]) -> dict[str, float]:
    """By attack, its headline figure on the scale of an AUC (`Metric.as_leak`)."""
    return {p.attack: p.metric.as_leak(value) for p, value in _of_attacks(values) if p.metric.is_headline}


def headline_metric(names: Iterable[str], attack_name: str) -> Metric:
    """The metric that the attack is compared by, of the figures called ``names``: its AUC, or its success rate."""
    known = _of_attacks(dict.fromkeys(names))
    return next(p.metric for p, _ in known if p.attack == attack_name and p.metric.is_headline)


def leak_label(names: Iterable[str]) -> str:
    """What the largest of `leaks` is called: AUC, or ``leak`` where an attack on another question is among them."""
    found = {p.metric for p, _ in _of_attacks(dict.fromkeys(names)) if p.metric.is_headline}
    return AUC.label if found <= {AUC} else "leak"


def decisions(values: Mapping[str, float]) -> dict[str, float]:
    """By attack, its figure of hard decisions on the scale of a balanced accuracy: what the TM-score divides by."""
    return {p.attack: p.metric.as_leak(value) for p, value in _of_attacks(values) if p.metric.is_decision}


def strongest_attack(values: Mapping[str, float]) -> str | None:
    """The attack with the largest of `leaks`, the first of equals; None where there is none."""
    by_attack = leaks(values)
    return max(by_attack, key=by_attack.__getitem__) if by_attack else None


def tm_score(accuracy: float, worst: Iterable[float], *, power: float = 1.0) -> float:
    """TaskAcc^power / max(0.5, worst MIAAcc) (Zhu, Wang, Han 2022).

    ``worst`` are the attacks' `decisions`. Differs from the paper: the divisor is never under 0.5, so that an attack
    worse than guessing earns nothing.
    """
    return float(accuracy**power / max(0.5, *worst))


def tm_score_of(values: Mapping[str, float], attack_names: Iterable[str]) -> float | None:
    """The TM-score of measured figures by name, over the ``attack_names`` that were run.

    None when there is no attack, or the accuracy or an attack's figure is missing: the worst of the rest would flatter.
    """
    accuracy, decided = values.get(ACCURACY.name), decisions(values)
    figures = [decided.get(attack) for attack in attack_names]
    known = [figure for figure in figures if figure is not None]
    if accuracy is None or not figures or len(known) < len(figures):
        return None
    return tm_score(accuracy, known)


def _of_attacks(figures: Mapping[str, T]) -> Iterator[tuple[AttackMetric, T]]:
    """The figures of attacks with their names taken apart, changes left out."""
    for name, figure in figures.items():
        parsed = parse_name(name)
        if parsed is not None and parsed.attack is not None and not parsed.is_change:
            yield AttackMetric(parsed.attack, parsed.metric), figure
