"""Less reuse: the rows that the dense model knows best are in one round each, all others in every round."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_inputs import RECIPE, Watched, setting_of
from torch.nn.functional import cross_entropy

from safecompress.errors import UsageError
from safecompress.studies.methods.reuse import WeMem


@given(st.integers(2, 40), st.integers(1, 6), st.floats(0, 1), st.integers(0, 5))
def test_how_often_each_row_is_used(num_rows, rounds, share, seed):
    loss_N = torch.from_numpy(np.random.default_rng(seed).permutation(num_rows).astype(np.float32))
    used = WeMem(rounds, share).rows_of_rounds(loss_N, seed)
    assert len(used) == rounds and all(len(np.unique(rows)) == len(rows) > 0 for rows in used)
    times = Counter(np.concatenate(used).tolist())
    count = min(round(share * num_rows), num_rows - 1)
    assert all(times[row] == (1 if loss_N[row] < count else rounds) for row in range(num_rows))


@pytest.mark.slow
def test_the_members_that_the_dense_model_knows_best_are_used_least(monkeypatch):
    setting = setting_of(recipe=replace(RECIPE, epochs=30), density=0.125)
    watched = Watched(monkeypatch)
    WeMem().make(setting)
    x, y = setting.split.part("train")
    loss_N = cross_entropy(setting.logits(setting.dense(), x), y, reduction="none")
    rounds = [course for course, pattern in zip(watched.courses, watched.patterns, strict=True) if pattern is not None]
    times_N = sum((x[:, None] == course.features).all(2).any(1).int() for course in rounds)
    assert sorted(set(times_N.tolist())) == [1, 3]
    assert loss_N[times_N == 1].max() < loss_N[times_N == 3].min()
    assert [int((times_N == times).sum()) for times in (1, 3)] == [30, 30]
    for course in rounds:  # each row with its own label
        place = (course.features[:, None] == x).all(2).int().argmax(1)
        assert torch.equal(course.labels, y[place])


def test_rounds_share_one_training(monkeypatch):
    """30 epochs of 3 steps are 90; three rounds of 40 rows, 2 steps an epoch, take 15 epochs each."""
    watched = Watched(monkeypatch)
    WeMem().make(setting_of(recipe=replace(RECIPE, epochs=30), density=0.125))
    assert [(until, pattern.num_active) for _, _, until, pattern in watched.calls if pattern is not None] == [
        (30, 36),
        (30, 18),
        (30, 9),
    ]
    assert len({course.seed for course in watched.courses}) == 4  # no round repeats another's order


@pytest.mark.parametrize(
    ("option", "message"), [({"rounds": 0}, "rounds must be"), ({"share": 1.5}, r"share must lie")]
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(UsageError, match=message):
        WeMem(**option)
