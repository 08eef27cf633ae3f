"""Likelihood ratios from shadows: hand-worked values, a slow row-by-row oracle, and simulated truth."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, logsumexp, polygamma
from scipy.stats import multivariate_t, norm

from safecompress.attacks.membership import likelihood
from safecompress.attacks.membership.likelihood import (
    FLOOR,
    VARIANCES,
    fit_scale_prior,
    joint_lira,
    lira_offline,
    lira_online,
    log_probability,
    log_ratio_offline,
    log_ratio_online,
    log_ratio_references,
    require_shadows,
    rmia_scores,
)
from safecompress.errors import AttackError
from safecompress.metrics import stats


def halves(num_shadows, num_rows, random):
    """Every row in half of the shadows."""
    order = np.broadcast_to(np.arange(num_shadows)[:, None], (num_shadows, num_rows))
    return random.permuted(order, axis=0) < num_shadows // 2


def simulated(num_shadows, num_rows=2000, *, spread=0.5, effect=1.0, tails=None, queries=1, seed=0):
    """phi (Q, N), its shadows' (K, Q, N), who is in (K, N), members (N,), and the log ratio that knows the truth (N,).

    A row's mean without it is N(2, 3), being in adds about ``effect``, deviations are lognormal by ``spread``. Noise is
    normal, or Student's with ``tails`` degrees of freedom.
    """
    random = np.random.default_rng(seed)
    mean_out = random.normal(2, 3, num_rows)
    mean_in = mean_out + np.maximum(0, effect + 0.5 * random.normal(size=num_rows))
    out = np.exp(spread * random.normal(size=num_rows))
    inside = 0.7 * out * np.exp(0.3 * spread * random.normal(size=num_rows))
    is_in = halves(num_shadows, num_rows, random)
    is_member = np.arange(num_rows) < num_rows // 2

    def noise(*shape):
        return random.normal(size=shape) if tails is None else random.standard_t(tails, size=shape)

    phi_KQN = np.where(is_in[:, None], mean_in, mean_out)
    phi_KQN = phi_KQN + np.where(is_in[:, None], inside, out) * noise(num_shadows, queries, num_rows)
    phi_QN = np.where(is_member, mean_in, mean_out) + np.where(is_member, inside, out) * noise(queries, num_rows)
    truth = (norm.logpdf(phi_QN, mean_in, inside) - norm.logpdf(phi_QN, mean_out, out)).mean(axis=0)
    return phi_QN, phi_KQN, is_in, is_member, truth


# --- LiRA by hand

# one row, in shadows 0-2 (1, 2, 3: mean 2, variance 1), out of 3 and 4 (-2, 0: mean -1, variance 2)
BY_HAND = np.array([[[1.0]], [[2.0]], [[3.0]], [[-2.0]], [[0.0]]]), np.array([[True]] * 3 + [[False]] * 2)


def test_online_by_hand():
    """At phi = 1: gap 1 at variance 1 inside, gap 2 at variance 2 outside; log sqrt(2) - 1/2 + 4/4."""
    for variance in ("per_sample", "pooled"):
        found = lira_online(np.array([[1.0]]), *BY_HAND, variance=variance)
        assert found == pytest.approx([np.log(2) / 2 - 0.5 + 1.0])


def test_offline_by_hand_is_the_z_score_itself():
    for variance in ("per_sample", "pooled"):
        assert lira_offline(np.array([[1.0]]), *BY_HAND, variance=variance) == pytest.approx([2 / np.sqrt(2)])
        far = lira_offline(np.array([[99.0]]), *BY_HAND, variance=variance)
        assert far == pytest.approx([100 / np.sqrt(2)])


def test_pooled_variance_is_that_of_residuals_not_of_rows_and_each_side_has_its_own():
    """Two rows far apart, each with residuals of 1 inside and 2 outside: variances 2 and 8, not thousands."""
    phi = np.array([[99.0, -1], [101, 1], [58, -42], [62, -38]])[:, None]
    is_in = np.array([[True, True], [True, True], [False, False], [False, False]])
    found = lira_online(np.array([[99.0, -1.0]]), phi, is_in, variance="pooled")
    expected = norm.logpdf(-1, 0, np.sqrt(2)) - norm.logpdf(39, 0, np.sqrt(8))
    assert found == pytest.approx([expected, expected])


def test_queries_are_averaged_after_scoring_each():
    phi_QN, phi_KQN, is_in, *_ = simulated(8, 30, queries=3)
    for score in (lira_online, lira_offline):
        for variance in VARIANCES:
            each = [score(phi_QN[[q]], phi_KQN[:, [q]], is_in, variance=variance) for q in range(3)]
            assert np.allclose(score(phi_QN, phi_KQN, is_in, variance=variance), np.mean(each, axis=0))


# --- LiRA against a slow oracle


def slow_sides(phi_KN, is_in, row):
    return [phi_KN[is_in[:, row] == side, row] for side in (True, False)]


def slow_lira(phi_QN, phi_KQN, is_in, variance, mode):
    """Row by row, with SciPy's normal law."""
    total = np.zeros(phi_QN.shape[1])
    for phi_N, phi_KN in zip(phi_QN, phi_KQN.swapaxes(0, 1), strict=True):
        rows = range(len(phi_N))
        samples = [slow_sides(phi_KN, is_in, row) for row in rows]
        offset = 0 if mode == "online" else 1
        squares = np.array([[((x - x.mean()) ** 2).sum() for x in sample[offset:]] for sample in samples])
        freedom = np.array([[len(x) - 1 for x in sample[offset:]] for sample in samples])
        floor = FLOOR * squares.sum() / freedom.sum()
        pooled = np.maximum(squares.sum(axis=0) / freedom.sum(axis=0), floor)
        for row in rows:
            own = np.maximum(squares[row] / freedom[row], floor)
            deviation = np.sqrt(pooled if variance == "pooled" else own)
            laws = [norm(x.mean(), s) for x, s in zip(samples[row][offset:], deviation, strict=True)]
            if mode == "online":
                total[row] += laws[0].logpdf(phi_N[row]) - laws[1].logpdf(phi_N[row])
            else:
                total[row] += (phi_N[row] - laws[0].mean()) / laws[0].std()
    return total / len(phi_QN)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("variance", ["per_sample", "pooled"])
