"""The target must know its members: by their labels, in their order, on their scale."""

import numpy as np
import pytest
import torch

from safecompress.certify.health import knows_members
from safecompress.certify.health.knows_members import compare_scales
from safecompress.spec import Verdict

CLASSES, ROWS = 5, 500
DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(CLASSES, size=ROWS)


def logits(sureness, labels=LABELS, classes=CLASSES, seed=1):
    """Scores of a model that gives the label ``sureness`` standard deviations more than the others."""
    scores = np.random.default_rng(seed).normal(size=(len(labels), classes))
    scores[np.arange(len(labels)), labels] += sureness
    return scores


@pytest.mark.parametrize("sureness", [0.4, 1.0, 10.0])
def test_a_model_that_learned_anything_holds(sureness):
    check = knows_members(logits(sureness), LABELS)
    assert (check.name, check.subject, check.outcome) == ("knows_members", "target", Verdict.PASS)
    assert check.value == np.mean(logits(sureness).argmax(1) == LABELS)


@pytest.mark.parametrize("seed", range(10))
def test_a_model_that_learned_nothing_is_no_better_than_chance(seed):
    labels = np.random.default_rng(seed).integers(CLASSES, size=ROWS)
    check = knows_members(logits(0, labels, seed=seed + 100), labels)
    assert check.outcome is Verdict.INCONCLUSIVE and "no better than chance" in check.detail


def test_one_answer_for_all_says_nothing_and_its_scores_may():
    """Nine rows in ten are of one class, and the model answers that class: right on 90 %, which is chance."""
    labels = (np.arange(400) % 10 == 0).astype(np.int64)
    same = np.tile([2.0, -2.0], (400, 1))
    assert knows_members(same, labels).outcome is Verdict.INCONCLUSIVE
    knowing = same.copy()
    knowing[:, 1] += labels
    check = knows_members(knowing, labels)
    assert check.value == 0.9 and check.outcome is Verdict.PASS


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([1, 2, 3, 4, 0], "class 0 are answered as 1, of class 1 are answered as 2"),
        ([4, 3, 2, 1, 0], "class 0 are answered as 4"),
        ([0, 1, 3, 2, 4], "class 2 are answered as 3, of class 3 are answered as 2"),
    ],
    ids=["turned", "reversed", "two of five"],
)
def test_classes_in_another_order_are_named(order, words):
    answers = logits(6.0)
    moved = np.empty_like(answers)
    moved[:, order] = answers
    check = knows_members(moved, LABELS)
    assert check.outcome is Verdict.ERROR and words in check.detail


@pytest.mark.parametrize("seed", range(10))
def test_weak_models_and_rare_classes_raise_no_alarm(seed):
    """A rare class that is answered as its neighbour is a mistake of the model, not another order."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(4, p=[0.6, 0.3, 0.06, 0.04], size=300)
    answers = np.where(labels >= 2, 1, labels)
    scores = np.eye(4)[np.where(draw.random(300) < 0.3, draw.integers(4, size=300), answers)]
    assert knows_members(scores * 3, labels).outcome is Verdict.PASS
    weak = logits(0.7, labels, 4, seed)
    assert knows_members(weak, labels).outcome is not Verdict.ERROR


def test_two_classes_the_other_way_round():
    labels = np.arange(200) % 2
    check = knows_members(logits(3.0, 1 - labels, 2), labels)
    assert check.outcome is Verdict.ERROR and "class 0 are answered as 1" in check.detail


def test_infinite_scores_of_a_model_that_gives_labels():
    hard = np.where(np.eye(CLASSES)[LABELS] > 0, 0.0, -np.inf)
    assert knows_members(hard, LABELS).outcome is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 255, "divided by 255"),
        (lambda x: x / 255, "multiplied by 255"),
        (lambda x: 3 * x + 40, "standardised, column by column"),
    ],
)
def test_another_scale_is_told(change, words):
    """A network that reads standardised columns and is sure near zero only."""
    rows = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    rows = (rows - rows.mean(0)) / rows.std(0, correction=0)
    cut = torch.tensor([-0.5, 0.5])
    labels = torch.bucketize(rows[:, 0].contiguous(), cut)

    def ask(rows):
        return torch.eye(3)[torch.bucketize(rows[:, 0].contiguous(), cut)]

    assert compare_scales(ask, rows, labels.numpy(), 1.0) is None
    given = change(rows)
    accuracy = float((ask(given).argmax(1) == labels).float().mean())
    assert words in compare_scales(ask, given, labels.numpy(), accuracy)
