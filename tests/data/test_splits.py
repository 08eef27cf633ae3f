"""Splits: exact counts, nothing straddles, members and non-members from one draw, digests that give nothing away."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safecompress.data import PARTS, AuditData, Dataset, DataSplit, SplitSizes, digits, make_split, one_row_per_unit
from safecompress.errors import DataError

POOLS = ("member_fit", "member_select", "member_verdict")
SEPARATE = tuple(part for part in PARTS if part not in POOLS)
SMALL = SplitSizes(12, 3, 3, 3, 4, 5, 3, 3, 3, 7)  # 37 rows


def toy(num_rows: int = 40, num_classes: int = 2, **options: object) -> Dataset:
    rows = np.arange(num_rows)
    return Dataset.from_arrays(np.stack([rows, rows**2], 1), rows % num_classes, **options)


def straddling(split: DataSplit) -> list[tuple[int, int]]:
    """By brute force: the pairs of rows that share content or group, but lie in two parts (or two member pools)."""
    data, where = split.dataset, {name: set(rows.tolist()) for name, rows in split.indices.items()}
    features, groups = data.features.tolist(), range(data.num_rows) if data.groups is None else data.groups.tolist()
    owners = {
        family: [{name for name in family if row in where[name]} for row in range(data.num_rows)]
        for family in (SEPARATE, POOLS)
    }
    torn = []
    for a, b in itertools.combinations(range(data.num_rows), 2):
        if features[a] == features[b] or groups[a] == groups[b]:
            torn += [(a, b) for family in owners.values() if family[a] and family[b] and family[a] != family[b]]
    return torn


def assert_disjoint(split: DataSplit) -> None:
    for family in (SEPARATE, POOLS):
        rows = np.concatenate([split.indices[name] for name in family])
        assert len(rows) == len(set(rows.tolist()))
    assert set(np.concatenate([split.indices[name] for name in POOLS])) <= set(split.indices["train"])


# --- make_split


@pytest.mark.parametrize("sizes", [None, SplitSizes(500, 100, 90, 80, 70, 60, 50, 40, 30, 0)])
def test_every_part_has_its_exact_count(sizes: SplitSizes | None) -> None:
    split = make_split(digits(), sizes, seed=3)
    wanted = (sizes or SplitSizes.default(1797)).as_dict()
    assert {name: split.size(name) for name in PARTS} == wanted
    assert split.summary()["unused"] == 1797 - sum(wanted[name] for name in SEPARATE)
    assert_disjoint(split)
    split.check()


@st.composite
def messy_cases(draw: st.DrawFn) -> tuple[Dataset, SplitSizes]:
    """Small datasets with many duplicates and groups, and any sizes that fit in."""
    num_rows = draw(st.integers(14, 45))
    content = draw(st.lists(st.integers(0, 60), min_size=num_rows, max_size=num_rows))
    groups = draw(st.none() | st.lists(st.integers(0, 40), min_size=num_rows, max_size=num_rows))
    pools = draw(st.tuples(*[st.integers(0, 2)] * 3))
    others = draw(st.tuples(*[st.integers(0, 4)] * 6))
    train = draw(st.integers(max(1, sum(pools)), max(1, sum(pools), num_rows - sum(others))))
    data = Dataset.from_arrays(np.array(content)[:, None], np.arange(num_rows) % 2, groups=groups)
    return data, SplitSizes(train, *pools, *others)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(messy_cases(), st.integers(0, 10))
def test_no_duplicate_and_no_group_ever_straddles(case: tuple[Dataset, SplitSizes], seed: int) -> None:
    data, sizes = case
    try:
        split = make_split(data, sizes, seed=seed)
    except DataError as error:  # too few rows, a unit that fits nowhere, or a class that train missed: said in words
        assert any(words in str(error) for words in ("Too few rows", "must stay together", "Every class must occur"))
        return
    assert {name: split.size(name) for name in PARTS} == sizes.as_dict()
    assert_disjoint(split)
    assert straddling(split) == []
    split.check()


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(2, 9), min_size=25, max_size=40), st.integers(0, 10))
def test_grouped_rows_fill_every_part_when_enough_rows_may_stay_unused(lengths: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(lengths)), lengths)
    needed = sum(sorted((length - 1 for length in lengths), reverse=True)[:10])
    left = len(groups) - needed
    sizes = (
        SplitSizes(left - 24, 4, 4, 4, 4, 4, 4, 4, 4, 4) if left > 40 else SplitSizes(left, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    )
    split = make_split(toy(len(groups), groups=groups), sizes, seed=seed)
    assert {name: split.size(name) for name in PARTS} == sizes.as_dict()
    assert straddling(split) == []


def test_chains_of_duplicates_and_groups_are_one_unit() -> None:
    content = np.arange(40)
    content[1] = content[0]  # 0 and 1 equal, 1 and 2 one group, 2 and 3 equal
    content[3] = content[2]
    groups = np.arange(40)
    groups[2] = groups[1]
    data = Dataset.from_arrays(content[:, None], np.arange(40) % 2, groups=groups)
    for seed in range(20):
        split = make_split(data, SMALL, seed=seed)
        homes = [{name for name in PARTS if row in split.indices[name]} for row in range(4)]
        assert homes[0] == homes[1] == homes[2] == homes[3]


def test_a_group_larger_than_every_part_is_refused() -> None:
    data = toy(40, groups=[0] * 13 + list(range(1, 28)))
    with pytest.raises(DataError, match=r"13 rows .* fit no part") as caught:
        make_split(data, SMALL, seed=0)
    assert "3 rows may stay" in str(caught.value)
    assert "12 rows left unused" in str(caught.value)


@pytest.mark.slow
def test_units_go_to_parts_and_to_the_unused_rest_in_proportion_to_size() -> None:
    groups = np.concatenate([[0, 0], np.arange(1, 79)])
    data = toy(80, groups=groups)
    homes = dict.fromkeys([*SEPARATE, "unused"], 0)
    for seed in range(600):
        split = make_split(data, SMALL, seed=seed)
        homes[next((name for name in SEPARATE if 0 in split.indices[name]), "unused")] += 1
    assert homes["unused"] / 600 == pytest.approx(0.5, abs=0.07)
    assert homes["train"] / 600 == pytest.approx(12 / 80, abs=0.05)
    assert homes["population"] / 600 == pytest.approx(7 / 80, abs=0.05)


def test_the_seed_decides_and_nothing_else() -> None:
    first, again, other = (make_split(digits(), seed=seed) for seed in (7, 7, 8))
    assert all(np.array_equal(first.indices[name], again.indices[name]) for name in PARTS)
    assert all(set(first.indices[name]) != set(other.indices[name]) for name in PARTS)


def test_seeds_do_not_change_from_one_release_to_the_next() -> None:
    split = make_split(toy(), SMALL, seed=0)
    assert split.indices["train"].tolist() == [29, 30, 11, 25, 22, 7, 39, 8, 34, 21, 38, 23]


@pytest.mark.slow
def test_any_row_becomes_a_member_as_often_as_any_other() -> None:
    data, sizes = toy(40, groups=[0, 0, 1, 1, 1, *range(2, 37)]), SMALL
    counts = {name: np.zeros(40) for name in ("train", "member_verdict", "nonmember_verdict")}
    for seed in range(1500):
        split = make_split(data, sizes, seed=seed)
        for name, count in counts.items():
            count[split.indices[name]] += 1
    for name, count in counts.items():
        expected = sizes.as_dict()[name] / 40
        error = np.sqrt(expected * (1 - expected) / 1500)
        assert np.abs(count[5:] / 1500 - expected).max() < 4.5 * error, name  # single rows
        assert np.abs(count[:5] / 1500 - expected).max() < 8 * error, name  # units: drawn by room, nearly as often


@pytest.mark.slow
def test_position_in_a_part_says_nothing_about_the_row() -> None:
    positions = [np.flatnonzero(make_split(toy(), SMALL, seed=s).indices["train"] < 20) for s in range(400)]
    assert np.concatenate(positions).mean() == pytest.approx(5.5, abs=0.25)


def test_too_few_rows_name_the_first_part_that_goes_short() -> None:
    with pytest.raises(DataError, match=r"nonmember_select:.*wants 3,.*2.*26"):
        make_split(toy(26), SMALL, seed=0)


def test_a_class_that_train_misses_is_named() -> None:
    data = Dataset.from_arrays(np.arange(40)[:, None], ["usual"] * 39 + ["rare"])
    with pytest.raises(DataError, match=r"occur in train.* 1 class \(rare\)"):
        for seed in range(40):
            make_split(data, SMALL, seed=seed)


# --- the split as a value


def test_part_and_audit_give_the_rows_of_their_names() -> None:
    split = make_split(toy(), SMALL, seed=1)
    features, labels = split.part("validation")
    assert features[:, 0].tolist() == split.indices["validation"].tolist()
    assert labels.tolist() == (split.indices["validation"] % 2).tolist()
    audit = split.audit("select")
    rows = [*split.indices["member_select"], *split.indices["nonmember_select"]]
    assert audit.features[:, 0].tolist() == rows
    assert audit.labels.tolist() == [row % 2 for row in rows]
    assert audit.is_member.tolist() == [True] * 3 + [False] * 3
    assert (audit.num_members, audit.num_non_members) == (3, 3)
    assert repr(audit) == "AuditData(3 members, 3 non-members)"


def test_unknown_names_are_answered_with_the_close_one() -> None:
    split = make_split(toy(), SMALL, seed=1)
    for call in (split.part, split.size, lambda name: split.row_digests(name, b"k")):
        with pytest.raises(DataError, match="mean 'validation'"):
            call("validaton")
    with pytest.raises(DataError, match="mean 'verdict'"):
        split.audit("verdct")


def test_an_audit_needs_both_sides() -> None:
    split = make_split(toy(), SplitSizes(12, 3, 3, 0, 4, 5, 0, 3, 3, 7), seed=1)
    with pytest.raises(DataError, match="nonmember_fit has no row"):
        split.audit("fit")
    with pytest.raises(DataError, match="member_verdict has no row"):
        split.audit("verdict")


def test_audit_data_checks_its_shape_and_has_a_digest_of_its_content() -> None:
    x, y, member = torch.arange(4.0).reshape(2, 2), torch.tensor([0, 1]), np.array([True, False])
    base = AuditData(x, y, member).digest
    assert AuditData(x.clone(), y.clone(), member.copy()).digest == base
    changed = [AuditData(x + 1, y, member), AuditData(x, y.flip(0), member), AuditData(x, y, ~member)]
    assert len({base, *(audit.digest for audit in changed)}) == 4
    assert AuditData(x.reshape(2, 1, 2), y, member).digest != base
    with pytest.raises(DataError, match="every sample"):
        AuditData(x, y, np.array([1, 0]))
    with pytest.raises(DataError, match=r"\(2, 2, 1\)"):
        AuditData(x, y, np.array([True]))


def test_a_repr_shows_counts_only_and_a_split_travels_to_another_process() -> None:
    split = make_split(toy(name="toy"), SMALL, seed=1)
    assert repr(split).startswith("DataSplit('toy': train 12, member_fit 3")
    copy = pickle.loads(pickle.dumps(split))
    assert all(np.array_equal(copy.indices[name], split.indices[name]) for name in PARTS)


def test_indices_cannot_be_written() -> None:
    split = make_split(toy(), SMALL, seed=1)
    with pytest.raises(ValueError, match="read-only"):
        split.indices["train"][0] = 0


def test_the_summary_counts_rows_and_classes() -> None:
    data = Dataset.from_arrays(np.arange(6)[:, None], list("aabbab"), name="six")
    summary = DataSplit.from_indices(data, {"train": [0, 2, 3], "test": [1]}).summary()
    assert (summary["name"], summary["rows"], summary["unused"]) == ("six", 6, 2)
    assert summary["parts"]["train"] == {"rows": 3, "classes": {"a": 1, "b": 2}}
    assert summary["parts"]["test"] == {"rows": 1, "classes": {"a": 1, "b": 0}}
    assert summary["parts"]["population"]["rows"] == 0


# --- check and from_indices

SOUND = {"train": range(6), "member_fit": [0, 1], "member_verdict": [2], "test": [6, 7], "nonmember_fit": [8]}


def refusal(changes: dict[str, object], data: Dataset | None = None) -> str:
    with pytest.raises(DataError) as caught:
        DataSplit.from_indices(data or toy(12), {**SOUND, **changes})
    return str(caught.value)


def test_a_sound_split_of_your_own_is_taken_as_given() -> None:
    split = DataSplit.from_indices(toy(12), {**SOUND, "test": [7, 6]})
    assert split.indices["test"].tolist() == [7, 6]
    assert split.size("population") == 0


def test_parts_that_share_rows_are_named() -> None:
    message = refusal({"test": [5, 6]})
    assert "train and test" in message
    assert "1 row (5)" in message
    assert "member_fit and member_verdict must not share" in refusal({"member_verdict": [1]})


def test_members_outside_train_are_refused() -> None:
    message = refusal({"member_verdict": [9]})
    assert "1 row (9)" in message
    assert "member_verdict" in message


def test_equal_rows_in_two_parts_are_refused_even_with_other_labels() -> None:
    features = np.arange(12.0)[:, None]
    features[6] = features[5]
    message = refusal({}, Dataset.from_arrays(features, np.arange(12) % 2))
    assert "equal features" in message
    assert "row 5 is in train and row 6 in test" in message
    features = np.arange(12.0)[:, None]
    features[2] = features[0]
    assert "row 0 is in member_fit and row 2 in member_verdict" in refusal(
        {}, Dataset.from_arrays(features, np.arange(12) % 2)
    )


def test_a_group_in_two_parts_is_refused() -> None:
    groups = np.arange(12)
    groups[8] = groups[7]
    message = refusal({}, toy(12, groups=groups))
    assert "one group" in message
    assert "row 7 is in test and row 8 in nonmember_fit" in message


def test_a_unit_may_have_rows_inside_and_outside_a_member_pool() -> None:
    groups = np.arange(12)
    groups[4] = groups[0]  # member_fit and the rest of train: both trained on
    assert DataSplit.from_indices(toy(12, groups=groups), SOUND).size("train") == 6


def test_row_numbers_that_cannot_be() -> None:
    assert "test has 2 numbers (-1, 12)" in refusal({"test": [-1, 12]})
    assert "once, but 1 row (6)" in refusal({"test": [6, 6]})
    assert "np.flatnonzero" in refusal({"test": np.ones(12, dtype=bool)})
    assert "mean 'test'?" in refusal({"tset": [6]})
    assert "occur in train" in refusal({"train": [0, 2, 4], "member_fit": [0], "member_verdict": [2]})


# --- digests


def test_digests_know_content_whatever_its_order_or_its_row_number() -> None:
    data = toy(12)
    order = np.random.default_rng(0).permutation(12)
    moved = Dataset.from_arrays(data.features[order], np.arange(12)[order] % 2)
    place = np.argsort(order)
    first = DataSplit.from_indices(data, SOUND)
    second = DataSplit.from_indices(moved, {name: place[list(rows)][::-1] for name, rows in SOUND.items()})
    assert first.digest(b"key") == second.digest(b"key")
    assert first.row_digests("train", b"key") == second.row_digests("train", b"key")[::-1]


def test_digests_change_with_the_key_with_any_feature_and_with_any_label() -> None:
    data = toy(12)
    base = DataSplit.from_indices(data, SOUND)
    features, labels = data.features.clone(), data.labels.clone()
    features[6, 1] += 1
    labels[7] = 1 - labels[7]
    other = DataSplit.from_indices(Dataset.from_arrays(features, data.labels), SOUND).digest(b"key")
    relabelled = DataSplit.from_indices(Dataset.from_arrays(data.features, labels), SOUND).digest(b"key")
    digests = base.digest(b"key")
    assert len({digests["test"], other["test"], relabelled["test"], base.digest(b"yek")["test"]}) == 4
    assert digests["train"] == other["train"] == relabelled["train"] != base.digest(b"yek")["train"]
    assert set(digests) == set(PARTS)
    assert all(len(digest) == 64 for digest in digests.values())


def test_row_digests_are_short_keyed_and_in_row_order() -> None:
    split = DataSplit.from_indices(toy(12), SOUND)
    digests = split.row_digests("train", b"key")
    assert len(set(digests)) == 6
    assert all(len(digest) == 16 for digest in digests)
    assert digests[:2] == split.row_digests("member_fit", b"key")
    assert not set(digests) & set(split.row_digests("train", b"yek"))


def test_a_digest_without_a_key_is_refused() -> None:
    split = DataSplit.from_indices(toy(12), SOUND)
    with pytest.raises(DataError, match="secret key"):
        split.digest(b"")
    with pytest.raises(DataError, match="secret key"):
        split.row_digests("train", b"")


def test_a_verdict_is_measured_on_one_row_of_each_unit():
    groups = np.repeat(np.arange(300), 4)
    features = np.arange(1200, dtype=np.float32)[:, None]
    dataset = Dataset.from_arrays(features, np.arange(1200) % 3, groups=groups)
    split = make_split(dataset, SplitSizes.default(1000), seed=3)
    thinned = one_row_per_unit(split)
    for part in ("member_verdict", "nonmember_verdict", "test", "population"):
        kept, before = groups[thinned.indices[part]], groups[split.indices[part]]
        assert len(kept) == len(set(kept)) < len(before)
        assert set(kept) == set(before)
    for part in ("train", "member_fit", "nonmember_select", "validation"):
        assert np.array_equal(thinned.indices[part], split.indices[part])
    thinned.check()


def test_rows_that_are_all_units_of_their_own_stay():
    dataset = Dataset.from_arrays(np.arange(300, dtype=np.float32)[:, None], np.arange(300) % 3)
    split = make_split(dataset, seed=0)
    assert one_row_per_unit(split) is split
