"""The small dense network: as many weights as a sparse one keeps, or as near as whole widths come."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_inputs import setting_of

from safecompress.errors import UsageError
from safecompress.models import ModelSpec
from safecompress.studies.methods import small as room
from safecompress.studies.methods.budget import for_steps
from safecompress.studies.methods.small import count_weights, describe, small
from safecompress.training import Recipe


def mlp(*hidden):
    return ModelSpec("mlp", {"hidden": hidden}, (6,), 3)


def by_hand(widths):
    return sum(a * b for a, b in itertools.pairwise((6, *widths, 3)))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@example([11], 0.75)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.floats(0.02, 1))
def test_no_scale_of_the_widths_comes_nearer(hidden, density):
    setting = setting_of(model=mlp(*hidden), density=density)
    widths = small(setting).options["hidden"]
    scales = {tuple(max(1, int(width * step / 27720 + 0.5 + 1e-9)) for width in hidden) for step in range(0, 27721, 15)}
    wanted = density * by_hand(hidden)
    assert abs(by_hand(widths) - wanted) == pytest.approx(min(abs(by_hand(scale) - wanted) for scale in scales))


def test_a_hand_worked_one():
    """48 + 24 = 72 weights; half are 36 = 4 x (6 + 3). The other options stay."""
    model = ModelSpec("mlp", {"hidden": (8,), "dropout": 0.1}, (6,), 3)
    setting = setting_of(model=model)
    assert small(setting) == ModelSpec("mlp", {"hidden": (4,), "dropout": 0.1}, (6,), 3)
    assert describe(setting, small(setting)) == "a dense mlp with hidden (4,) and 36 weights"


def test_at_density_1_it_is_the_network_itself():
    assert small(setting_of(model=mlp(7, 5), density=1.0)) == mlp(7, 5)


def test_widths_that_are_not_given_are_the_defaults():
    """8 x 8 images: 9 x (16 + 16 x 32 + 32 x 64) + 64 x 3 = 23,376 weights; norms and biases are not counted."""
    setting = setting_of(model=ModelSpec("cnn", {}, (1, 8, 8), 3), density=0.25)
    assert count_weights(setting, setting.model) == 23_376
    model = small(setting)
    assert len(model.options["channels"]) == 3 and model.options["channels"][2] < 64
    assert count_weights(setting, model) == pytest.approx(0.25 * 23_376, rel=0.05)


@pytest.mark.parametrize("model", [mlp(), ModelSpec("transformer", {}, (6,), 3)], ids=["no layer", "unknown"])
def test_a_network_without_known_widths_is_refused(model):
    with pytest.raises(UsageError, match=r"mlp \(hidden\), cnn \(channels\)"):
        small(setting_of(model=model))


def test_every_known_family_has_the_option_named():
    for name, option in room.WIDTHS.items():
        shape = (6,) if name == "mlp" else (1, 8, 8)
        assert option in small(setting_of(model=ModelSpec(name, {}, shape, 3))).options


def test_budgets_are_counted_in_steps():
    """100 rows in batches of 20 are 5 steps an epoch: 24 steps are nearest to 5 epochs, 2 to at least one."""
    recipe = Recipe(epochs=60, batch_size=20)
    assert for_steps(recipe, 100, 24).epochs == 5
    assert for_steps(recipe, 100, 2).epochs == 1
    assert for_steps(recipe, 100, 24).learning_rate == recipe.learning_rate
