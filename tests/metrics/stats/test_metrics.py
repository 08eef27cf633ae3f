"""AUC, ROC, thresholds and confusion: by hand, against slow and foreign oracles, and under many ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import safecompress.metrics.stats as stats
from safecompress.errors import AttackError, UsageError
from safecompress.metrics.stats import Confusion, auc, best_threshold, confusion_at, roc_curve, tpr_at_fpr
from safecompress.metrics.stats.metrics import placements

# Members 4 3 2 2, non-members 2 1 1 0: of 16 pairs 14 are won and 2 tied, so AUC = 15/16.
EIGHT = np.array([2.0, 4.0, 1.0, 2.0, 0.0, 3.0, 2.0, 1.0])
IS_MEMBER = np.array([False, True, False, True, False, True, True, False])


@st.composite
def tied_scores(draw, max_rows=24):
    """Scores of which most tie, and labels with both sides present."""
    num_rows = draw(st.integers(2, max_rows))
    values = draw(st.lists(st.integers(-4, 4), min_size=num_rows, max_size=num_rows))
    labels = draw(st.lists(st.booleans(), min_size=num_rows - 2, max_size=num_rows - 2))
    return np.array(values, dtype=float), np.array([*labels, True, False])


def pair_matrix(scores, is_member):
    """Members by non-members: 1 where the member wins, 1/2 at a tie."""
    difference_MQ = scores[is_member][:, None] - scores[~is_member][None, :]
    return (1 + np.sign(difference_MQ)) / 2


def rates_of_every_rule(scores, is_member):
    """(fpr, tpr) of ``score >= t`` for every t that makes a difference, and of calling nobody."""
    for threshold in [np.inf, *scores]:
        yield np.mean(scores[~is_member] >= threshold), np.mean(scores[is_member] >= threshold)


def test_eight_numbers_by_hand():
    assert auc(EIGHT, IS_MEMBER) == 15 / 16
    curve = roc_curve(EIGHT, IS_MEMBER)
    assert curve.fpr.tolist() == [0, 0, 0, 0.25, 0.75, 1]
    assert curve.tpr.tolist() == [0, 0.25, 0.5, 1, 1, 1]
    assert curve.thresholds.tolist() == [np.inf, 4, 3, 2, 1, 0]
    assert [tpr_at_fpr(EIGHT, IS_MEMBER, fpr) for fpr in (0, 0.24, 0.25, 0.74, 1)] == [0.5, 0.5, 1, 1, 1]
    assert best_threshold(EIGHT, IS_MEMBER) == 1.5
    placed = placements(EIGHT, IS_MEMBER)
    assert placed.members.tolist() == [1, 7 / 8, 1, 7 / 8]
    assert placed.non_members.tolist() == [3 / 4, 1, 1, 1]


def test_confusion_by_hand():
    table = confusion_at(EIGHT, IS_MEMBER, 2.0)
    assert table == Confusion(true_positives=4, num_members=4, false_positives=1, num_non_members=4)
    assert (table.tpr, table.fpr, table.balanced_accuracy, table.advantage) == (1, 0.25, 0.875, 0.75)
    assert confusion_at(EIGHT, IS_MEMBER, np.inf) == Confusion(0, 4, 0, 4)
    assert confusion_at(EIGHT, IS_MEMBER, -np.inf) == Confusion(4, 4, 4, 4)


@pytest.mark.slow
@given(tied_scores())
def test_auc_is_that_of_all_pairs_and_of_sklearn(data):
    scores, is_member = data
    assert auc(scores, is_member) == pytest.approx(pair_matrix(scores, is_member).mean(), abs=1e-15)
    assert auc(scores, is_member) == pytest.approx(roc_auc_score(is_member, scores), abs=1e-12)


@pytest.mark.slow
@given(tied_scores())
def test_placements_are_the_means_of_the_pair_matrix(data):
    scores, is_member = data
    wins_MQ, placed = pair_matrix(scores, is_member), placements(scores, is_member)
    np.testing.assert_allclose(placed.members, wins_MQ.mean(axis=1), atol=1e-15)
    np.testing.assert_allclose(placed.non_members, wins_MQ.mean(axis=0), atol=1e-15)


@pytest.mark.slow
@given(tied_scores(), st.permutations(range(24)))
def test_order_of_rows_and_units_of_scores_do_not_matter(data, order):
    scores, is_member = data
    order = [index for index in order if index < scores.size]
    for other, labels in ((scores[order], is_member[order]), (np.exp(scores), is_member), (5 * scores - 3, is_member)):
        assert auc(other, labels) == auc(scores, is_member)
        assert roc_curve(other, labels).tpr.tolist() == roc_curve(scores, is_member).tpr.tolist()
        assert roc_curve(other, labels).fpr.tolist() == roc_curve(scores, is_member).fpr.tolist()
    assert best_threshold(scores[order], is_member[order]) == best_threshold(scores, is_member)


@pytest.mark.slow
@given(tied_scores())
def test_turning_scores_round_mirrors_the_auc(data):
    scores, is_member = data
    assert auc(-scores, is_member) == pytest.approx(1 - auc(scores, is_member), abs=1e-15)


@pytest.mark.slow
@given(tied_scores())
def test_roc_has_one_point_per_distinct_score(data):
    scores, is_member = data
    curve = roc_curve(scores, is_member)
    assert curve.thresholds.tolist() == [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    points = set(zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True))
    assert points == set(rates_of_every_rule(scores, is_member))
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)


@pytest.mark.slow
@given(tied_scores(), st.floats(0, 1))
def test_tpr_at_fpr_is_the_best_rule_that_keeps_the_limit(data, limit):
    scores, is_member = data
    allowed = [tpr for fpr, tpr in rates_of_every_rule(scores, is_member) if fpr <= limit]
    assert tpr_at_fpr(scores, is_member, limit) == max(allowed)


@given(st.integers(1, 10_000), st.data())
def test_a_limit_met_to_the_row_is_met(num_non_members, data):
    allowed = data.draw(st.integers(0, num_non_members - 1))
    scores = np.concatenate((np.arange(num_non_members), [num_non_members - allowed - 0.5]))
    is_member = np.arange(num_non_members + 1) == num_non_members
    assert tpr_at_fpr(scores, is_member, allowed / num_non_members) == 1
    assert tpr_at_fpr(scores, is_member, (allowed - 0.5) / num_non_members if allowed else 0) == (allowed == 0)


def test_a_tie_across_the_limit_is_not_broken():
    """Half of all rows tie on top: no rule catches those members without every non-member that ties with them."""
    scores, is_member = np.repeat([1.0, 0.0], 100), np.tile([True, False], 100)
    assert tpr_at_fpr(scores, is_member, 0.49) == 0
    assert tpr_at_fpr(scores, is_member, 0.5) == 0.5


@pytest.mark.slow
@given(tied_scores())
def test_best_threshold_is_best_and_strictest(data):
    scores, is_member = data
    best = best_threshold(scores, is_member)
    table = confusion_at(scores, is_member, best)
    advantages = [tpr - fpr for fpr, tpr in rates_of_every_rule(scores, is_member)]
    assert table.advantage == pytest.approx(max(advantages), abs=1e-12)
    calling_fewer = [np.inf, *np.unique(scores[scores > best])[1:]] if best < np.inf else []
    assert all(confusion_at(scores, is_member, t).advantage < table.advantage - 1e-12 for t in calling_fewer)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, np.nextafter(1.0, 2)), (-1e308, 1.7e308), (1.6e308, 1.7e308), (0.0, 5e-324), (-5e-324, 0.0)],
)
def test_best_threshold_splits_any_two_floats(low, high):
    """Neighbouring floats have no middle, and the sum of large ones overflows."""
    scores, is_member = np.array([high, low]), np.array([True, False])
    assert confusion_at(scores, is_member, best_threshold(scores, is_member)) == Confusion(1, 1, 0, 1)


def test_scores_that_do_not_help_call_nobody():
    is_member = np.array([True, False, True, False])
    assert best_threshold(np.ones(4), is_member) == np.inf
    assert best_threshold(-is_member.astype(float), is_member) == np.inf


def test_large_pools_stay_exact():
    """Rank sums of 400,000 rows are far beyond 32 bits."""
    scores = np.arange(400_000, dtype=float)
    assert auc(scores, scores >= 200_000) == 1
    assert auc(scores, scores < 200_000) == 0


BAD_DATA = {
    "NaN": (np.array([0.0, np.nan]), np.array([True, False])),
    "infinite": (np.array([0.0, np.inf]), np.array([True, False])),
    "0 members": (np.zeros(3), np.zeros(3, dtype=bool)),
    "0 non-members": (np.zeros(3), np.ones(3, dtype=bool)),
    "0 members and 0": (np.zeros(0), np.zeros(0, dtype=bool)),
    "not bool": (np.zeros(2), np.array([0, 1])),
    r"shape \(2,\)": (np.zeros(2), np.array([True, False, True])),
    r"shape \(2, 1\)": (np.zeros((2, 1)), np.array([[True], [False]])),
}
READERS = {
    "auc": auc,
    "roc_curve": roc_curve,
    "tpr_at_fpr": lambda scores, is_member: tpr_at_fpr(scores, is_member, 0.1),
    "best_threshold": best_threshold,
    "confusion_at": lambda scores, is_member: confusion_at(scores, is_member, 0.0),
    "auc_interval": lambda scores, is_member: stats.auc_interval(scores, is_member, 0.05),
    "auc_difference": lambda scores, is_member: stats.auc_difference(scores, scores, is_member, 0.05),
    "tpr_at_fpr_interval": lambda scores, is_member: stats.tpr_at_fpr_interval(scores, is_member, 0.1, 0.05),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("complaint", "data"), BAD_DATA.items(), ids=BAD_DATA)
def test_bad_data_is_refused_by_every_reader(read, complaint, data):
    with pytest.raises(AttackError, match=complaint):
        read(*data)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, float("nan")])
def test_fpr_must_be_a_share(fpr):
    with pytest.raises(UsageError, match="false-positive rate"):
        tpr_at_fpr(EIGHT, IS_MEMBER, fpr)


def test_nan_threshold_is_refused():
    with pytest.raises(AttackError, match="NaN"):
        confusion_at(EIGHT, IS_MEMBER, float("nan"))


@pytest.mark.parametrize("counts", [(5, 4, 0, 4), (-1, 4, 0, 4), (0, 4, 5, 4), (0, 0, 0, 4), (0, 4, 0, 0)])
def test_impossible_confusions_are_refused(counts):
    with pytest.raises(AttackError, match="called members"):
        Confusion(*counts)


def test_public_names_are_sorted_and_documented():
    assert stats.__all__ == sorted(stats.__all__)
    assert all(getattr(stats, name).__doc__ for name in stats.__all__)
