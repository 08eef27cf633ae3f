"""Recipes: what is refused, learning rates at milestones by hand, digests, optimizers."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from safecompress.errors import UsageError
from safecompress.training import CrossEntropy, Recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must lie"),
        ({"epochs": 1.5}, "epochs.*got 1.5"),
        ({"batch_size": 0}, "batch_size must lie in"),
        ({"batch_size": 32.0}, "batch_size .*whole"),
        ({"learning_rate": 0}, "learning_rate must lie in"),
        ({"learning_rate": math.nan}, "learning_rate must lie in"),
        ({"learning_rate": math.inf}, "learning_rate must lie in"),
        ({"momentum": 1.0}, r"momentum.*\[0, 0.9999\], got 1.0"),
        ({"momentum": -0.1}, "momentum must lie"),
        ({"weight_decay": -1e-4}, "weight_decay must lie in"),
        ({"decay_factor": 1.5}, "decay_factor must lie in"),
        ({"milestones": (0.5, 1.1)}, r"milestones .*\[0, 1\], got 1.1"),
        ({"optimizer": "adamx"}, "optimizer 'adamx' .*'adam'. Allowed: adam, adamw, sgd"),
        (
            {"decay": "linaer"},
            "decay 'linaer' .*'linear'. Allowed: constant, cosine, linear, step",
        ),
        ({"clip_norm": -1.0}, r"clip_norm.*\[0, inf\], got -1.0"),
        ({"clip_norm": math.inf}, "clip_norm must lie in"),
        ({"micro_batches": 0}, "micro_batches must lie in"),
        ({"micro_batches": 2.0}, "micro_batches.*got 2.0"),
        ({"amp": "fp61"}, "amp 'fp61' .*'fp16'. Allowed: bf16, fp16, none"),
        ({"average": 1.0}, "average must lie"),
        ({"warmup": 1.1}, r"warmup.*\[0, 1\], got 1.1"),
    ],
)
def test_what_trains_nothing_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Recipe(**options)


def test_all_faults_are_told_at_once():
    with pytest.raises(UsageError) as caught:
        Recipe(epochs=0, momentum=2, decay="never")
    assert all(word in str(caught.value) for word in ("epochs", "momentum", "decay 'never'"))


def test_the_extremes_of_what_is_allowed():
    Recipe(epochs=1, batch_size=1, momentum=0, weight_decay=0, decay_factor=0, milestones=())
    Recipe(momentum=0.9999, decay_factor=1, milestones=(0, 1))


def test_steps_by_hand():
    recipe = Recipe(epochs=7, batch_size=128)
    assert [recipe.steps_per_epoch(n) for n in (1, 128, 129, 1500)] == [1, 1, 2, 12]
    assert recipe.total_steps(1500) == 84


def test_step_decay_at_its_milestones_by_hand():
    """The papers' recipe: .1, divided by ten at one half and three quarters."""
    rates = [Recipe().learning_rate_at(step, 8) for step in range(8)]
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    odd = Recipe(learning_rate=1.0, milestones=(0.3, 0.6, 0.6), decay_factor=0.5)
    assert [odd.learning_rate_at(step, 10) for step in (0, 2, 3, 5, 6, 9)] == [1, 1, 0.5, 0.5, 0.125, 0.125]


def test_cosine_and_constant_by_hand():
    cosine = Recipe(learning_rate=0.4, decay="cosine")
    assert [round(cosine.learning_rate_at(s, 12), 12) for s in (0, 4, 6, 8, 12, 15)] == [0.4, 0.3, 0.2, 0.1, 0.0, 0.0]
    assert {Recipe(decay="constant").learning_rate_at(step, 10) for step in range(10)} == {0.1}


