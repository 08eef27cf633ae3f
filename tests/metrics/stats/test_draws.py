"""What draws of shadows add to an interval: by hand, where there is nothing to add, and simulated coverage."""

import numpy as np
import pytest
from scipy.stats import norm, t

from safecompress.attacks.membership.lira import ShadowAnswers
from safecompress.attacks.membership.rmia import Rmia
from safecompress.metrics import stats
from safecompress.metrics.measurement import Interval
from safecompress.metrics.stats import (
    DrawNoise,
    advantage_noise,
    auc,
    auc_difference,
    auc_difference_noise,
    auc_interval,
    auc_noise,
    tpr_noise,
)
from safecompress.metrics.stats.draws import HalfGap, draw_noise

HALF = 60
IS_MEMBER = np.arange(2 * HALF) < HALF


def test_draw_noise_by_hand():
    """Gaps 1, 3, -2 of rows that move together: the mean of 1, 9 and 4. What single rows owe to chance is taken off."""
    together = [HalfGap(value, (np.full(4, value),)) for value in (1.0, 3.0, -2.0)]
    assert draw_noise(together) == DrawNoise(14 / 3, 3)
    apart = [HalfGap(0.0, (np.array([1.0, 1.0, -1.0, -1.0]), np.zeros(2)))]  # variance 4/3 over 4 rows
    assert draw_noise([*together, *apart]) == DrawNoise((14 - (4 / 3) / 4) / 4, 4)
    assert draw_noise(apart) == DrawNoise(0.0, 1)
    assert draw_noise([]) == DrawNoise()


def test_rows_without_a_score_are_left_out_of_their_split():
    random = np.random.default_rng(6)
    halves = random.normal(size=(7, 2, 2 * HALF)) + IS_MEMBER * random.normal(size=(7, 2, 1))
    missing = random.random((7, 2 * HALF)) < 0.2
    holed = np.where(missing[:, None], np.nan, halves)
    for split in range(7):
        rows = ~missing[split]
        alone = auc_noise(halves[split : split + 1][:, :, rows], IS_MEMBER[rows])
        assert auc_noise(holed[split : split + 1], IS_MEMBER) == alone
    assert auc_difference_noise(holed, 2 * holed, IS_MEMBER).variance == 0.0
    assert auc_noise(np.full((7, 2, 2 * HALF), np.nan), IS_MEMBER) == DrawNoise()


@pytest.mark.parametrize(("num_shadows", "num_splits"), [(7, 0), (8, 3), (15, 3), (16, 7), (25, 7), (64, 15), (65, 15)])
def test_splits_are_orthogonal_and_keep_pairs_together(num_shadows, num_splits):
    splits = stats.split_halves(num_shadows, 16)
    assert len(splits) == num_splits
    signs = np.zeros((num_splits, num_shadows))
    for sign, (first, second) in zip(signs, splits, strict=True):
        sign[first], sign[second] = 1, -1
        assert abs(len(first) - len(second)) <= num_shadows / 4 + 1
    assert (signs != 0).all()
    paired = num_shadows // 2 * 2
    assert np.array_equal(signs[:, 0:paired:2], signs[:, 1:paired:2])
    if num_shadows in (8, 16, 64):
        assert np.array_equal(signs @ signs.T, num_shadows * np.eye(num_splits))
        assert not signs.sum(axis=1).any()


def test_chance_of_single_rows_is_no_noise_of_draws_and_what_moves_them_all_is():
    random = np.random.default_rng(0)
    row_variance = (2 * HALF + 1) / (12 * HALF**2)
    alone = [auc_noise(random.normal(size=(7, 2, 2 * HALF)), IS_MEMBER).variance for _ in range(60)]
    assert np.mean(alone) < 0.2 * row_variance  # half of the row variance is what its square would be
    shared = random.normal(size=(7, 2, 1)) * IS_MEMBER + 0.01 * random.normal(size=(7, 2, 2 * HALF))
    base = random.normal(size=2 * HALF)
    gaps = [auc(base + first, IS_MEMBER) - auc(base + second, IS_MEMBER) for first, second in shared]
    assert auc_noise(base + shared, IS_MEMBER).variance == pytest.approx(np.mean(np.square(gaps)) / 4, rel=0.1)


def test_equal_halves_have_no_noise():
    same = np.tile(np.random.default_rng(1).normal(size=2 * HALF), (7, 2, 1))
    for noise in (
        auc_noise(same, IS_MEMBER),
        advantage_noise(same, IS_MEMBER, 0.0),
        tpr_noise(same, IS_MEMBER, 0.01),
        auc_difference_noise(same, same + 1, IS_MEMBER),
    ):
        assert noise == DrawNoise(0.0, 7)