def test_masked_sums_equal_the_row_by_row_version(variance, mode):
    phi_QN, phi_KQN, is_in, *_ = simulated(9, 60, queries=2, seed=3)
    is_in[:, ::3] ^= np.random.default_rng(0).random((9, 20)) < 0.15  # uneven counts
    is_in[:2], is_in[2:4] = True, False
    fast = (lira_online if mode == "online" else lira_offline)(phi_QN, phi_KQN, is_in, variance=variance)
    assert len(np.unique(is_in.sum(axis=0))) > 2
    assert np.allclose(fast, slow_lira(phi_QN, phi_KQN, is_in, variance, mode), rtol=1e-10, atol=1e-10)


def slow_prior(variances, freedom):
    """Smyth's moments, solved on a fine grid of degrees of freedom."""
    log = np.log(np.maximum(variances, 10 * FLOOR * np.median(variances)))
    log = log - digamma(freedom / 2) + np.log(freedom / 2)
    grid = np.geomspace(0.1, 1e5, 200_001)
    prior_df = grid[np.argmin(np.abs(polygamma(1, grid / 2) - (log.var() - polygamma(1, freedom / 2).mean())))]
    return prior_df, np.exp(log.mean() + digamma(prior_df / 2) - np.log(prior_df / 2))


def slow_excess(samples, shape):
    """Mardia's kurtosis of each row's residuals, beside what normal rows of that size give by simulation."""
    inverse, random = np.linalg.inv(shape), np.random.default_rng(0)

    def kurtosis(residuals, inverse):
        sizes = np.einsum("nkv,vw,nkw->nk", residuals, inverse, residuals)
        return (sizes**2).mean(axis=1) / sizes.mean(axis=1) ** 2

    found = [kurtosis((x - x.mean(0))[None], inverse)[0] for x in samples]
    normal = {}
    for count in {len(x) for x in samples}:
        draws = random.normal(size=(30_000, count, len(shape)))
        normal[count] = kurtosis(draws - draws.mean(1, keepdims=True), np.eye(len(shape))).mean()
    return max(0, np.mean(found) / np.mean([normal[len(x)] for x in samples]) - 1)