def test_linear_by_hand():
    linear = Recipe(learning_rate=0.4, decay="linear")
    assert [linear.learning_rate_at(step, 4) for step in (0, 1, 2, 3, 4, 6)] == pytest.approx(
        [0.4, 0.3, 0.2, 0.1, 0, 0]
    )


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.2, 0.4, 0.4, 0.4 * 5 / 6, 0.4 * 4 / 6, 0.2, 0.4 * 2 / 6, 0.4 / 6]),
        ("cosine", [0.2, 0.4, *(0.2 * (1 + math.cos(math.pi * k / 6)) for k in range(6))]),
        ("step", [0.2, 0.4, 0.4, 0.4, 0.04, 0.04, 0.004, 0.004]),
    ],
)
def test_a_warm_up_of_a_quarter_by_hand(decay, expected):
    """Two of eight steps rise; what falls to zero does so over the other six; milestones stay where they are."""
    recipe = Recipe(learning_rate=0.4, decay=decay, warmup=0.25)
    assert [recipe.learning_rate_at(step, 8) for step in range(8)] == pytest.approx(expected)


def test_a_warm_up_reaches_its_highest_rate_once_and_never_trains_at_zero():
    for total in (1, 7, 300):
        rates = [Recipe(decay="linear", warmup=0.1).learning_rate_at(step, total) for step in range(total)]
        assert max(rates) == 0.1 and min(rates) > 0
        top = rates.index(max(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    whole = [Recipe(decay="constant", warmup=1.0).learning_rate_at(step, 4) for step in range(5)]
    assert whole == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


@dataclasses.dataclass(frozen=True)
class Doubled(CrossEntropy):
    """Another objective with the same fields: its name alone tells it apart."""


def test_every_field_changes_the_digest():
    changed = {
        "epochs": 61,
        "batch_size": 127,
        "optimizer": "adam",
        "learning_rate": 0.2,
        "momentum": 0.8,
        "nesterov": False,
        "weight_decay": 0.0,
        "decay": "cosine",
        "milestones": (0.5, 0.7),
        "decay_factor": 0.2,
        "objective": Doubled(),
        "warmup": 0.1,
        "clip_norm": 1.0,
        "micro_batches": 2,
        "amp": "bf16",
        "average": 0.999,
        "compiled": True,
        "augment": ("flip",),
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(Recipe)}
    digests = {Recipe(**{name: value}).digest() for name, value in changed.items()}
    assert len(digests | {Recipe().digest()}) == len(changed) + 1


def test_a_recipe_that_uses_nothing_new_is_known_as_before():
    """What a digest or a repr said before later fields came is the identity of stored trainings and run folders."""
    assert Recipe().digest() == "d4e82f594ede1933cc5cd21b2d988db8885551e0879234efb83dc0eff7f573e5"
    assert repr(Recipe()) == (
        "Recipe(epochs=60, batch_size=128, optimizer='sgd', learning_rate=0.1, momentum=0.9, nesterov=True, "
        "weight_decay=0.0005, decay='step', milestones=(0.5, 0.75), decay_factor=0.1, objective=CrossEntropy())"
    )
    assert Recipe(warmup=0.1).facts() == {**Recipe().facts(), "warmup": 0.1}
    assert "warmup=0.1" in repr(Recipe(warmup=0.1))


def test_equal_recipes_have_equal_digests():
    assert Recipe(epochs=3, optimizer="adam").digest() == Recipe(optimizer="adam", epochs=3).digest()
    assert dataclasses.replace(Recipe(), epochs=60).digest() == Recipe().digest()


@pytest.mark.parametrize(
    ("recipe", "kind", "expected"),
    [
        (Recipe(), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        (Recipe(momentum=0), torch.optim.SGD, {"momentum": 0, "nesterov": False}),
        (Recipe(nesterov=False), torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
        (Recipe(optimizer="adam", momentum=0.8), torch.optim.Adam, {"betas": (0.8, 0.999), "fused": True}),
        (Recipe(optimizer="adamw", weight_decay=0.3), torch.optim.AdamW, {"weight_decay": 0.3, "fused": True}),
    ],
)
def test_the_optimizer_is_the_one_that_was_named(recipe, kind, expected):
    optimizer = recipe.make_optimizer(nn.Linear(2, 2).parameters())
    assert type(optimizer) is kind
    assert {name: optimizer.param_groups[0][name] for name in expected} == expected
