"""Likelihood ratios from what shadows say of rows: arrays in, scores out; knows no model.

K shadows, Q queries, N rows, V versions of one model, Z rows to compare with, S sides (in, out), D = S x V. phi is the
scaled logit log(p_y / (1 - p_y)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, gammaln, polygamma

from safecompress.attacks.signals import Floats
from safecompress.errors import AttackError

Bools = NDArray[np.bool_]
Variance = Literal["per_sample", "pooled", "shrunken"]

VARIANCES = ("per_sample", "pooled", "shrunken")
"""Where a row's variance comes from: its own shadows, all rows together, or both, as the data say."""

FLOOR = 1e-6
"""Least variance of a row, as a share of the pooled one: two shadows may happen to agree."""

_MIN_DF, _MAX_DF = 0.1, 1e5
_NEGLIGIBLE = 1e-9


def lira_online(phi_QN: Floats, phi_KQN: Floats, is_in_KN: Bools, *, variance: Variance = "shrunken") -> Floats:
    """log p(phi | in) - log p(phi | out) of each row (N,), averaged over queries (Carlini et al. 2022, algorithm 1).

    ``per_sample``: two normal densities with the mean and the variance of the row's own shadows. ``pooled``: the same
    means, and for each side one variance, that of the residuals phi - mean of all rows. ``shrunken``: see
    ``predictives``. Where no shadow differs from its side's mean, any variance gives the same order: it is 1.

    Differs from the paper: variances are unbiased (n - 1), those of residuals (its global variance is that of phi,
    which mixes in how rows differ), and of a row at least ``FLOOR`` times the pooled one. Raises AttackError for a row
    with fewer than two shadows on a side.
    """
    require_shadows(is_in_KN, num_in=2, num_out=2)
    ratios_QN = [
        _log_ratio(phi_N[:, None], sides_of(phi_KN[:, :, None], is_in_KN), variance)
        for phi_N, phi_KN in zip(phi_QN, phi_KQN.swapaxes(0, 1), strict=True)
    ]
    return np.asarray(np.mean(ratios_QN, axis=0))


def lira_offline(phi_QN: Floats, phi_KQN: Floats, is_in_KN: Bools, *, variance: Variance = "shrunken") -> Floats:
    """(phi - mean_out) / deviation_out of each row (N,), averaged over queries (Carlini et al. 2022, offline).

    ``variance`` as in ``lira_online``; ``shrunken`` takes centre and scale of the Student-t predictive. Differs from
    the paper: the z-score itself; its cdf has the same order but saturates at 1, where many rows tie. Raises
    AttackError for a row with fewer than two shadows that did not train on it.
    """
    require_shadows(is_in_KN, num_in=0, num_out=2)
    scores_QN = []
    for phi_N, phi_KN in zip(phi_QN, phi_KQN.swapaxes(0, 1), strict=True):
        (out,) = _densities([side_of(phi_KN[:, :, None], ~is_in_KN)], variance)
        scores_QN.append((phi_N - out.centre_NV[:, 0]) / np.sqrt(out.scale_NVV[:, 0, 0]))
    return np.asarray(np.mean(scores_QN, axis=0))


def lira_classes(log_p_NC: Floats, log_p_KNC: Floats, is_in_KN: Bools) -> Floats:
    """The mean over classes of log p(l | in) - log p(l | out), l being a class's log-probability (N,).

    Normal densities around a row's means; a class has one variance a side, pooled over rows. Raises AttackError for a
    row with fewer than two shadows on a side.
    """
    require_shadows(is_in_KN, num_in=2, num_out=2)
    sides = sides_of(log_p_KNC, is_in_KN)
    squares_SC = np.stack([np.square(side.residual_KNV).sum(axis=(0, 1)) for side in sides])
    df_S = np.array([side.df_N.sum() for side in sides])
    shared_C = squares_SC.sum(axis=0) / df_S.sum()
    variance_SC = np.maximum(squares_SC / df_S[:, None], FLOOR * np.where(shared_C > 0, shared_C, 1 / FLOOR))
    log_SNC = [
        -(np.log(variance_C) + (log_p_NC - side.mean_NV) ** 2 / variance_C) / 2
        for side, variance_C in zip(sides, variance_SC, strict=True)
    ]
    return np.asarray((log_SNC[0] - log_SNC[1]).mean(axis=1))


