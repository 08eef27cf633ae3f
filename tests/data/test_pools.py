"""Members and non-members from two data sets: parts that share nothing, and pools that do not go together."""

import numpy as np
import pytest
import torch

from safecompress.data import Dataset
from safecompress.data.pools import split_of
from safecompress.errors import DataError


def rows(seed, count=150, **options):
    generator = np.random.default_rng(seed)
    features = options.pop("features", generator.random((count, 4)))
    labels = options.pop("labels", np.arange(count) % 3)
    return Dataset.from_arrays(features, labels, class_names=("0", "1", "2"), **options)


def test_parts_and_their_shares():
    split = split_of(rows(0, 200), rows(1, 300), num_classes=3, seed=0)
    sizes = {name: split.size(name) for name in split.indices if split.size(name)}
    assert sizes == {
        "train": 200, "member_fit": 100, "member_verdict": 100,
        "nonmember_fit": 100, "nonmember_verdict": 100, "test": 50, "population": 50,
    }  # fmt: skip
    split.check()
    assert (split.indices["nonmember_verdict"] >= 200).all() and (split.indices["member_verdict"] < 200).all()
    again, other = (split_of(rows(0, 200), rows(1, 300), num_classes=3, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.indices["member_fit"], split.indices["member_fit"])
    assert not np.array_equal(other.indices["member_fit"], split.indices["member_fit"])


def test_groups_and_equal_rows_stay_together():
    members = rows(0, groups=np.arange(150) // 3)
    others = rows(1, groups=np.arange(150) // 3)
    split = split_of(members, others, num_classes=3, seed=0)
    split.check()
    for part in ("member_fit", "nonmember_verdict"):
        groups = split.dataset.groups[split.indices[part]]
        assert all((split.dataset.groups == group).sum() == (groups == group).sum() for group in groups)
    below = split_of(members, rows(1, groups=-1 - np.arange(150) // 3), num_classes=3, seed=0)
    assert np.array_equal(np.unique(below.dataset.groups), np.arange(100))  # no name is another's
    twice = np.repeat(np.random.default_rng(2).random((75, 4)), 2, axis=0)
    split_of(rows(0, features=twice, labels=np.repeat(np.arange(75) % 3, 2)), others=rows(1), num_classes=3, seed=0)


@pytest.mark.parametrize(
    ("members", "others", "message"),
    [
        (rows(0, 99), rows(1), "got 99 members"),
        (rows(0), rows(1, 60), "got 60 non-members"),
        (rows(0), rows(0), "150 rows are members"),
        (rows(0), rows(1, features=np.random.default_rng(1).random((150, 5))), r"shape \(4,\), non-members \(5,\)"),
        (rows(0, groups=np.arange(150)), rows(1), "a group column"),
    ],
)
def test_pools_that_do_not_go_together_are_refused(members, others, message):
    with pytest.raises(DataError, match=message):
        split_of(members, others, num_classes=3, seed=0)


def test_labels_beyond_the_model_s_classes_are_refused():
    with pytest.raises(DataError, match="lie in 0"):
        split_of(rows(0), rows(1), num_classes=2, seed=0)
    assert torch.equal(split_of(rows(0), rows(1), num_classes=3, seed=0).dataset.labels[:3], torch.tensor([0, 1, 2]))
