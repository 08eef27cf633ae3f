"""Whom attacks find: aggregates that agree with hand counts, that catch what was planted, and that hide the few."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asked_shadows import SayingShadows, said_by_shadows
from safecompress.attacks import Access, AttackResult
from safecompress.attacks.evidence import Ranking
from safecompress.certify.exposure import (
    MIN_ROWS,
    MIN_SIDE,
    ROC_FPRS,
    classes_apart,
    examine_exposure,
    roc_points,
    rocs,
)
from safecompress.data import AuditData
from safecompress.metrics import stats


def noise(size):
    return np.random.default_rng(0).normal(size=size)


def pool(*counts):
    """Rows of classes 0, 1, ...: for each (members, non-members)."""
    labels = np.concatenate([np.full(m + q, number) for number, (m, q) in enumerate(counts)])
    is_member = np.concatenate([np.arange(m + q) < m for m, q in counts])
    return AuditData(torch.zeros(len(labels), 2), torch.from_numpy(labels), is_member)


def result(audit, scores, name="loss"):
    return AttackResult(name, Access.SCORES, evidence=Ranking(np.asarray(scores, float), audit.is_member, 0.5))


# --- the ROC


def test_a_roc_on_the_grid_is_the_step_function_with_its_exact_intervals():
    scores, is_member = noise(300), np.arange(300) < 150
    points = roc_points(scores + is_member, is_member, 0.05)
    assert [point.fpr for point in points] == list(ROC_FPRS)
    for point in points:
        assert point.tpr == stats.tpr_at_fpr(scores + is_member, is_member, point.fpr)
        assert point.interval == stats.tpr_at_fpr_interval(scores + is_member, is_member, point.fpr, 0.05)
        assert point.interval.low <= point.tpr <= point.interval.high
    rising = [point.tpr for point in points]
    assert rising == sorted(rising) and rising[0] < rising[-1]


def test_the_grid_is_as_long_for_a_million_rows_as_for_ten():
    assert 10 < len(ROC_FPRS) < MIN_ROWS
    assert list(ROC_FPRS) == sorted(set(ROC_FPRS)) and ROC_FPRS[0] > 0 and ROC_FPRS[-1] < 1


def test_an_attack_that_broke_has_no_roc():
    broken = AttackResult("neural", Access.SCORES, error="no")
    audit = pool((30, 30))
    assert rocs([broken, result(audit, noise(60))], 0.05).keys() == {"loss"}


# --- classes


def test_a_class_that_leaks_stands_out_and_the_others_do_not():
    audit = pool((40, 40), (40, 40), (40, 40))
    scores = noise(240)
    scores[:80] += 4 * audit.is_member[:80]
    told = classes_apart([result(audit, scores)], audit, ["leaky", "b", "c"], 0.05)
    (leaky, *rest) = told.apart
    assert (leaky.name, leaky.num_members, leaky.num_non_members) == ("leaky", 40, 40)
    value, interval = leaky.aucs["loss"]
    assert value == stats.auc(scores[:80], audit.is_member[:80])
    assert interval == stats.auc_interval(scores[:80], audit.is_member[:80], 0.05 / 3)  # three classes at once
    assert interval.low > 0.85
    assert all(one.aucs["loss"][1].low < 0.5 < one.aucs["loss"][1].high for one in rest)
    assert told.others is None and told.num_untold == 0


def test_small_classes_are_told_together():
    audit = pool((40, 40), (6, 7), (9, 9))
    told = classes_apart([result(audit, noise(111))], audit, ["big", "small", "tiny"], 0.05)
    assert [one.name for one in told.apart] == ["big"]
    assert (told.others.num_classes, told.others.num_members, told.others.num_non_members) == (2, 15, 16)
    assert told.num_untold == 0


@pytest.mark.parametrize(
    ("small", "num_untold"),
    [
        ([(3, 3)], 1),
        ([(9, 40)], 1),  # one side is what a figure of a class would give away
        ([(3, 3), (2, 2)], 2),
        ([(9, 9)], 1),  # alone it would be told by its own name
    ],
)
def test_what_is_too_small_even_together_is_not_told(small, num_untold):
    audit = pool((40, 40), *small)
    names = ["big", *(f"s{n}" for n in range(len(small)))]
    told = classes_apart([result(audit, noise(len(audit.labels)))], audit, names, 0.05)
    assert [one.name for one in told.apart] == ["big"]
    assert told.others is None and told.num_untold == num_untold


def test_every_class_that_is_told_has_rows_enough():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = [tuple(rng.integers(0, 25, size=2)) for _ in range(12)]
        audit = pool(*counts)
        told = classes_apart([result(audit, rng.normal(size=len(audit.labels)))], audit, list("abcdefghijkl"), 0.05)
        for one in [*told.apart, *([told.others] if told.others else [])]:
            assert one.num_members + one.num_non_members >= MIN_ROWS
            assert min(one.num_members, one.num_non_members) >= MIN_SIDE
        some = sum(sum(count) > 0 for count in counts)
        assert len(told.apart) + (told.others.num_classes if told.others else 0) + told.num_untold == some


# --- together


def test_everything_together_shows_no_row():
    audit = pool((40, 40), (40, 40))
    scores = noise(160)
    told = examine_exposure(
        SayingShadows(*said_by_shadows(160), num_used=16),
        audit,
        ["a", "b"],
        [result(audit, scores)],
        [result(audit, -scores)],
        0.05,
    )
    assert told.roc["loss"] != told.dense_roc["loss"]
    assert told.worst_case is not None and len(told.classes.apart) == 2
    text = repr(told)
    assert not any(repr(float(score)) in text for score in scores)
    assert replace(told, worst_case=None).worst_case is None
