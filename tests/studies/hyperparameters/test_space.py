"""Spaces: what is asked for, what a draw becomes, and how a setting enters a job."""

from dataclasses import replace

import pytest
from tiny_tuning import KEEP, RANDOM, RECIPE, SPACE, job_of

from safecompress.errors import UsageError
from safecompress.studies.hyperparameters import Range, Space, TrialParams
from safecompress.training import CrossEntropy
from safecompress.training.objectives.relax import RelaxLoss


class Draws:
    """Stands for a trial of Optuna: gives what it holds, and remembers what was asked."""

    def __init__(self, **values):
        self.values, self.asked = values, []

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append((name, low, high, log))
        return self.values[name]

    def suggest_categorical(self, name, choices):
        self.asked.append((name, tuple(choices)))
        return self.values[name]


def space(**changes):
    fields = {"densities": (0.1,), "objectives": {"ce": CrossEntropy()}, "branches": {"keep": KEEP}}
    return Space(**{**fields, "learning_rates": Range(0.01, 0.1), **changes})


def test_what_has_one_value_is_not_asked_for():
    draws = Draws(learning_rate=0.05)
    assert space().suggest(draws) == TrialParams(0.1, "ce", "keep", 0.05)
    assert draws.asked == [("learning_rate", 0.01, 0.1, True)]
    assert space().varied == ("learning_rate",)


def test_what_differs_is_asked_for_in_one_order():
    draws = Draws(density=0.3, objective="relax_loss", branches="keep")
    assert SPACE.suggest(draws) == TrialParams(0.3, "relax_loss", "keep", 0.01)
    assert [asked[0] for asked in draws.asked] == ["density", "objective", "branches"]
    assert draws.asked[2] == ("branches", ("keep", "magnitude+random, keep"))


@pytest.mark.parametrize(
    ("drawn", "taken"), [(0.123456, 0.123), (0.00987654, 0.00988), (0.0070004, 0.0070004), (0.2999, 0.3)]
)
def test_draws_have_three_digits_and_stay_in_their_range(drawn, taken):
    wide = space(learning_rates=Range(0.0070004, 0.3))
    assert wide.suggest(Draws(learning_rate=drawn)).learning_rate == taken


def test_a_list_of_numbers_is_drawn_from_by_name():
    draws = Draws(density="0.05", learning_rate=0.05)
    assert space(densities=(0.05, 0.1, 0.2)).suggest(draws).density == 0.05
    assert draws.asked[0] == ("density", ("0.05", "0.1", "0.2"))


def test_a_setting_takes_the_place_of_the_jobs_own():
    job = SPACE.apply(TrialParams(0.25, "relax_loss", "keep", 0.02), job_of())
    assert (job.plan.density, job.plan.branches, job.plan.rounds) == (0.25, KEEP, 2)
    assert job.recipe == replace(RECIPE, objective=RelaxLoss(), learning_rate=0.02)
    assert job.dense_recipe == replace(RECIPE, learning_rate=0.02)


def test_a_dense_model_with_a_rate_of_its_own_keeps_it():
    job = replace(job_of(), dense_recipe=replace(RECIPE, learning_rate=0.5))
    assert SPACE.apply(TrialParams(0.25, "relax_loss", "keep", 0.02), job).dense_recipe.learning_rate == 0.5


def test_the_extremes_are_every_combination_at_the_lowest_density():
    found = SPACE.extremes()
    assert {(c.objective, c.branches) for c in found} == {
        (objective, branches)
        for objective in ("cross_entropy", "relax_loss")
        for branches in ("keep", "magnitude+random, keep")
    }
    assert {c.density for c in found} == {0.2} and len(found) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rates": (0.1,)}, "nothing to choose"),
        ({"densities": ()}, "densities .* one"),
        ({"densities": (0.1, 0.1, 0.2)}, "all different"),
        ({"densities": Range(0.5, 1.5)}, r"\(0, 1\], got \[1.5\]"),
        ({"densities": (0.0, 0.1, 0.2)}, "must lie in"),
        ({"learning_rates": (0.1, -1.0, 1.0)}, "must lie above 0"),
        ({"objectives": {}}, "objectives .* one"),
        ({"branches": {}}, "branches .* one"),
    ],
)
def test_spaces_that_cannot_be(changes, words):
    with pytest.raises(UsageError, match=words):
        space(**changes)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.1), (0.1, 0.1), (0.0, 1.0), (-1.0, 1.0)])
def test_ranges_that_cannot_be(low, high):
    with pytest.raises(UsageError, match="the lower first"):
        Range(low, high)


def test_a_setting_says_all_of_itself():
    text = "density 0.25, relax_loss, branches magnitude+random, keep, learning rate 0.02"
    assert str(TrialParams(0.25, "relax_loss", ", ".join(b.name for b in RANDOM), 0.02)) == text