def sum_of_standard_scores(*scores_N: Floats) -> Floats:
    """Scores (N,), each divided by its standard deviation over the rows, added up; a constant one adds nothing."""
    return np.asarray(sum(score_N / (score_N.std() or 1.0) for score_N in scores_N))


def joint_lira(phi_NV: Floats, phi_KNV: Floats, is_in_KN: Bools) -> Floats:
    """log p(phi | in) - log p(phi | out) of each row (N,), phi being what all V versions say of it as one vector.

    Shadow k of every version trained on the same rows. The densities are those of ``predictives``. Directions in which
    no shadow differs from its side's mean are left out, so a version given twice counts once. Raises AttackError for a
    row with fewer than two shadows on a side.
    """
    require_shadows(is_in_KN, num_in=2, num_out=2)
    basis_VR = _varying_directions(sides_of(phi_KNV, is_in_KN))
    return _log_ratio(phi_NV @ basis_VR, sides_of(phi_KNV @ basis_VR, is_in_KN), "shrunken")


def log_ratio_online(phi_N: Floats, phi_KN: Floats, is_in_KN: Bools) -> Floats:
    """log p_y - log of the mean p_y of shadows with and without the row, both sides weighing the same (N,).

    The ratio of RMIA (Zarifzadeh et al. 2024). Raises AttackError for a row without a shadow on a side.
    """
    require_shadows(is_in_KN, num_in=1, num_out=1)
    log_p_KN = log_probability(phi_KN)
    sides_SN = np.stack([_log_mean_exp(log_p_KN, is_in_KN), _log_mean_exp(log_p_KN, ~is_in_KN)])
    return np.asarray(log_probability(phi_N) - _log_mean_exp(sides_SN))


def log_ratio_offline(phi_N: Floats, phi_KN: Floats, is_in_KN: Bools, *, a: float) -> Floats:
    """log p_y - log(((1 + a) mean_out + 1 - a) / 2): RMIA's ratio without shadows that saw the row (N,).

    ``a`` in [0, 1] says how p_y of shadows that saw a row follows from p_y of those that did not:
    p_in = a p_out + 1 - a (Zarifzadeh et al. 2024). Raises AttackError for a row that every shadow trained on.
    """
    require_shadows(is_in_KN, num_in=0, num_out=1)
    out_N = _log_mean_exp(log_probability(phi_KN), ~is_in_KN) + math.log((1 + a) / 2)
    both_N = np.logaddexp(out_N, math.log((1 - a) / 2)) if a < 1 else out_N
    return np.asarray(log_probability(phi_N) - both_N)


def log_ratio_references(phi_N: Floats, phi_KN: Floats) -> Floats:
    """log p_y - log of the mean p_y of all references (N,): BASE (Lassila et al. 2025)."""
    return np.asarray(log_probability(phi_N) - _log_mean_exp(log_probability(phi_KN)))


def rmia_scores(log_ratio_N: Floats, log_ratio_Z: Floats, gamma: float) -> Floats:
    """The share of comparison rows z with ratio(x) / ratio(z) > ``gamma``, in [0, 1] (N,) (Zarifzadeh et al. 2024).

    One sort of z and one look-up a row, never the N x Z matrix. A z exactly at the limit is not counted.
    """
    below_N = np.searchsorted(np.sort(log_ratio_Z), log_ratio_N - math.log(gamma), side="left")
    return below_N / len(log_ratio_Z)


def log_probability(phi: Floats) -> Floats:
    """log p_y from phi: -log(1 + exp(-phi)), exact at both ends."""
    return np.asarray(-np.logaddexp(0.0, -phi))


def require_shadows(is_in_KN: Bools, *, num_in: int, num_out: int) -> None:
    """Raise AttackError, with the number of rows, unless every row has that many shadows with and without it."""
    count_N = is_in_KN.sum(axis=0)
    num_shadows, num_rows = is_in_KN.shape
    few_in, few_out = count_N < num_in, num_shadows - count_N < num_out
    if not (few_in | few_out).any():
        return
    raise AttackError(
        f"Every row needs {num_in} or more of the {num_shadows} shadows trained with it and {num_out} or more without. "
        f"Of {num_rows} rows, {int(few_in.sum())} lack the first ({int((count_N == 0).sum())} are in no shadow at all: "
        f"outside the rows that shadows are drawn from) and {int(few_out.sum())} the second. Raise num_shadows, draw "
        "shadows from rows that include these, or use an offline attack, which asks for shadows without the row only."
    )


