"""Numbers as people write them, and which of two ways a column is written in."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.tables.numerals import in_order, is_ambiguous, marks_of, merged, read_number, whole_number


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1,234", (1234, ""), (1.234, "")),
        ("12,5", None, (12.5, "")),
        ("1,234.50", (1234.5, ""), None),
        ("1.234,50", None, (1234.5, "")),
        ("1.234", (1.234, ""), (1234, "")),
        ("1.234.567", None, (1234567, "")),
        ("12.345.67", None, None),
        ("1 234,5", None, (1234.5, "")),
        ("1\u202f234", (1234, ""), (1234, "")),
        ("1'234.5", (1234.5, ""), None),
        ("45%", (0.45, "%"), (0.45, "%")),
        ("12,5 %", None, (0.125, "%")),
        ("$3.50", (3.5, "$"), None),
        ("3,50 €", None, (3.5, "€")),
        ("-$1,234", (-1234, "$"), (-1.234, "$")),
        ("($12)", (-12, "$"), (-12, "$")),
        ("−5", (-5, ""), (-5, "")),
        ("USD 7", (7, "USD"), (7, "USD")),
        ("1e3", (1000, ""), (1000, "")),
        ("1,5e3", None, (1500, "")),
        ("007", (7, ""), (7, "")),
        ("4k", None, None),
        ("1,23,4", None, None),
        ("12-3", None, None),
        ("31.12.2020", None, None),
        ("$", None, None),
        ("", None, None),
        (",", None, None),
    ],
)
def test_what_is_read_by_a_point_and_by_a_comma(text, point, comma):
    for mark, wanted in ((".", point), (",", comma)):
        got = read_number(text, mark)
        assert (got is None) == (wanted is None), mark
        if wanted is not None:
            assert got[0] == pytest.approx(wanted[0])
            assert got[1] == wanted[1]


@given(st.floats(allow_nan=False))
def test_what_python_writes_is_read_to_the_bit(value):
    assert read_number(repr(value), ".") == (value, "")


@given(st.integers(-(10**12), 10**12), st.integers(0, 99))
def test_two_ways_of_writing_are_one_number(whole, cents):
    english = f"{whole:,}.{cents:02d}"
    continental = english.translate(str.maketrans(",.", ".,"))
    assert read_number(english, ".")[0] == read_number(continental, ",")[0]


def test_the_mark_is_told_by_the_texts_that_only_it_reads():
    assert marks_of(["1", "2"]) == {".", ","} == marks_of(["1,234"])
    assert marks_of(["1,234", "12,5"]) == {","}
    assert marks_of(["1,234", "1.5"]) == {"."}
    assert [is_ambiguous(text) for text in ("1,234", "1.234", "12,5", "7", "0,000")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_one_whole_number_has_one_name():
    names = merged(["1", "1.0", "01", "2", "003", "x", "1.5"])
    assert names == {"1": "1", "1.0": "1", "01": "1", "2": "2", "003": "003", "x": "x", "1.5": "1.5"}
    assert whole_number("12345678901234567890123") == 12345678901234567890123  # no float: group numbers may be long
    assert [whole_number(text) for text in ("1.", "+1", "-0", "1e2", "1.5", "")] == [1, 1, 0, None, None, None]


def test_labels_are_in_order_of_value_where_all_are_numbers():
    assert in_order(["10", "2", "-1"]) == ["-1", "2", "10"]
    assert in_order(["10", "2", "x"]) == ["10", "2", "x"]
    assert math.isinf(float(in_order(["inf", "2"])[1]))