def slow_shrunken(phi_NV, phi_KNV, is_in):
    """Row by row, with SciPy's multivariate Student law; nothing of the fast version is used."""
    num_rows, num_versions = phi_NV.shape
    samples = [[phi_KNV[is_in[:, row] == side, row] for row in range(num_rows)] for side in (True, False)]
    scatters = [[(x - x.mean(0)).T @ (x - x.mean(0)) for x in side] for side in samples]
    freedoms = [np.array([len(x) - 1 for x in side]) for side in samples]
    shared = sum(map(sum, scatters)) / sum(map(sum, freedoms))
    laws = []
    for side, scatter, freedom in zip(samples, scatters, freedoms, strict=True):
        weight = num_versions / (num_versions + freedom.sum())
        shape = (1 - weight) * sum(scatter) / freedom.sum() + weight * shared
        own = np.array([np.trace(np.linalg.solve(shape, x)) for x in scatter]) / (freedom * num_versions)
        excess = slow_excess(side, shape)
        df = freedom * num_versions / (1 + excess * (num_versions + 2) / 2)
        prior_df, prior = slow_prior(own, df)
        scale = (prior_df * prior + df * own) / (prior_df + df)
        tail = 4 + 2 / excess if excess > 0 else np.inf
        laws.append((1 / (1 / (prior_df + df) + 1 / tail), [x * shape for x in scale], 1 - 2 / tail))
    zero = np.zeros((num_versions, num_versions))
    means, noises = [], []
    for row in range(num_rows):
        means.append(np.concatenate([samples[side][row].mean(0) for side in (0, 1)]))
        inside, outside = (laws[side][1][row] / len(samples[side][row]) for side in (0, 1))
        noises.append(np.block([[inside, zero], [zero, outside]]))
    traces = np.array([np.trace(noise) for noise in noises])
    weights = 1 / (traces + np.median(traces))
    centre = np.average(means, axis=0, weights=weights)
    prior = np.cov(np.transpose(means), aweights=weights, ddof=0) - np.average(noises, axis=0, weights=weights)
    sizes, basis = np.linalg.eigh(prior)
    prior = basis @ np.diag(np.maximum(sizes, 0)) @ basis.T
    scores = np.empty(num_rows)
    for row in range(num_rows):
        gain = prior @ np.linalg.inv(prior + noises[row])
        mean, unsure = centre + gain @ (means[row] - centre), prior - gain @ prior
        logs = []
        for side in (0, 1):
            block = slice(side * num_versions, (side + 1) * num_versions)
            df, covariances, share = laws[side]
            law = multivariate_t(mean[block], share * (covariances[row] + unsure[block, block]), df=df[row])
            logs.append(law.logpdf(phi_NV[row]))
        scores[row] = logs[0] - logs[1]
    return scores


def versions_of(num_shadows, num_rows, num_versions, *, agreement=0.5, spread=0.5, tails=None, seed=0):
    """phi (N, V), shadows' (K, N, V), who is in, members: versions share ``agreement`` of their residuals' variance."""
    random = np.random.default_rng(seed)
    is_in, is_member = halves(num_shadows, num_rows, random), np.arange(num_rows) < num_rows // 2
    base = random.normal(2, 3, (num_rows, 1)) + 0.5 * random.normal(size=(num_rows, num_versions))
    scale = np.exp(spread * random.normal(size=(num_rows, 1)))

    def answers(inside):
        shared = random.normal(size=(*inside.shape, 1))
        own = random.normal(size=(*inside.shape, num_versions))
        noise = np.sqrt(agreement) * shared + np.sqrt(1 - agreement) * own
        stretch = 1 if tails is None else np.sqrt(tails / random.chisquare(tails, (*inside.shape, 1)))
        return base + 1.0 * inside[..., None] + scale * stretch * noise

    return answers(is_member), answers(is_in), is_in, is_member


@pytest.mark.slow
@pytest.mark.parametrize("tails", [None, 3])
@pytest.mark.parametrize("num_versions", [1, 3])
def test_shrunken_equals_the_row_by_row_version(num_versions, tails):
    phi, shadows, is_in, _ = versions_of(13, 60, num_versions, tails=tails, seed=1)
    is_in[:2, :20], is_in[2:4, :20] = True, False
    assert len(np.unique(is_in.sum(axis=0))) > 1
    fast, slow = joint_lira(phi, shadows, is_in), slow_shrunken(phi, shadows, is_in)
    assert np.allclose(fast, slow, rtol=0.01, atol=0.005)  # the slow one simulates what a normal law's kurtosis is


