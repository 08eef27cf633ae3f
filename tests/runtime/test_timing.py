"""Timing: turns, medians and intervals, on clocks and figures that are given; no test waits for a machine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.metrics.measurement import Interval
from safecompress.runtime import measure
from safecompress.runtime.measure import Timing, in_turns, median_interval, quickest


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a call says so."""
    now = itertools.count()
    state = {"now": 0.0}
    monkeypatch.setattr(measure.time, "perf_counter", lambda: state["now"])
    assert next(now) == 0
    return state


def taking(clock, seconds, log, name):
    def call():
        clock["now"] += seconds
        log.append(name)

    return call


def test_calls_take_turns_and_their_time_is_known(clock):
    log = []
    calls = {"slow": taking(clock, 0.5, log, "s"), "quick": taking(clock, 0.125, log, "q")}
    timings = in_turns(calls, rounds=2, block_s=0.25)
    assert "".join(log) == "ss" + "qqq" + "ss" + "qqq"  # each block begins with a call that is not counted
    assert timings["slow"] == Timing(((0.5,), (0.5,)))
    assert timings["quick"] == Timing(((0.125, 0.125), (0.125, 0.125)))
    assert timings["quick"].num_calls == 4
    assert timings["quick"].quantile(0.95) == 0.125
    assert timings["quick"].medians() == [0.125, 0.125]


def test_the_quickest_comes_first(clock):
    calls = {name: taking(clock, seconds, [], name) for name, seconds in {"b": 2.0, "a": 1.0, "c": 3.0}.items()}
    assert list(quickest(calls).items()) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


@pytest.mark.parametrize(
    ("num", "ranks"),
    [(1, (1, 1)), (2, (1, 2)), (5, (1, 5)), (25, (8, 18)), (51, (19, 33)), (100, (41, 60))],
)
def test_the_interval_lies_between_two_of_the_values(num, ranks):
    values = list(range(1, num + 1))
    assert median_interval(values[::-1], scale=10.0) == Interval(10.0 * ranks[0], 10.0 * ranks[1], 0.95)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80))
def test_the_interval_holds_the_median(values):
    interval = median_interval(values)
    assert interval.low <= np.median(values) * (1 + 1e-12)
    assert interval.high >= np.median(values) * (1 - 1e-12)


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(2000, 51))
    covered = [median_interval(list(draw)) for draw in draws]
    share = np.mean([interval.low <= np.log(2) <= interval.high for interval in covered])
    assert 0.94 <= share <= 0.98
