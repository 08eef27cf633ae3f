"""Sizes of a split: defaults, and the rest worked out from what is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.data import PARTS, SplitSizes
from safecompress.errors import DataError

SEPARATE = [name for name in PARTS if not name.startswith("member_")]


def test_defaults_for_digits_and_for_location30() -> None:
    assert SplitSizes.default(1797) == SplitSizes(600, 200, 200, 200, 150, 250, 200, 200, 200, 197)
    assert SplitSizes.default(5010) == SplitSizes(1500, 500, 500, 500, 400, 600, 500, 500, 500, 1010)


@given(st.integers(30, 200_000))
def test_defaults_use_every_row_and_leave_no_part_empty(num_rows: int) -> None:
    sizes = SplitSizes.default(num_rows)
    assert sizes.total == sum(sizes.as_dict()[name] for name in SEPARATE) == num_rows
    assert min(sizes.as_dict().values()) >= 1
    assert sizes.train == sizes.member_fit + sizes.member_select + sizes.member_verdict
    assert sizes.member_verdict == sizes.nonmember_verdict
    assert list(sizes.as_dict()) == list(PARTS)


def test_too_few_rows_for_defaults() -> None:
    with pytest.raises(DataError, match=r"least 30 rows,.*29"):
        SplitSizes.default(29)


def test_nothing_given_is_the_default_and_none_counts_as_nothing() -> None:
    assert SplitSizes.resolve(1797) == SplitSizes.resolve(1797, train=None, test=None) == SplitSizes.default(1797)


def test_what_equals_the_default_changes_nothing() -> None:
    assert SplitSizes.resolve(1797, test=250, member_fit=200) == SplitSizes.default(1797)


def test_given_sizes_stay_and_the_rest_shares_what_is_left() -> None:
    sizes = SplitSizes.resolve(1797, train=900, population=0)
    assert (sizes.train, sizes.population) == (900, 0)
    assert (sizes.nonmember_fit, sizes.validation, sizes.test) == (179, 134, 224)
    assert sizes.member_fit == 179


def test_pools_mirror_each_other() -> None:
    sizes = SplitSizes.resolve(1797, member_verdict=300, nonmember_fit=120)
    assert (sizes.nonmember_verdict, sizes.member_fit) == (300, 120)
    small = SplitSizes.resolve(1797, train=90)
    assert (small.member_fit, small.member_select, small.member_verdict) == (30, 30, 30)
    assert SplitSizes.resolve(1797, nonmember_select=0).member_select == 0


@given(st.integers(100, 5000), st.dictionaries(st.sampled_from(SEPARATE), st.integers(3, 12)))
def test_whatever_is_given_is_kept_and_nothing_exceeds_the_rows(num_rows: int, given_sizes: dict[str, int]) -> None:
    sizes = SplitSizes.resolve(num_rows, **given_sizes)
    assert given_sizes.items() <= sizes.as_dict().items()
    assert sizes.total <= num_rows
    if "population" not in given_sizes:
        assert sizes.total == num_rows


def test_all_sizes_given_need_no_minimum_of_rows() -> None:
    wanted = dict.fromkeys(SEPARATE, 1) | dict.fromkeys(("member_fit", "member_select", "member_verdict"), 0)
    assert SplitSizes.resolve(7, **wanted).as_dict() == {name: wanted[name] for name in PARTS}


def refusal(num_rows: int, **given_sizes: object) -> str:
    with pytest.raises(DataError) as caught:
        SplitSizes.resolve(num_rows, **given_sizes)
    return str(caught.value)


def test_requests_that_cannot_be_met() -> None:
    assert "mean 'validation'?" in refusal(100, validaton=5)
    assert "110 rows (train 60, test 50)," in refusal(100, train=60, test=50)
    assert "left for validation" in refusal(100, train=60, test=40)
    assert "left for member_fit" in refusal(100, train=2)
    assert "got test -1" in refusal(100, test=-1)
    assert "got test '5'" in refusal(100, test="5")
    assert "got test True" in refusal(100, test=True)
    assert "train part needs" in refusal(100, train=0, member_fit=0, member_select=0, member_verdict=0)
    assert "take 30 rows (member_fit 10, member_select 10, member_verdict 10) and train has 20" in refusal(
        100, train=20, member_fit=10, member_select=10, member_verdict=10
    )