def test_shrunken_offline_reads_shadows_without_the_row_only():
    phi_QN, phi_KQN, is_in, *_ = simulated(12, 50)
    moved = phi_KQN + 100 * is_in[:, None]
    assert np.array_equal(lira_offline(phi_QN, phi_KQN, is_in), lira_offline(phi_QN, moved, is_in))
    assert not np.allclose(lira_online(phi_QN, phi_KQN, is_in), lira_online(phi_QN, moved, is_in))


# --- what shrinking is for


@pytest.mark.slow
@pytest.mark.parametrize("num_shadows", [4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("tails", [None, 4])
def test_shrunken_is_at_least_as_good_as_both_others(num_shadows, spread, tails):
    """At every number of shadows, whether rows differ in their spread or not; and it nears the best there is."""
    aucs = {variance: [] for variance in (*VARIANCES, "truth")}
    offline = {variance: [] for variance in VARIANCES}
    for seed in range(2):
        phi, shadows, is_in, is_member, truth = simulated(num_shadows, spread=spread, tails=tails, seed=seed)
        for variance in VARIANCES:
            aucs[variance].append(stats.auc(lira_online(phi, shadows, is_in, variance=variance), is_member))
            offline[variance].append(stats.auc(lira_offline(phi, shadows, is_in, variance=variance), is_member))
        aucs["truth"].append(stats.auc(truth, is_member))
    for found, slack in ((aucs, 0.002), (offline, 0.004)):
        shrunken, *others = (np.mean(found[variance]) for variance in ("shrunken", "per_sample", "pooled"))
        assert shrunken >= max(others) - slack
    if num_shadows == 128 and tails is None:
        assert np.mean(aucs["shrunken"]) >= np.mean(aucs["truth"]) - 0.01
    if num_shadows == 4 and tails is None and spread <= 0.5:
        assert np.mean(aucs["shrunken"]) >= np.mean(aucs["pooled"]) + 0.015


def test_with_one_variance_for_all_and_many_shadows_the_three_agree():
    phi, shadows, is_in, _, truth = simulated(400, 300, spread=0.0)
    for variance in VARIANCES:
        assert np.corrcoef(lira_online(phi, shadows, is_in, variance=variance), truth)[0, 1] > 0.98


@pytest.mark.parametrize(("prior_df", "counts"), [(3.0, (1,)), (3.0, (7,)), (8.0, (3, 4)), (30.0, (15,))])
def test_the_scale_prior_is_found_again(prior_df, counts):
    random = np.random.default_rng(0)
    df = random.choice(counts, 40_000).astype(float)
    true = 2.5 * prior_df / random.chisquare(prior_df, len(df))
    found_df, found = fit_scale_prior(true * random.chisquare(df) / df, df)
    assert found_df == pytest.approx(prior_df, rel=0.25)
    assert found == pytest.approx(2.5, rel=0.05)


def test_equal_variances_are_recognised():
    random = np.random.default_rng(1)
    df = np.full(20_000, 7.0)
    found_df, found = fit_scale_prior(2.5 * random.chisquare(df) / df, df)
    assert found_df > 200
    assert found == pytest.approx(2.5, rel=0.02)
    assert fit_scale_prior(np.full(5, 2.0), np.full(5, 3.0)) == (1e5, 2.0)
    assert fit_scale_prior(np.zeros(5), np.full(5, 3.0)) == (1e5, 1.0)


# --- properties


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("score", [lira_online, lira_offline])
def test_invariance(score, variance):
    """Order of rows and of shadows, a shift and a scale of phi: none changes the score."""
    phi, shadows, is_in, *_ = simulated(8, 40, queries=2)
    found = score(phi, shadows, is_in, variance=variance)
    rows, order = np.random.default_rng(0).permutation(40), np.random.default_rng(1).permutation(8)
    turned = score(phi[:, rows], shadows[:, :, rows], is_in[:, rows], variance=variance)
    assert np.allclose(turned, found[rows], atol=1e-8)
    assert np.allclose(score(phi, shadows[order], is_in[order], variance=variance), found, atol=1e-8)
    assert np.allclose(score(3 * phi + 7, 3 * shadows + 7, is_in, variance=variance), found, atol=1e-6)


@pytest.mark.parametrize("variance", VARIANCES)
def test_changing_sides_changes_the_sign(variance):
    phi, shadows, is_in, *_ = simulated(8, 40)
    found = lira_online(phi, shadows, is_in, variance=variance)
    assert np.allclose(lira_online(phi, shadows, ~is_in, variance=variance), -found, atol=1e-10)


def uneven(num_shadows, num_rows, seed):
    """Draws in which counts differ from row to row, two on each side at least."""
    random = np.random.default_rng(seed)
    is_in = random.random((num_shadows, num_rows)) < 0.5
    is_in[:2], is_in[2:4] = True, False
    return random.permuted(is_in, axis=0)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.floats(-30, 30),
    st.floats(-30, 30),
    st.integers(4, 12),
    st.integers(2, 30),
    st.integers(0, 99),
    st.sampled_from(VARIANCES),
)
def test_a_constant_model_gives_equal_scores(target, shadow, num_shadows, num_rows, seed, variance):
    """Whatever the counts: a row that all models judge alike must not stand out by how many shadows had it."""
    is_in = uneven(num_shadows, num_rows, seed)
    phi, shadows = np.full((1, num_rows), target), np.full((num_shadows, 1, num_rows), shadow)
    for score in (lira_online, lira_offline):
        found = score(phi, shadows, is_in, variance=variance)
        assert np.isfinite(found).all()
        assert (found == found[0]).all()
    joint = joint_lira(np.stack([phi[0], phi[0]], -1), np.stack([shadows[:, 0]] * 2, -1), is_in)
    for found in (
        joint,
        log_ratio_online(phi[0], shadows[:, 0], is_in),
        log_ratio_offline(phi[0], shadows[:, 0], is_in, a=0.3),
        log_ratio_references(phi[0], shadows[:, 0]),
    ):
        assert (found == found[0]).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_shadows_that_agree_to_the_bit_still_tell_a_memorised_row(variance):
    """Each row has its own answer, 12 higher when trained on, without any chance: no variance to divide by."""
    random = np.random.default_rng(0)
    base, is_in, is_member = random.normal(size=40), halves(6, 40, random), np.arange(40) < 20
    shadows = (base + 12 * is_in)[:, None]
    for score in (lira_online, lira_offline):
        found = score((base + 12 * is_member)[None], shadows, is_in, variance=variance)
        assert np.isfinite(found).all()
        assert stats.auc(found, is_member) == 1.0


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("quiet", [True, False])
def test_one_side_or_some_rows_without_variance_stay_finite(variance, quiet):
    """Members' answers saturate in every shadow (one side), or a third of the rows do (both sides)."""
    phi, shadows, is_in, *_ = simulated(6, 60, effect=2.0)
    if quiet:
        shadows[:, 0][is_in] = np.broadcast_to(shadows[0, 0], is_in.shape)[is_in]
    else:
        shadows[:, :, ::3] = shadows[0, :, ::3]
    assert np.isfinite(lira_online(phi, shadows, is_in, variance=variance)).all()
    assert np.isfinite(lira_offline(phi, shadows, is_in, variance=variance)).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_one_row_alone_has_a_score(variance):
    phi, shadows, is_in, *_ = simulated(8, 1)
    assert np.isfinite(lira_online(phi, shadows, is_in, variance=variance)).all()


def test_rows_without_enough_shadows_are_counted():
    is_in = np.zeros((5, 10), dtype=bool)
    is_in[:2, :7] = True
    is_in[0, 7] = True
    is_in[:, 8] = True
    with pytest.raises(AttackError, match=r"10 rows, 2 lack.*\(1 are.* 1 the sec"):
        require_shadows(is_in, num_in=2, num_out=2)
    require_shadows(is_in[:, :7], num_in=2, num_out=3)
    require_shadows(is_in[:, 9:], num_in=0, num_out=5)
    with pytest.raises(AttackError, match=r"0 lack the first.*and 7 the second\. Raise num_shadows, draw"):
        require_shadows(is_in[:, :7], num_in=2, num_out=4)


@pytest.mark.parametrize("count", [0, 1])
def test_each_score_refuses_rows_that_it_cannot_judge(count):
    """One shadow on a side is too few for LiRA; none is too few for RMIA."""
    phi, shadows, is_in, *_ = simulated(6, 10)
    few_in, few_out = is_in.copy(), is_in.copy()
    few_in[:, 0] = np.arange(6) < count
    few_out[:, 0] = np.arange(6) >= count
    for broken in (few_in, few_out):
        with pytest.raises(AttackError, match=r"2 or more.* 6\b"):
            lira_online(phi, shadows, broken)
        with pytest.raises(AttackError, match=r"2 or more.* 6\b"):
            joint_lira(phi.T, shadows.swapaxes(1, 2), broken)
    with pytest.raises(AttackError, match="2 or more without"):
        lira_offline(phi, shadows, few_out)
    assert np.isfinite(lira_offline(phi, shadows, few_in)).all()
    if count == 0:
        for broken in (few_in, few_out):
            with pytest.raises(AttackError, match=r"1 or more.* 6\b"):
                log_ratio_online(phi[0], shadows[:, 0], broken)
        with pytest.raises(AttackError, match="1 or more without"):
            log_ratio_offline(phi[0], shadows[:, 0], few_out, a=0.3)


# --- joint


def test_joint_of_one_version_is_lira():
    phi, shadows, is_in, *_ = simulated(8, 50)
    assert np.allclose(joint_lira(phi.T, shadows.swapaxes(1, 2), is_in), lira_online(phi, shadows, is_in))


@pytest.mark.parametrize("copies", [2, 3])
def test_a_version_given_twice_counts_once(copies):
    phi, shadows, is_in, *_ = simulated(8, 200)
    joint = joint_lira(np.repeat(phi.T, copies, 1), np.repeat(shadows.swapaxes(1, 2), copies, 2), is_in)
    assert np.allclose(joint, lira_online(phi, shadows, is_in), rtol=1e-6, atol=1e-8)


def test_joint_finds_more_than_any_version_does():
    phi, shadows, is_in, is_member = versions_of(16, 2000, 2, agreement=0.2)
    single = [stats.auc(lira_online(phi.T[[v]], shadows[:, :, v][:, None], is_in), is_member) for v in range(2)]
    assert stats.auc(joint_lira(phi, shadows, is_in), is_member) > max(single) + 0.03


def test_joint_reads_a_difference_that_hides_in_shared_noise():
    """Versions that go up and down together by far more than training moves them: only their difference tells."""
    random = np.random.default_rng(0)
    is_in, is_member = halves(16, 1000, random), np.arange(1000) < 500

    def answers(inside):
        shared, own = 5 * random.normal(size=inside.shape), 0.5 * random.normal(size=inside.shape)
        return np.stack([shared, shared + own + inside], axis=-1)

    phi, shadows = answers(is_member), answers(is_in)
    single = stats.auc(lira_online(phi[:, 1][None], shadows[:, :, 1][:, None], is_in), is_member)
    assert single < 0.6 < 0.85 < stats.auc(joint_lira(phi, shadows, is_in), is_member)


def test_joint_does_not_depend_on_the_order_of_versions_or_on_their_units():
    phi, shadows, is_in, _ = versions_of(8, 60, 3)
    found = joint_lira(phi, shadows, is_in)
    mix = np.array([[0, 0, 2.0], [1, 0, 0], [0, 1, 1]])
    assert np.allclose(joint_lira(phi @ mix + 1, shadows @ mix + 1, is_in), found, atol=1e-1)
    assert np.allclose(joint_lira(phi[:, ::-1], shadows[:, :, ::-1], is_in), found, atol=1e-8)


# --- RMIA and BASE


def test_log_probability_at_both_ends():
    assert np.allclose(log_probability(np.array([-800.0, 0.0, 40.0])), [-800.0, -np.log(2), -np.exp(-40)], rtol=1e-14)


def phi_of(probability):
    return np.log(probability) - np.log1p(-np.asarray(probability))


def test_ratios_by_hand():
    """p_y .9; shadows .8 with the row, .2, .4 and .6 without: means .8 and .4, balanced .6, all four .5."""
    phi_N, phi_KN = phi_of([0.9]), phi_of([[0.8], [0.2], [0.4], [0.6]])
    is_in = np.array([[True], [False], [False], [False]])
    assert log_ratio_online(phi_N, phi_KN, is_in) == pytest.approx(np.log([0.9 / 0.6]))
    assert log_ratio_references(phi_N, phi_KN) == pytest.approx(np.log([0.9 / 0.5]))
    # ((1 + .3) .4 + .7) / 2 = .61
    assert log_ratio_offline(phi_N, phi_KN, is_in, a=0.3) == pytest.approx(np.log([0.9 / 0.61]))
    assert log_ratio_offline(phi_N, phi_KN, is_in, a=1.0) == pytest.approx(np.log([0.9 / 0.4]))
    assert log_ratio_offline(phi_N, phi_KN, is_in, a=0.0) == pytest.approx(np.log([0.9 / 0.7]))


def test_ratios_where_probabilities_underflow():
    """p_y of e^-900 and e^-1000 are 0 as floats; their ratio is not."""
    phi_N, phi_KN = np.array([-900.0]), np.array([[-1000.0], [-1000.0]])
    is_in = np.array([[True], [False]])
    assert log_ratio_online(phi_N, phi_KN, is_in) == pytest.approx([100.0])
    assert log_ratio_references(phi_N, phi_KN) == pytest.approx([100.0])
    assert log_ratio_offline(phi_N, phi_KN, is_in, a=1.0) == pytest.approx([100.0])
    phi_KN[0] = 30.0  # e^1000 times what the other side says: no overflow either (warnings are errors)
    assert log_ratio_offline(phi_N, phi_KN, is_in, a=1.0) == pytest.approx([100.0])
    assert log_ratio_online(phi_N, phi_KN, is_in) == pytest.approx([-900.0 + np.log(2)])


@pytest.mark.filterwarnings("error")
def test_ratios_equal_a_plain_logsumexp():
    phi_QN, phi_KQN, is_in, *_ = simulated(12, 200)
    phi_N, phi_KN = 20 * phi_QN[0], 20 * phi_KQN[:, 0]
    p, q = -np.logaddexp(0, -phi_N), -np.logaddexp(0, -phi_KN)
    inside, outside = (
        np.array([logsumexp(q[side[:, n], n]) - np.log(side[:, n].sum()) for n in range(200)])
        for side in (is_in, ~is_in)
    )
    assert np.allclose(log_ratio_online(phi_N, phi_KN, is_in), p - np.logaddexp(inside, outside) + np.log(2))
    assert np.allclose(log_ratio_references(phi_N, phi_KN), p - logsumexp(q, axis=0) + np.log(12))
    offline = np.logaddexp(np.log(1.3) + outside, np.log(0.7)) - np.log(2)
    assert np.allclose(log_ratio_offline(phi_N, phi_KN, is_in, a=0.3), p - offline)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-8, 8), min_size=1, max_size=40),
    st.lists(st.integers(-8, 8), min_size=1, max_size=40),
    st.sampled_from([0.5, 1.0, 2.0, 8.0]),
)
def test_one_sort_equals_the_matrix_with_ties(exponents_N, exponents_Z, gamma):
    """Ratios and gamma are powers of two, so that the matrix of quotients is exact and full of ties."""
    ratio_N, ratio_Z = 2.0 ** np.array(exponents_N), 2.0 ** np.array(exponents_Z)
    matrix = (ratio_N[:, None] / ratio_Z[None] > gamma).mean(axis=1)
    base_two = rmia_scores(np.array(exponents_N) * 1.0, np.array(exponents_Z) * 1.0, np.exp(np.log2(gamma)))
    assert np.array_equal(base_two, matrix)


def test_one_sort_is_fast_and_small_and_equal():
    random = np.random.default_rng(0)
    x, z = random.normal(size=20_000), random.normal(size=10_000)
    tracemalloc.start()
    began = time.thread_time()
    found = rmia_scores(x, z, 2.0)
    elapsed = time.thread_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    assert elapsed < 0.5  # of this thread's own time, 0.005 s: other work does not count
    few = slice(0, 200)
    assert np.array_equal(found[few], ((x[few, None] - np.log(2.0)) > z[None]).mean(axis=1))


def test_no_loop_over_rows():
    """20,000 rows: milliseconds when vectorised, seconds row by row."""
    phi, shadows, is_in, *_ = simulated(16, 20_000)
    for variance in VARIANCES:
        began = time.thread_time()
        lira_online(phi, shadows, is_in, variance=variance)
        assert time.thread_time() - began < 1.0


def test_the_names_of_variances_are_those_of_the_type():
    assert likelihood.Variance.__args__ == VARIANCES
