"""The worst-off people: how surely a model shows that it was trained on the most exposed of its members' rows.

An average over all rows hides a few who are found for certain. What is measured here is what training on a row does to
models like the target (its shadows), so it is a statement about the way of training, rows and recipe together.

Shape letters: N rows, K shadows, M most exposed rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from safecompress.attacks import MEMBERSHIP, Attack, Target, capabilities_of
from safecompress.data import AuditData
from safecompress.errors import SafeCompressError
from safecompress.metrics.catalogue import WORST_CASE
from safecompress.metrics.certifiers import MIN_EXPOSED, MIN_SHADOWS, num_exposed
from safecompress.metrics.measurement import Interval, Levels, Measurement
from safecompress.metrics.stats.intervals import chernoff_interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The most exposed rows, chosen on ``num_choosing`` shadows, scored on ``num_scoring`` others, and crosswise.

    ``worst`` and ``every`` are chances that, of a shadow trained with a row and one trained without it, the first is
    the surer of the row's label: 0.5 is guessing. Intervals are over rows, given these shadows.
    """

    num_rows: int
    num_eligible: int
    num_choosing: int
    num_scoring: int
    worst: tuple[float, Interval]
    every: tuple[float, Interval]


def worst_case(target: Target, audit: AuditData, alpha: float) -> WorstCase | None:
    """The members whom training on them exposes most, as models that did not choose them see it.

    None without `MIN_SHADOWS` shadows that an attack asked for already (none is trained here), and where fewer than
    two times `MIN_EXPOSED` members are in and out of each half of them.
    """
    if not target.has_shadows or target.shadows.num_used < MIN_SHADOWS:
        return None
    try:
        outputs = target.shadows.outputs(audit, count=target.shadows.num_used)
    except SafeCompressError:  # the attacks that use these shadows report it
        return None
    members_N = audit.is_member
    return worst_of(outputs.scaled_logit_KQN[:, 0, members_N], outputs.is_in_KN[:, members_N], alpha)


def worst_of(phi_KN: Floats, is_in_KN: Bools, alpha: float) -> WorstCase | None:
    """`worst_case` from the shadows' scaled logits and from which rows each was trained on.

    Choosing and scoring on the same shadows would call exposed whom chance made look so (Aerni et al. 2024 judge by the
    most vulnerable for the same reason). Each half of the shadows chooses rows that the other half scores.
    """
    if len(phi_KN) < MIN_SHADOWS:
        return None
    half = len(phi_KN) // 2
    halves = slice(0, half), slice(half, None)
    is_known_N = np.all([(is_in_KN[side].any(axis=0) & (~is_in_KN[side]).any(axis=0)) for side in halves], axis=0)
    num_eligible = int(np.count_nonzero(is_known_N))
    num_rows = num_exposed(num_eligible)
    if num_eligible < 2 * num_rows:
        return None
    sides = [(phi_KN[side][:, is_known_N], is_in_KN[side][:, is_known_N]) for side in halves]
    surer_SN = np.stack([_shares_surer(*side) for side in sides])
    is_chosen_SN = np.zeros(surer_SN.shape, dtype=bool)
    for scored, chooser in enumerate(reversed(sides)):
        is_chosen_SN[scored, _most_exposed_first(*chooser)[:num_rows]] = True
    worst = _mean_over_rows(surer_SN, is_chosen_SN, num_rows, alpha)
    every = _mean_over_rows(surer_SN, np.ones_like(is_chosen_SN), num_eligible, alpha)
    return WorstCase(num_rows, num_eligible, half, len(phi_KN) - half, worst, every)


_FAR_APART = 2.0
"""Standard deviations from which on so few shadows cannot say which of two rows shows more plainly."""


def _most_exposed_first(phi_KN: Floats, is_in_KN: Bools) -> NDArray[np.intp]:
    """Rows by how far apart models with and without them are, as far as `_FAR_APART`; then by how far the loss falls.

    The gap alone lets rows that every model gets right, a little surer or not, compete with those that only models
    trained on them get right; the fall of the loss alone is noisier than the gap where models are unsure. Measured over
    three splits of two data sets: the two together name 0.84 of the planted rows, as the fall alone, the gap alone 0.66
    (planted as in benchmarks/canaries.py), and lose little to the gap alone on simulated shadows.
    """
    gap_N = np.minimum(_standardised_gaps(phi_KN, is_in_KN), _FAR_APART)
    inside, outside = _means(-np.logaddexp(0.0, -phi_KN), is_in_KN)
    return np.lexsort((outside - inside, -gap_N))


