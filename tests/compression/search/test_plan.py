"""A plan's values, and how its rounds share the steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.compression.search import Plan, parse_branches
from safecompress.errors import UsageError
from safecompress.sparsity import AllocateUniform, Units


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density must lie"),
        ({"density": 1.1}, "density must lie"),
        ({"density": float("nan")}, "density must lie"),
        ({"rounds": -1}, "rounds.*least 0"),
        ({"stop": 0.0}, "stop must lie"),
        ({"stop": 1.01}, "stop must lie"),
        ({"recovery": 1.0}, "recovery in"),
        ({"recovery": -0.1}, "recovery in"),
        ({"recovery": float("nan")}, "recovery in"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(UsageError, match=message):
        Plan(**options)


def test_a_plan_of_units_names_branches_that_grow_at_random():
    with pytest.raises(UsageError, match=r"cannot grow by GrowGradient\(\).*the default branches.*magnitude\+random"):
        Plan(shape=Units())
    branches = parse_branches(["magnitude+random", "threshold+random-unfired", "taylor+random", "keep"])
    assert Plan(shape=Units(), branches=branches).branches == branches
    assert Plan(shape=Units(), rounds=0).rounds == 0  # nothing grows
    with pytest.raises(UsageError, match="asks no allocation"):
        Plan(shape=Units(), branches=branches, allocation=AllocateUniform())


@pytest.mark.parametrize("options", [{"density": 1.0}, {"rounds": 0}, {"stop": 1.0}, {"recovery": 0.0}])
def test_values_at_the_edge(options):
    ((name, value),) = options.items()
    assert getattr(Plan(**options), name) == value


@pytest.mark.slow
@given(
    st.integers(1, 12),
    st.integers(1, 500),
    st.sampled_from([0.1, 0.5, 0.75, 1.0]),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.99]),
)
def test_rounds_cover_the_search_without_gap_or_overlap(rounds, total, stop, recovery):
    plan = Plan(rounds=rounds, stop=stop, recovery=recovery)
    search = int(stop * total)
    if search < 2 * rounds:
        with pytest.raises(UsageError, match=f"{rounds} rounds do not fit into {search} steps"):
            plan.check_steps(total)
        return
    plan.check_steps(total)
    begin = 0
    for number in range(rounds):
        rewire, end = plan.round_steps(number, total)
        assert begin <= rewire <= end
        assert end - begin >= 2
        assert abs((end - rewire) - recovery * (end - begin)) <= 0.5
        begin = end
    assert end == search


def test_round_steps_by_hand():
    """100 steps, of which 75 are searched in 3 rounds; the last quarter of each tunes."""
    plan = Plan(rounds=3, stop=0.75, recovery=0.25)
    assert [plan.round_steps(number, 100) for number in range(3)] == [(19, 25), (44, 50), (69, 75)]


def test_without_recovery_candidates_are_tested_right_after_the_cut():
    assert Plan(rounds=2, stop=1.0, recovery=0.0).round_steps(1, 20) == (20, 20)


def test_a_static_plan_asks_nothing_of_the_steps():
    Plan(rounds=0).check_steps(0)


def test_equal_plans_print_alike():
    """The printed form is part of a job's digest."""
    assert repr(Plan()) == repr(Plan())
    assert " at 0x" not in repr(Plan())
    assert repr(Plan(density=0.2)) != repr(Plan())
