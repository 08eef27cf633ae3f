"""Means, t intervals, pairs, and what counts as unequal, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_comparison import figure, made_up, tiny_study

from safecompress.studies.comparison import MethodEntry
from safecompress.studies.comparison.summary import difference, groups_of, is_unequal, pairs_with, plain_dense, spread
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import SafeCompress, Static

STUDY = tiny_study([Dense(), Static(), MethodEntry("ours", SafeCompress())], seeds=(0, 1, 2), densities=(0.1, 0.5))
COMPARISON = STUDY.comparison


def test_a_spread_by_hand():
    """Of 1, 2, 6: mean 3, standard deviation sqrt(7), t at .975 with 2 degrees of freedom 4.30265."""
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.lowest, found.highest, found.count) == (3.0, 1.0, 6.0, 3)
    assert found.half == pytest.approx(4.302653 * 7**0.5 / 3**0.5)
    assert found.sign == 0
    assert (spread([0.1, 0.11, 0.1]).sign, spread([-0.1, -0.11, -0.1]).sign) == (1, -1)


def test_under_three_seeds_nothing_is_shown():
    assert spread([0.1, 0.1001]).half < 0.1 and spread([0.1, 0.1001]).sign == 0


def test_equal_values_have_no_interval_until_their_signs_are_enough():
    """Six of one sign have probability 2 / 64 by chance, five 2 / 32."""
    assert spread([-0.04] * 5).half is None and spread([-0.04] * 5).sign == 0
    assert spread([-0.04] * 6).half == pytest.approx(0) and spread([-0.04] * 6).sign == -1
    assert spread([0.3, 0.1 + 0.2, 0.3]).half is None


def test_one_value_has_no_interval_and_shows_nothing():
    assert spread([3.0]).half is None and spread([3.0]).sign == 0
    assert spread([]) is None


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5))
def test_an_interval_moves_with_its_values(values, shift):
    first, second = spread(values), spread([value + shift for value in values])
    assert second.mean == pytest.approx(first.mean + shift, abs=1e-9)
    assert (second.half or 0) == pytest.approx(first.half or 0, abs=1e-9)


def test_rows_of_the_table_go_from_dense_to_sparse():
    groups = groups_of(COMPARISON, [])
    shown = [(group.entry.label, group.density) for group in groups]
    assert shown == [("Dense", 1.0), ("Static", 0.5), ("ours", 0.5), ("Static", 0.1), ("ours", 0.1)]


def test_differences_are_paired_by_seed_at_equal_density():
    results = [made_up("Static", 0.1, seed, 0.8, auc) for seed, auc in ((0, 0.60), (1, 0.70), (2, 0.65))]
    results += [made_up("ours", 0.1, seed, 0.8, auc) for seed, auc in ((2, 0.62), (0, 0.58))]
    results += [made_up("ours", 0.5, seed, 0.8, 0.9) for seed in (0, 1, 2)]
    groups = {(g.entry.label, g.density): g for g in groups_of(COMPARISON, results)}
    found = difference(groups["ours", 0.1], groups["Static", 0.1], "worst AUC")
    assert found.count == 2 and found.mean == pytest.approx(-0.025)  # -.02 of seed 0, -.03 of seed 2
    assert found.half == pytest.approx(12.7062 * 0.005, rel=1e-4)
    assert difference(groups["ours", 0.5], groups["Static", 0.5], "worst AUC") is None


def test_pairs_meet_at_equal_density_and_the_dense_model_everywhere():
    groups = groups_of(COMPARISON, [])
    found = pairs_with(COMPARISON.entry("ours"), groups)
    assert [(mine.density, other.entry.label, other.density) for mine, other in found] == [
        (0.5, "Dense", 1.0), (0.5, "Static", 0.5), (0.1, "Dense", 1.0), (0.1, "Static", 0.1),
    ]  # fmt: skip


@pytest.mark.parametrize(("accuracy", "is_marked"), [(0.90, False), (0.86, False), (0.84, True), (0.96, True)])
def test_accuracy_is_unequal_outside_the_dense_models_interval(accuracy, is_marked):
    results = [made_up("Dense", 1.0, seed, 0.9, 0.7) for seed in (0, 1)]  # 0.85 to 0.95
    results += [made_up("Static", 0.1, seed, accuracy, 0.6) for seed in (0, 1)]
    groups = groups_of(COMPARISON, results)
    dense = plain_dense(groups)
    assert dense.entry.label == "Dense" and not is_unequal(dense, dense)
    (static,) = [group for group in groups if (group.entry.label, group.density) == ("Static", 0.1)]
    assert is_unequal(static, dense) == is_marked
    assert not is_unequal(static, None)


def test_a_seed_whose_attack_broke_has_no_worst():
    broken = made_up("Static", 0.1, 1, 0.9, 0.6, broken={"neural": "it broke"}, tm_score=None)
    group = next(g for g in groups_of(COMPARISON, [made_up("Static", 0.1, 0, 0.8, 0.7), broken]) if g.results)
    assert group.by_seed("worst AUC") == {0: 0.7}
    assert group.by_seed("TM-score") == {0: 0.8 / 0.7}
    assert group.by_seed("accuracy") == {0: 0.8, 1: figure(0.9)["value"]}
