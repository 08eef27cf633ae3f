"""What a metric is: names taken apart, directions, the scale on which attacks of different questions are compared."""

import pytest

from safecompress.metrics.catalogue import (
    ACCURACY,
    AUC,
    BALANCED_ACCURACY,
    OF_ATTACKS,
    OF_THE_TASK,
    SUCCESS_RATE,
    TPRS,
    change_of,
    decisions,
    direction_of,
    headline_metric,
    headlines,
    leak_label,
    leaks,
    parse_name,
    strongest_attack,
    tm_score,
    tm_score_of,
)
from safecompress.metrics.measurement import Direction


@pytest.mark.parametrize(
    ("name", "attack", "metric", "is_change"),
    [
        ("accuracy", None, ACCURACY, False),
        ("accuracy.drop", None, ACCURACY, True),
        ("lira.auc", "lira", AUC, False),
        ("lira.auc.rise", "lira", AUC, True),
        ("lira.tpr@fpr=0.001", "lira", TPRS[1], False),  # a dot inside
        ("lira.tpr@fpr=0.001.rise", "lira", TPRS[1], True),
        ("pgd.success_rate", "pgd", SUCCESS_RATE, False),
        ("artifact.size_bytes", None, OF_THE_TASK["artifact.size_bytes"], False),
    ],
)
def test_a_name_is_taken_apart(name, attack, metric, is_change):
    parsed = parse_name(name)
    assert (parsed.attack, parsed.metric, parsed.is_change) == (attack, metric, is_change)


@pytest.mark.parametrize(
    "name", ["", "auc", "lira", "lira.acu", "lira.auc.drop", "accuracy.rise", "lira.tpr@fpr=0.01.01"]
)
def test_what_no_metric_is_called_is_none(name):
    assert parse_name(name) is None


def test_every_metric_has_a_change_that_is_better_when_lower():
    for name, metric in {**OF_THE_TASK, **{f"a.{name}": metric for name, metric in OF_ATTACKS.items()}}.items():
        change = parse_name(change_of(name))
        assert (change.metric, change.is_change, direction_of(change_of(name))) == (metric, True, Direction.LOWER)
        assert direction_of(name) is metric.direction


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 0.5, 0.5000001, 0.77, 1.0])
def test_an_auc_is_a_leak_as_it_stands_and_a_rate_is_stretched(value):
    assert AUC.as_leak(value) == BALANCED_ACCURACY.as_leak(value) == value
    assert SUCCESS_RATE.as_leak(value) == pytest.approx(0.5 + value / 2)


FIGURES = {
    "accuracy": 0.8, "loss.auc": 0.6, "loss.balanced_accuracy": 0.55, "loss.auc.rise": 0.9, "lira.auc": 0.7,
    "lira.balanced_accuracy": 0.65, "pgd.success_rate": 0.5,
}  # fmt: skip


def test_attacks_are_compared_by_their_headlines_on_one_scale():
    assert headlines(FIGURES) == {"loss": 0.6, "lira": 0.7, "pgd": 0.5}
    assert leaks(FIGURES) == {"loss": 0.6, "lira": 0.7, "pgd": 0.75}
    assert decisions(FIGURES) == {"loss": 0.55, "lira": 0.65, "pgd": 0.75}
    assert strongest_attack(FIGURES) == "pgd"
    assert strongest_attack({"accuracy": 1.0}) is None
    assert strongest_attack({"b.auc": 0.6, "a.auc": 0.6}) == "b"  # the first of equals


def test_a_figure_is_called_what_it_is():
    assert (headline_metric(FIGURES, "pgd"), headline_metric(FIGURES, "lira")) == (SUCCESS_RATE, AUC)
    assert leak_label(FIGURES) == "leak"
    assert leak_label({name: 1.0 for name in FIGURES if not name.startswith("pgd")}) == "AUC"


def test_the_tm_score_by_hand():
    assert tm_score(0.8, [0.55, 0.64]) == 0.8 / 0.64
    assert tm_score(0.8, [0.4]) == 1.6  # worse than guessing earns nothing
    assert tm_score(0.8, [0.64], power=2) == 0.8**2 / 0.64
    assert tm_score_of(FIGURES, ["loss", "lira"]) == 0.8 / 0.65
    assert tm_score_of(FIGURES, ["loss", "pgd"]) == 0.8 / 0.75


@pytest.mark.parametrize(
    ("figures", "attacks"), [(FIGURES, []), (FIGURES, ["loss", "neural"]), ({"a.auc": 0.5}, ["a"])]
)
def test_without_a_figure_there_is_no_tm_score(figures, attacks):
    """The worst of the rest would flatter."""
    assert tm_score_of(figures, attacks) is None
