"""Dates as days, seconds and fractions: against the standard library, and where nobody can tell."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.tables.dates import has_short_year, read_instant, styles_of, unix_style


@pytest.mark.parametrize(
    ("text", "style", "wanted"),
    [
        ("1970-01-01", "iso", (0, 0, 0)),
        ("1969-12-31T23:59:59.5Z", "iso", (-1, 86399, 0.5)),
        ("1970-01-02 01:00:00+01:00", "iso", (1, 0, 0)),
        ("1970-01-01T00:30-0130", "iso", (0, 7200, 0)),
        ("1970/1/3", "iso", (2, 0, 0)),
        ("19700104", "iso", (3, 0, 0)),
        ("3.1.1970", "day first", (2, 0, 0)),
        ("3/1/1970", "month first", (59, 0, 0)),
        ("5-Jan-1970", "iso", (4, 0, 0)),
        ("January 6, 1970", "day first", (5, 0, 0)),
        ("1/2/1970 1:05 PM", "month first", (1, 13 * 3600 + 300, 0)),
        ("1/2/1970 12:00 am", "month first", (1, 0, 0)),
        ("1700000000", "unix seconds", (19675, 80000, 0)),
        ("1700000000250", "unix milliseconds", (19675, 80000, 0.25)),
        ("-1.5", "unix seconds", (-1, 86398, 0.5)),
        ("3/1/1970", "iso", None),
        ("2020-13-01", "iso", None),
        ("2021-02-29", "iso", None),
        ("31/31/2020", "day first", None),
        ("13:00 PM", "iso", None),
        ("1/2/1970 13:00 PM", "month first", None),
        ("nan", "unix seconds", None),
        ("Janember 1, 1970", "iso", None),
    ],
)
def test_instants(text, style, wanted):
    assert read_instant(text, style) == wanted


@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)))
def test_every_time_comes_back_to_the_second_from_float32(moment):
    day, second, fraction = map(np.float32, read_instant(moment.isoformat(" "), "iso"))
    back = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=int(day), seconds=int(second))
    assert back == moment.replace(microsecond=0)
    assert abs(float(fraction) * 1e6 - moment.microsecond) < 1
    unix = str(int((moment.replace(microsecond=0) - datetime.datetime(1970, 1, 1)).total_seconds()))
    assert read_instant(unix, "unix seconds")[:2] == (int(day), int(second))


def test_days_and_months_are_told_apart_by_those_above_twelve():
    assert styles_of(["1/2/2020", "13/2/2020"]) == ["day first"]
    assert styles_of(["1/2/2020", "2/13/2020"]) == ["month first"]
    assert styles_of(["1/2/2020"]) == ["day first", "month first"]
    assert styles_of(["1.2.2020"]) == ["day first"]
    assert styles_of(["13/2/2020", "2/13/2020"]) == []
    assert styles_of(["2020-01-02", "3 May 2020"]) == ["iso"]


def test_unix_times_and_short_years():
    assert unix_style(["1700000000", "1500000000"]) == "unix seconds"
    assert unix_style(["1700000000000"]) == "unix milliseconds"
    assert unix_style(["1700000000", "5"]) is None
    assert unix_style([]) is None
    assert has_short_year("4/18/47")
    assert not has_short_year("4/18/1947")
