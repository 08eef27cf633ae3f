"""Canaries in a split: they are trained on with a wrong label and lie in no pool; nothing else of the split changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safecompress.attacks.shadows import ShadowDraw
from safecompress.auditing.shadow_training import shadow_rows, shadow_split
from safecompress.config.prepared import prepare_data
from safecompress.data import PARTS, Dataset, DataSplit, SplitSizes, digits, make_split, plant_canaries
from safecompress.data.canaries import FEWEST_TWINS, num_twins, sizes_beside_canaries
from safecompress.data.sizes import MEMBER_POOLS, SEPARATE
from safecompress.errors import DataError
from safecompress.export import TaskInfo

SIZES = SplitSizes(60, 20, 15, 20, 10, 15, 20, 15, 20, 30)
KEY = b"k" * 32


def toy(num_rows=500, num_classes=3, **options):
    random = np.random.default_rng(0)
    return Dataset.from_arrays(random.normal(size=(num_rows, 4)), np.arange(num_rows) % num_classes, **options)


def planted(num_canaries=20, seed=0, data=None):
    split = make_split(toy() if data is None else data, SIZES, seed=seed)
    return split, plant_canaries(split, num_canaries, seed=seed)


def test_canaries_are_in_train_and_in_nothing_else():
    split, with_them = planted()
    canaries, twins = (set(with_them.indices[part].tolist()) for part in ("canaries", "canary_twins"))
    assert (len(canaries), len(twins), canaries & twins) == (20, 200, set())
    assert set(with_them.indices["train"].tolist()) == set(split.indices["train"].tolist()) | canaries
    for part in PARTS:
        if part != "train":
            assert np.array_equal(with_them.indices[part], split.indices[part])
            assert not (canaries | twins) & set(with_them.indices[part].tolist())
    assert not twins & set(with_them.indices["train"].tolist())
    with_them.check()


def test_train_keeps_the_order_of_its_other_rows_and_canaries_lie_anywhere_in_it():
    split, with_them = planted()
    train = with_them.indices["train"]
    is_canary = np.isin(train, with_them.indices["canaries"])
    assert np.array_equal(train[~is_canary], split.indices["train"])
    places = np.flatnonzero(is_canary)
    assert places.min() < 20 and places.max() >= 60


def test_labels_are_wrong_for_canaries_and_twins_alone_and_every_other_class_is_as_likely():
    steps = []
    for seed in range(20):
        split, with_them = planted(seed=seed)
        changed = np.flatnonzero((with_them.dataset.labels != split.dataset.labels).numpy())
        rows = np.concatenate([with_them.indices[part] for part in ("canaries", "canary_twins")])
        assert set(changed) == set(rows)
        steps += ((with_them.dataset.labels - split.dataset.labels)[torch.from_numpy(rows)] % 3).tolist()
    ones = steps.count(1)
    assert ones + steps.count(2) == len(steps) == 20 * 220
    assert abs(ones - len(steps) / 2) < 4 * np.sqrt(len(steps) / 4)


def test_a_seed_draws_the_same_ones_again_and_another_draws_others():
    (_, first), (_, again) = planted(), planted()
    assert first.digest(KEY) == again.digest(KEY)
    other = plant_canaries(make_split(toy(), SIZES, seed=0), 20, seed=1)
    assert set(other.indices["canaries"]) != set(first.indices["canaries"])


def test_canaries_are_drawn_from_all_free_rows_alike():
    """Over many seeds each row that lies in no part is a canary equally often."""
    split = make_split(toy(), SIZES, seed=0)
    free = np.setdiff1d(np.arange(500), np.concatenate([split.indices[part] for part in SEPARATE]))
    seen = np.bincount(
        np.concatenate([plant_canaries(split, 20, seed=seed).indices["canaries"] for seed in range(100)]), minlength=500
    )
    expected = 100 * 20 / len(free)
    assert seen.sum() == seen[free].sum()
    assert np.abs(seen[free] - expected).max() < 5 * np.sqrt(expected)


def test_one_row_of_a_person_and_nobody_who_has_a_row_in_a_part():
    groups = np.arange(500) // 2
    split, with_them = planted(data=toy(groups=groups))
    rows = np.concatenate([with_them.indices[part] for part in ("canaries", "canary_twins")])
    assert len(set(groups[rows])) == len(rows)
    used = np.concatenate([split.indices[part] for part in SEPARATE])
    assert not set(groups[rows]) & set(groups[used])
    assert len(rows) < 220  # fewer people are free than rows
    with_them.check()


@pytest.mark.parametrize(("num_canaries", "twins"), [(1, 100), (10, 100), (20, 200), (50, 500)])
def test_ten_twins_for_each_and_never_fewer_than_one_hundred(num_canaries, twins):
    assert num_twins(num_canaries) == twins


def test_fewer_twins_where_there_are_fewer_rows_and_a_refusal_under_one_hundred():
    data = toy(170 + 20 + FEWEST_TWINS)
    assert plant_canaries(make_split(data, SIZES, seed=0), 20, seed=0).size("canary_twins") == FEWEST_TWINS
    few = make_split(toy(170 + 19 + FEWEST_TWINS), SIZES, seed=0)
    with pytest.raises(DataError, match=r"20 of them and at least 100 twins.*and 119 do"):
        plant_canaries(few, 20, seed=0)


def test_they_are_planted_once_and_never_none():
    _, with_them = planted()
    with pytest.raises(DataError, match="has 20 canaries already"):
        plant_canaries(with_them, 20, seed=0)
    with pytest.raises(DataError, match="got 0"):
        plant_canaries(make_split(toy(), SIZES, seed=0), 0, seed=0)


def test_parts_without_a_size_leave_room_for_canaries():
    data = digits()
    assert sizes_beside_canaries(1797, {}, 0) == SplitSizes.default(1797)
    prepared = prepare_data(data, {}, "standard", 0, num_canaries=20)
    assert (prepared.raw.size("canaries"), prepared.split.size("canary_twins")) == (20, 200)
    assert prepared.raw.size("train") - 20 == SplitSizes.default(1577).train
    assert prepared.split.dataset.labels is not data.labels and prepared.evidence.size("canary_twins") == 200
    with pytest.raises(DataError, match="220 are set aside for 20 canaries"):
        sizes_beside_canaries(1797, {"train": 1700}, 20)


def test_a_split_without_canaries_has_the_digests_and_the_summary_that_it_always_had():
    split, with_them = planted()
    assert tuple(split.digest(KEY)) == tuple(split.summary()["parts"]) == PARTS
    before, after = split.digest(KEY), with_them.digest(KEY)
    assert [part for part in after if after[part] != before.get(part)] == ["train", "canaries", "canary_twins"]
    assert with_them.summary()["unused"] == 500 - 170 - 220
    assert with_them.summary()["parts"]["canaries"]["rows"] == 20
    assert (split.size("canaries"), with_them.row_digests("canaries", KEY) != []) == (0, True)


@pytest.mark.parametrize(("part", "into"), [("canaries", "member_verdict"), ("canary_twins", "test")])
def test_a_canary_in_a_pool_and_a_twin_in_a_part_are_refused(part, into):
    _, with_them = planted()
    moved = {**with_them.indices, into: np.append(with_them.indices[into], with_them.indices[part][0])}
    with pytest.raises(DataError, match="must not share rows"):
        DataSplit(with_them.dataset, moved).check()


def test_what_is_asked_about_them_is_canaries_first_then_twins():
    split, with_them = planted()
    audit = with_them.audit_canaries()
    assert (audit.num_members, audit.num_non_members) == (20, 200)
    assert torch.equal(audit.features[:20], with_them.part("canaries")[0])
    with pytest.raises(DataError, match="no canaries"):
        split.audit_canaries()


# --- shadow models


def test_each_shadow_trains_on_as_many_wrong_labels_as_the_target():
    split, with_them = planted()
    before, pool = shadow_rows(split, "verdict", 0), shadow_rows(with_them, "verdict", 0)
    draws, ordinary = pool.draws(44), len(before.labels)
    assert np.array_equal(draws[:, :ordinary], before.draws(44))  # others are drawn as if there were no canaries
    assert torch.equal(pool.features[:ordinary], before.features)
    assert set(draws[:, ordinary:].sum(axis=1)) == {20}
    assert set(draws[:, ordinary:].sum(axis=0)) == {4}  # 44 shadows of 20 among 220: canaries and twins alike
    wrong = torch.cat([with_them.part(part)[1] for part in ("canaries", "canary_twins")])
    assert torch.equal(pool.labels[ordinary:], wrong)
    assert pool.digest() != replace(pool, num_mislabelled=0).digest()


def test_shadows_by_the_whole_pipeline_have_them_in_train_and_in_no_pool():
    _, with_them = planted()
    pool = shadow_rows(with_them, "verdict", 0)
    draw = ShadowDraw(0, np.flatnonzero(pool.draws(1)[0]))
    made = shadow_split(with_them, TaskInfo(3, ("0", "1", "2"), (4,)), pool, draw, 0)
    first = len(pool.labels) - pool.num_mislabelled
    assert np.count_nonzero((made.indices["train"] >= first) & (made.indices["train"] < len(pool.labels))) == 20
    pools = [made.indices[part] for part in (*MEMBER_POOLS, "nonmember_fit", "nonmember_select")]
    assert np.concatenate(pools).max() < first