# --- what shadows of one side say


@dataclass(frozen=True, eq=False)
class Side:
    """Shadows of one side: how many a row has (N,), their mean (N, V), residuals phi - mean (K, N, V), 0 elsewhere."""

    count_N: Floats = field(repr=False)
    mean_NV: Floats = field(repr=False)
    residual_KNV: Floats = field(repr=False)

    @property
    def df_N(self) -> Floats:
        """Degrees of freedom of a row's variance."""
        return self.count_N - 1

    @property
    def products_VV(self) -> Floats:
        """Sum of products of residuals, all rows together."""
        flat = self.residual_KNV.reshape(-1, self.residual_KNV.shape[2])
        return np.asarray(flat.T @ flat)


def side_of(phi_KNV: Floats, is_on_KN: Bools) -> Side:
    """The side that ``is_on_KN`` marks, by masked sums."""
    weight_KN = is_on_KN.astype(np.float64)
    count_N = weight_KN.sum(axis=0)
    # relative to one of the marked, so that the mean of equal values is that value to the bit
    one_NV = phi_KNV[is_on_KN.argmax(axis=0), np.arange(len(count_N))]
    mean_NV = one_NV + np.einsum("knv,kn->nv", phi_KNV - one_NV, weight_KN) / count_N[:, None]
    return Side(count_N, mean_NV, (phi_KNV - mean_NV) * weight_KN[:, :, None])


def sides_of(phi_KNV: Floats, is_in_KN: Bools) -> tuple[Side, Side]:
    """Shadows with the row, and without it."""
    return side_of(phi_KNV, is_in_KN), side_of(phi_KNV, ~is_in_KN)


@dataclass(frozen=True, eq=False)
class Density:
    """A Student-t density a row: degrees of freedom (N,), centre (N, V) and scale (N, V, V); normal where df is inf."""

    df_N: Floats = field(repr=False)
    centre_NV: Floats = field(repr=False)
    scale_NVV: Floats = field(repr=False)

    def log(self, phi_NV: Floats) -> Floats:
        """Log density (N,) at ``phi_NV``."""
        gap_NV = phi_NV - self.centre_NV
        distance_N = (gap_NV * np.linalg.solve(self.scale_NVV, gap_NV[:, :, None])[:, :, 0]).sum(axis=1)
        num_versions = gap_NV.shape[1]
        volume_N = np.linalg.slogdet(self.scale_NVV)[1]
        if np.isinf(self.df_N).all():
            return np.asarray(-(num_versions * math.log(2 * math.pi) + volume_N + distance_N) / 2)
        peak_N = gammaln((self.df_N + num_versions) / 2) - gammaln(self.df_N / 2)
        peak_N = peak_N - (num_versions * np.log(math.pi * self.df_N) + volume_N) / 2
        return np.asarray(peak_N - (self.df_N + num_versions) / 2 * np.log1p(distance_N / self.df_N))


def _log_ratio(phi_NV: Floats, sides: Sequence[Side], variance: Variance) -> Floats:
    inside, outside = _densities(sides, variance)
    return inside.log(phi_NV) - outside.log(phi_NV)


def _densities(sides: Sequence[Side], variance: Variance) -> list[Density]:
    """The density of each side."""
    pooled_VV = _pooled(sides)
    if not pooled_VV.any():
        return [_normal(side, np.eye(len(pooled_VV))) for side in sides]
    if variance == "shrunken":
        return predictives(sides)
    floor_VV = FLOOR * pooled_VV
    if variance == "pooled":
        return [_normal(side, np.maximum(side.products_VV / side.df_N.sum(), floor_VV)) for side in sides]
    return [
        _normal(side, np.maximum((np.square(side.residual_KNV).sum(axis=0) / side.df_N[:, None])[:, :, None], floor_VV))
        for side in sides
    ]


def _pooled(sides: Sequence[Side]) -> Floats:
    """Covariance (V, V) of residuals, all sides together."""
    return np.asarray(sum(side.products_VV for side in sides) / sum(side.df_N.sum() for side in sides))


def _normal(side: Side, covariance: Floats) -> Density:
    rows = len(side.count_N)
    shape = (rows, *covariance.shape[-2:])
    return Density(np.full(rows, np.inf), side.mean_NV, np.broadcast_to(covariance, shape))