def test_noise_of_calls():
    """In one half of each split every member is called, in the other half none: the advantage is 1 or 0."""
    halves = np.stack([np.where(IS_MEMBER, 1.0, 0.0), np.zeros(2 * HALF)])[None].repeat(7, axis=0)
    assert advantage_noise(halves, IS_MEMBER, 0.5) == DrawNoise(0.25, 7)
    assert tpr_noise(halves, IS_MEMBER, 0.01) == DrawNoise(0.25, 7)


def test_shadows_that_move_both_models_alike_are_no_noise_of_their_difference():
    random = np.random.default_rng(2)
    both = random.normal(size=2 * HALF) + IS_MEMBER * (1 + random.normal(size=(7, 2, 1)))
    assert auc_noise(both, IS_MEMBER).variance > 0.001
    assert auc_difference_noise(both, 2 * both + 1, IS_MEMBER).variance == 0.0


def test_noise_widens_by_adding_variances():
    noise = DrawNoise(0.03**2, 7)
    total = (0.1 / norm.ppf(0.975)) ** 2 + 0.03**2
    wide = t.ppf(0.975, 7 * (total / 0.03**2) ** 2) * np.sqrt(total)
    assert noise.widen(0.6, Interval(0.5, 0.8, 0.95), 0, 1).low == pytest.approx(0.6 - wide)
    assert noise.widen(0.99, Interval(0.5, 0.999, 0.95), 0, 1).high == 1
    assert noise.widened(0.0, 0.05) == pytest.approx(t.ppf(0.975, 7) * 0.03)
    scores = np.random.default_rng(3).normal(size=2 * HALF) + 0.5 * IS_MEMBER
    plain, full = (auc_interval(scores, IS_MEMBER, 0.05, n) for n in (DrawNoise(), noise))
    assert plain == auc_interval(scores, IS_MEMBER, 0.05)
    half = (plain.high - plain.low) / 2
    assert full.high - full.low == pytest.approx(2 * noise.widened(half, 0.05), rel=0.02)
    perfect = auc_interval(IS_MEMBER.astype(float), IS_MEMBER, 0.05, noise)
    assert perfect.low < auc_interval(IS_MEMBER.astype(float), IS_MEMBER, 0.05).low and perfect.high == 1
    other = scores + np.random.default_rng(4).normal(size=2 * HALF)
    plain_gap, wide_gap = (auc_difference(scores, other, IS_MEMBER, 0.05, n) for n in (DrawNoise(), noise))
    assert wide_gap.interval.low < plain_gap.interval.low and wide_gap.p_value > plain_gap.p_value


def simulated(leak, shared, num_shadows, random):
    """What an attacker sees; shadows differ in how much they remember, and the target is always the same."""
    first = random.random((num_shadows // 2, 2 * HALF)) < 0.5
    is_in = np.stack([first, ~first], axis=1).reshape(num_shadows, -1)
    mean, gap = 2 + random.normal(size=2 * HALF), leak * random.exponential(size=2 * HALF)
    size = np.exp(shared * random.normal(size=(num_shadows, 1)))
    shadows = mean + shared * random.normal(size=(num_shadows, 1)) + is_in * gap * size
    target = mean + IS_MEMBER * gap + random.normal(size=2 * HALF)
    return ShadowAnswers(target, shadows + random.normal(size=is_in.shape), is_in)


@pytest.mark.parametrize(("leak", "shared"), [(0.0, 0.0), (2.0, 1.5)])
def test_the_interval_covers_the_figure_expected_over_rows_and_draws(leak, shared):
    """At the null it is hardly wider than over rows alone; where draws move the figure, that one covers less."""
    random, attack, found = np.random.default_rng(5), Rmia(8), []
    for _ in range(60):
        answers = simulated(leak, shared, 8, random)
        scores, halves = attack.rate(answers), attack.rate_halves(answers)
        found.append(
            (
                auc(scores, IS_MEMBER),
                auc_interval(scores, IS_MEMBER, 0.05),
                auc_interval(scores, IS_MEMBER, 0.05, auc_noise(halves, IS_MEMBER)),
            )
        )
    truth = np.mean([value for value, *_ in found])
    plain, full = (np.mean([one[place].low <= truth <= one[place].high for one in found]) for place in (1, 2))
    wider = np.mean([f.high - f.low for *_, f in found]) / np.mean([p.high - p.low for _, p, _ in found])
    assert full > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60)
    assert wider < 1.05 if leak == 0 else plain < full and wider > 1.08, (plain, full, wider)
