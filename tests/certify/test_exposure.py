"""Whom attacks find: aggregates that agree with hand counts, that catch what was planted, and that hide the few."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safecompress.attacks import Access, AttackResult
from safecompress.attacks.evidence import Ranking
from safecompress.attacks.shadows import balanced_draws
from safecompress.certify.exposure import (
    MIN_ROWS,
    MIN_SHADOWS,
    MIN_SIDE,
    ROC_FPRS,
    classes_apart,
    examine_exposure,
    roc_points,
    rocs,
    worst_case,
    worst_of,
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


# --- the worst case


def shadows(num_rows, num_shadows=16, *, exposed=0, gap=0.0, seed=0):
    """What shadows would say of rows whose label is surer by ``gap`` once trained on, for the first ``exposed``."""
    rng = np.random.default_rng(seed)
    is_in = balanced_draws(np.arange(num_rows), num_rows // 2, num_shadows, rng)
    return rng.normal(size=is_in.shape) + gap * is_in * (np.arange(num_rows) < exposed), is_in


def test_exposed_rows_are_found_on_one_half_and_hold_on_the_other():
    phi, is_in = shadows(400, exposed=20, gap=4.0)
    worst = worst_of(phi, is_in, 0.05)
    assert (worst.num_rows, worst.num_eligible, worst.num_choosing, worst.num_scoring) == (20, 400, 8, 8)
    assert worst.worst[0] > 0.95 and worst.worst[1].low > 0.8
    assert 0.5 < worst.every[0] < 0.6


@pytest.mark.slow
def test_chance_makes_nobody_exposed():
    """Choosing and scoring on the same shadows would call the chosen rows exposed here; on others they are not."""
    held = [worst_of(*shadows(400, seed=seed), 0.05).worst for seed in range(100)]
    assert abs(np.mean([value for value, _ in held]) - 0.5) < 0.02
    assert np.mean([interval.low <= 0.5 <= interval.high for _, interval in held]) >= 0.93
    phi, is_in = shadows(400)
    same = worst_of(np.concatenate([phi[:8], phi[:8]]), np.concatenate([is_in[:8], is_in[:8]]), 0.05)
    assert same.worst[1].low > 0.6


def test_the_share_of_a_row_is_counted_over_its_pairs():
    phi, is_in = shadows(60)
    worst = worst_of(phi, is_in, 0.05)
    by_hand = [stats.auc(phi[8:, row], is_in[8:, row]) for row in range(60)]
    assert worst.every[0] == pytest.approx(np.mean(by_hand))


def test_one_in_a_hundred_of_many_rows_and_never_fewer_than_twenty():
    assert worst_of(*shadows(5000), 0.05).num_rows == 50
    assert worst_of(*shadows(40), 0.05).num_rows == MIN_ROWS
    assert worst_of(*shadows(38), 0.05) is None


class Asked:
    """A target whose shadows say what is given."""

    def __init__(self, phi, is_in, num_used):
        self.has_shadows, self.shadows, self.num_used = True, self, num_used
        self.scaled_logit_KQN, self.is_in_KN = phi[:, None], is_in

    def outputs(self, audit, *, count):
        assert count == self.num_used  # none is trained for the worst case
        return self


def test_only_shadows_that_an_attack_asked_for_are_read():
    audit = pool((30, 30))
    assert worst_case(Asked(*shadows(60, 16), num_used=16), audit, 0.05).num_choosing == 8
    assert worst_case(Asked(*shadows(60, 16), num_used=MIN_SHADOWS - 1), audit, 0.05) is None
    without = Asked(*shadows(60), num_used=0)
    without.has_shadows = False
    assert worst_case(without, audit, 0.05) is None


def test_everything_together_shows_no_row():
    audit = pool((40, 40), (40, 40))
    scores = noise(160)
    told = examine_exposure(
        Asked(*shadows(160), num_used=16), audit, ["a", "b"], [result(audit, scores)], [result(audit, -scores)], 0.05
    )
    assert told.roc["loss"] != told.dense_roc["loss"]
    assert told.worst_case is not None and len(told.classes.apart) == 2
    text = repr(told)
    assert not any(repr(float(score)) in text for score in scores)
    assert replace(told, worst_case=None).worst_case is None