def _varying_directions(sides: Sequence[Side]) -> Floats:
    """An orthonormal basis (V, R) of the directions in which residuals vary; all of them where none do."""
    size_V, basis_VV = np.linalg.eigh(_pooled(sides))
    if size_V[-1] <= 0:
        return np.eye(len(size_V))
    return np.asarray(basis_VV[:, size_V > _NEGLIGIBLE * size_V[-1]])


# --- what all rows together say of one row


def predictives(sides: Sequence[Side]) -> list[Density]:
    """What each side's shadows let one expect of phi, with priors learned from all rows: a Student-t density a row.

    A row's covariance on a side is a shape that all rows share times a scale of its own (``_fit_spread``), and the
    row's own variance is drawn to what rows have in common, the more the fewer shadows it has. Means on all sides
    together come from one normal law, so that how far being trained on moves a row, and how that goes with how hard the
    row is, is learned from all of them and carried over to each. Where rows do not differ this ends at ``pooled``, with
    many shadows at ``per_sample``, in both cases with the tails that residuals have.

    Few shadows, and an unsure mean, widen a row's density: it says less. Source: the normal-inverse-gamma predictive
    (Brännvall 2026, BaVarIA-t); variance prior by the moments of log variances (Smyth 2004). Differs from it: the prior
    of means is joint over sides, with a covariance of its own; the mean's posterior takes the row's scale as known; and
    residuals need not be normal.
    """
    shared_VV = _pooled(sides)
    spreads = [_fit_spread(side, shared_VV) for side in sides]
    num_versions = len(shared_VV)
    blocks = [slice(start, start + num_versions) for start in range(0, len(sides) * num_versions, num_versions)]
    noise_NDD = np.zeros((len(sides[0].count_N), blocks[-1].stop, blocks[-1].stop))
    for block, side, spread in zip(blocks, sides, spreads, strict=True):
        noise_NDD[:, block, block] = spread.covariance_NVV / side.count_N[:, None, None]
    centre_ND, unsure_NDD = _shrunken_means(np.concatenate([side.mean_NV for side in sides], axis=1), noise_NDD)
    return [
        Density(spread.df_N, centre_ND[:, block], spread.share * (spread.covariance_NVV + unsure_NDD[:, block, block]))
        for block, spread in zip(blocks, spreads, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Spread:
    """Covariance (N, V, V) of phi around a row's mean, degrees of freedom (N,), and scale over covariance of t's."""

    covariance_NVV: Floats
    df_N: Floats
    share: float


def _fit_spread(side: Side, shared_VV: Floats) -> _Spread:
    """The spread of a side's rows: a shape for all, a scale for each, and tails as heavy as the residuals'.

    The shape is the residual covariance, as if V more residuals had been seen with that of all sides. A row's own scale
    is measured with df degrees of freedom if residuals are normal, with fewer if they are heavy-tailed: what then makes
    sample variances scatter is chance, and must not be taken for a difference between rows.
    """
    num_versions = len(shared_VV)
    weight = num_versions / (num_versions + side.df_N.sum())
    shape_VV = (1 - weight) * side.products_VV / side.df_N.sum() + weight * shared_VV
    white_KNV = side.residual_KNV @ np.linalg.inv(np.linalg.cholesky(shape_VV)).T
    size_KN = np.einsum("knv,knv->kn", white_KNV, white_KNV)
    excess = _excess_kurtosis(size_KN, side.count_N, num_versions)
    df_N = side.df_N * num_versions
    own_N = size_KN.sum(axis=0) / df_N
    df_N = df_N / (1 + excess * (num_versions + 2) / 2)
    prior_df, prior = fit_scale_prior(own_N, df_N)
    scale_N = (prior_df * prior + df_N * own_N) / (prior_df + df_N)
    inverse_tail = excess / (2 + 4 * excess)  # a t law with d degrees of freedom has excess 2 / (d - 4)
    df_N = 1 / (1 / (prior_df + df_N) + inverse_tail)
    return _Spread(scale_N[:, None, None] * shape_VV, df_N, 1 - 2 * inverse_tail)


def _excess_kurtosis(size_KN: Floats, count_N: Floats, num_versions: int) -> float:
    """How far E|r|^4 / (E|r|^2)^2 of residuals exceeds that of a normal law, as a share of the latter; 0 at least.

    ``size_KN`` are squared lengths of white residuals. Each row is compared with itself, so that rows of different
    scale do not pass for heavy tails, and with what ``count_N`` normal values give on average. Two or three values in
    one dimension always give the same, and so say nothing.
    """
    total_N = size_KN.sum(axis=0)
    rows = total_N > 0
    if not rows.any():
        return 0.0
    found_N = count_N[rows] * np.einsum("kn,kn->n", size_KN, size_KN)[rows] / total_N[rows] ** 2
    normal_N = (count_N[rows] - 1) * (num_versions + 2) / (num_versions * (count_N[rows] - 1) + 2)
    return max(0.0, float(found_N.mean() / normal_N.mean()) - 1)


def fit_scale_prior(variance_N: Floats, df_N: Floats) -> tuple[float, float]:
    """Degrees of freedom and scale of the law that the rows' true variances come from, by moments of their logs.

    ``variance_N`` are sample variances with ``df_N`` degrees of freedom. A sample variance's log scatters by
    trigamma(df / 2) for chance alone; what is left over is the rows' difference (Smyth 2004). None left:
    the degrees of freedom are as good as infinite, and all rows share the mean variance; 1 where all of them are 0.
    """
    if not variance_N.any():
        return _MAX_DF, 1.0
    values, index_N = np.unique(df_N, return_inverse=True)  # trigamma is slow, and few counts occur
    chance, shift = polygamma(1, values / 2), digamma(values / 2) - np.log(values / 2)
    mean = float((variance_N * df_N).sum() / df_N.sum())
    floor = 10 * FLOOR * float(np.median(variance_N[variance_N > 0]))
    log_N = np.log(np.maximum(variance_N, floor)) - shift[index_N]
    rest = float(log_N.var() - chance[index_N].mean())
    if rest <= polygamma(1, _MAX_DF / 2):
        return _MAX_DF, mean
    prior_df = 2 * _inverse_trigamma(min(rest, float(polygamma(1, _MIN_DF / 2))))
    return prior_df, math.exp(float(log_N.mean()) + float(digamma(prior_df / 2)) - math.log(prior_df / 2))


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = ``value``, between ``_MIN_DF / 2`` and ``_MAX_DF / 2``."""
    ends = math.log(_MIN_DF / 2) - 1e-6, math.log(_MAX_DF / 2) + 1e-6
    return math.exp(brentq(lambda log_x: float(polygamma(1, math.exp(log_x))) - value, *ends))


def _shrunken_means(mean_ND: Floats, noise_NDD: Floats) -> tuple[Floats, Floats]:
    """Posterior mean (N, D) and covariance (N, D, D) of the rows' true means under a normal prior fitted to them.

    The prior's covariance is that of the means less what their noise adds, cut to its positive part. Noisy rows say
    little about it and weigh little: a handful of them would otherwise drown the rest.
    """
    noise_N = np.trace(noise_NDD, axis1=1, axis2=2)
    weight_N = 1 / (noise_N + np.median(noise_N))
    weight_N = weight_N / weight_N.sum()
    prior_D = weight_N @ mean_ND
    gap_ND = mean_ND - prior_D
    spread_DD = (gap_ND * weight_N[:, None]).T @ gap_ND - np.einsum("n,nij->ij", weight_N, noise_NDD)
    size_D, basis_DD = np.linalg.eigh(spread_DD)
    prior_DD = (basis_DD * np.maximum(size_D, 0.0)) @ basis_DD.T
    gain_NDD = np.linalg.solve(prior_DD + noise_NDD, np.broadcast_to(prior_DD, noise_NDD.shape)).swapaxes(1, 2)
    centre_ND = prior_D + np.einsum("nij,nj->ni", gain_NDD, gap_ND)
    return centre_ND, gain_NDD @ noise_NDD


def _log_mean_exp(values_KN: Floats, is_on_KN: Bools | Literal[True] = True) -> Floats:
    """log of the mean of exp over the marked entries of each column (N,); that of equal values is that value."""
    top_N = np.where(is_on_KN, values_KN, -np.inf).max(axis=0)
    share_KN = np.where(is_on_KN, np.exp(np.minimum(values_KN - top_N, 0.0)), 0.0)
    count_N = np.broadcast_to(is_on_KN, values_KN.shape).sum(axis=0)
    return np.asarray(top_N + np.log(share_KN.sum(axis=0) / count_N))