def _standardised_gaps(phi_KN: Floats, is_in_KN: Bools) -> Floats:
    """(mean in - mean out) / deviation of each row (N,); its variance counts half, that of all rows together half."""
    inside, outside = _means(phi_KN, is_in_KN)
    residual_KN = phi_KN - np.where(is_in_KN, inside, outside)
    variance_N = (residual_KN**2).sum(axis=0) / (len(phi_KN) - 2)
    scale_N = np.sqrt((variance_N + variance_N.mean()) / 2)
    gap_N = inside - outside
    return np.asarray(np.divide(gap_N, scale_N, out=gap_N.copy(), where=scale_N > 0))


def _means(values_KN: Floats, is_in_KN: Bools) -> tuple[Floats, Floats]:
    """The mean of each row over the shadows trained with it (N,), and over the others."""
    inside, outside = (np.where(side, values_KN, 0).sum(axis=0) / side.sum(axis=0) for side in (is_in_KN, ~is_in_KN))
    return inside, outside


def _shares_surer(phi_KN: Floats, is_in_KN: Bools) -> Floats:
    """Of each row's pairs of shadows, one with it and one without, the share in which the first is surer (N,)."""
    surer_N, is_out_KN = np.zeros(phi_KN.shape[1]), ~is_in_KN
    for phi_N, is_in_N in zip(phi_KN, is_in_KN, strict=True):
        wins_KN = (phi_N > phi_KN) + (phi_N == phi_KN) / 2
        surer_N += np.where(is_in_N & is_out_KN, wins_KN, 0).sum(axis=0)
    return np.asarray(surer_N / (is_in_KN.sum(axis=0) * is_out_KN.sum(axis=0)))


def _mean_over_rows(
    surer_SN: Floats, is_chosen_SN: Bools, num_independent: int, alpha: float
) -> tuple[float, Interval]:
    """The mean of the chosen shares, and its interval over rows: Student's, two more rows counted in at 0 and 1.

    A row that both halves chose is one row with two shares. The interval goes no further out than the distribution-free
    one of ``num_independent`` rows, as that of the AUC.
    """
    counts_N = is_chosen_SN.sum(axis=0)
    sums_N = np.where(is_chosen_SN, surer_SN, 0).sum(axis=0)
    mean = float(sums_N.sum() / counts_N.sum())
    rows = counts_N > 0
    residuals = np.concatenate((sums_N[rows] - counts_N[rows] * mean, [-mean, 1 - mean]))
    error = float(np.sqrt((residuals**2).sum() * len(residuals) / (len(residuals) - 1)) / (counts_N.sum() + 2))
    reach = -float(stdtrit(num_independent - 1, alpha / 2)) * error
    bound = chernoff_interval(mean, num_independent, alpha)
    return mean, Interval(max(bound.low, mean - reach), min(bound.high, mean + reach), 1 - alpha)


@dataclass(frozen=True)
class PersonFigures:
    """Figures of persons that attacks have by their shadows, by name; and why one could not be measured, by name."""

    measurements: Mapping[str, Measurement] = field(default_factory=dict, repr=False)
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def joined(self, others: PersonFigures) -> PersonFigures:
        """These figures and the ``others``."""
        return PersonFigures({**self.measurements, **others.measurements}, {**self.unmeasured, **others.unmeasured})


def measure_persons(target: Target, audit: AuditData, attacks: Sequence[Attack], levels: Levels) -> PersonFigures:
    """The worst case by the shadows of each attack on membership that asks for some; no further one is trained."""
    measurements: dict[str, Measurement] = {}
    unmeasured: dict[str, str] = {}
    for attack in attacks:
        asked = capabilities_of(attack)
        if asked.question != MEMBERSHIP or not asked.num_shadows:
            continue
        name = WORST_CASE.of(attack.name)
        try:
            outputs = target.shadows.outputs(audit, count=asked.num_shadows)
        except SafeCompressError as error:
            unmeasured[name] = str(error)
            continue
        phi_KN, is_in_KN = outputs.scaled_logit_KQN[:, 0, audit.is_member], outputs.is_in_KN[:, audit.is_member]
        near, far = (worst_of(phi_KN, is_in_KN, alpha) for alpha in (levels.alpha, levels.simultaneous_alpha))
        if near is None or far is None:
            unmeasured[name] = (
                f"{name} takes {2 * MIN_EXPOSED} members of the verdict pool that each half of {MIN_SHADOWS} or more "
                f"shadow models was trained with and without; {attack.name} has num_shadows={asked.num_shadows} and "
                f"the pool {phi_KN.shape[1]} members. Give more of either"
            )
            continue
        value, interval = near.worst
        measurements[name] = Measurement(name, value, interval, far.worst[1], near.num_rows, WORST_CASE.direction)
    return PersonFigures(measurements, unmeasured)
