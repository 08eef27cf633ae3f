"""train_many gives what train gives, one model after another, to rounding; and refuses what it could not."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from safecompress.digests import digest_tensors
from safecompress.errors import TrainingError, UsageError
from safecompress.models import Mlp, SmallCnn
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern
from safecompress.training import Recipe, TrainingState, TrainingTask, is_stackable, train, train_many

ROWS, TOTAL = 45, 24
with seeded(0, "data"):
    FEATURES = torch.randn(60, 10)
    LABELS = (FEATURES @ torch.randn(10, 3)).argmax(1)

RECIPES = {
    "sgd": Recipe(epochs=6, batch_size=12, learning_rate=0.05),
    "plain": Recipe(epochs=6, batch_size=12, learning_rate=0.05, momentum=0, decay="cosine"),
    "adam": Recipe(epochs=6, batch_size=12, learning_rate=0.01, optimizer="adam"),
    "adamw": Recipe(epochs=6, batch_size=12, learning_rate=0.01, optimizer="adamw", decay="constant", weight_decay=0.1),
}


def net(seed=0):
    with seeded(seed, "net"):
        return Mlp((10,), 3, hidden=(16, 8))


def pattern(density=0.3):
    return initial_pattern(find_maskable(net()), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


def states(count=3):
    return [TrainingState.capture(0, net(seed)) for seed in range(count)]


def courses(recipe=RECIPES["sgd"], count=3):
    """Every model has rows of its own."""
    parts = [torch.arange(first, first + ROWS) for first in range(0, 5 * count, 5)]
    return [TrainingTask(FEATURES[part], LABELS[part], recipe, seed) for seed, part in enumerate(parts)]


def differences(trained, expected):
    assert [list(state.model) for state in trained] == [list(state.model) for state in expected]
    return [
        max(float((a.model[n] - b.model[n]).abs().max()) for n in a.model)
        for a, b in zip(trained, expected, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", RECIPES)
def test_many_at_once_end_where_one_after_another_do(name, is_sparse):
    mask = pattern() if is_sparse else None
    alone = [
        train(net(9), state, course, until=TOTAL, pattern=mask)
        for state, course in zip(states(), courses(RECIPES[name]), strict=True)
    ]
    together = train_many(net(9), states(), courses(RECIPES[name]), pattern=mask)
    assert [state.step for state in together] == [TOTAL] * 3
    assert max(differences(together, alone)) < 1e-5
    assert min(differences(together, states())) > 0.01
    assert min(differences(together, together[1:] + together[:1])) > 0.01
    assert all(not state.optimizer for state in together)


@pytest.mark.parametrize("until", [0, 1, 13])
def test_until_stops_on_the_way(until):
    mask = pattern()
    alone = [train(net(), s, c, until=until, pattern=mask) for s, c in zip(states(), courses(), strict=True)]
    together = train_many(net(), states(), courses(), until=until, pattern=mask)
    assert [state.step for state in together] == [until] * 3
    assert max(differences(together, alone)) < 1e-5


@pytest.mark.parametrize("name", RECIPES)
def test_inactive_weights_are_zero_to_the_bit(name):
    """Not even minus zero: digests are of bytes. And all that is active has moved."""
    mask = pattern()
    for before, state in zip(states(), train_many(net(), states(), courses(RECIPES[name]), pattern=mask), strict=True):
        for key, active in mask.masks.items():
            assert state.model[key][~active].numpy().tobytes() == bytes(4 * int((~active).sum()))
            assert (state.model[key][active] != before.model[key][active]).float().mean() > 0.95


def test_a_model_does_not_depend_on_its_neighbours():
    every = train_many(net(), states(), courses())
    pair = train_many(net(), states()[1:], courses()[1:])
    assert max(differences(pair, every[1:])) < 1e-5


def test_the_states_given_stay_as_they_were():
    given = states()
    before = [state.digest() for state in given]
    train_many(net(), given, courses(), until=3)
    assert [state.digest() for state in given] == before


def test_twice_is_the_same_to_the_bit_whatever_the_scratch_pad_holds():
    first, second = (train_many(net(seed), states(), courses()) for seed in (1, 2))
    assert [state.digest() for state in first] == [state.digest() for state in second]


def test_the_global_generator_neither_matters_nor_moves():
    digests = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        digests.append([state.digest() for state in train_many(net(), states(), courses(), until=5)])
        assert torch.equal(before, torch.random.get_rng_state())
    assert digests[0] == digests[1]


def test_the_weights_lie_apart_from_each_other():
    """Views of one stack would all be written with each of them."""
    for state in train_many(net(), states(), courses(), until=1):
        assert all(t.untyped_storage().nbytes() == t.numel() * 4 and not t.requires_grad for t in state.model.values())


# --- what is refused


class Forward(nn.Module):
    """Two linear layers and a forward pass of one's own."""

    def __init__(self, between):
        super().__init__()
        self.first, self.second, self.between = nn.Linear(10, 8), nn.Linear(8, 3), between

    def forward(self, features):
        return self.second(self.between(self.first(features)))


def draws(hidden):
    return dropout(hidden, 0.5)


def decides(hidden):
    return hidden.relu() if hidden.mean() > 0 else hidden


def tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def frozen():
    model = net()
    model.body[0].weight.requires_grad_(False)
    return model


def remembering():
    model = net()
    model.register_buffer("last", torch.zeros(8), persistent=False)
    return model


REFUSED = {
    "batch norm": lambda: nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
    "batch norm without state": lambda: nn.Sequential(
        nn.Linear(10, 3), nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    ),
    "dropout": lambda: Mlp((10,), 3, hidden=(8,), dropout=0.2),
    "convolution": lambda: SmallCnn((1, 8, 8), 3),
    "layer norm": lambda: nn.Sequential(nn.Linear(10, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
    "tied weights": tied,
    "frozen weights": frozen,
    "a buffer that is not kept": remembering,
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_do_not_stack(kind):
    model = REFUSED[kind]()
    assert not is_stackable(model, (10,))
    state = TrainingState.capture(0, model)
    with pytest.raises(UsageError, match="one after another"):
        train_many(model, [state, state], courses(count=2))


@pytest.mark.parametrize("between", [draws, decides])
def test_a_forward_pass_that_models_cannot_share(between):
    """All of its layers would stack; what it does between them is seen when it is tried."""
    model = Forward(between)
    assert is_stackable(model)
    assert not is_stackable(model, (10,))
    state = TrainingState.capture(0, model)
    with pytest.raises(UsageError, match="one after another"):
        train_many(model, [state, state], courses(count=2))


def test_a_class_of_ones_own_may_hold_the_layers():
    model = Forward(torch.tanh)
    assert is_stackable(model, (10,))
    state = TrainingState.capture(0, model)
    alone = [train(model, state, course, until=TOTAL) for course in courses(count=2)]
    assert max(differences(train_many(model, [state] * 2, courses(count=2)), alone)) < 1e-5


def test_asking_changes_nothing():
    model = Mlp((10,), 3).eval()
    before, state = digest_tensors(model.state_dict()), torch.random.get_rng_state()
    assert is_stackable(model, (10,))
    assert not any(module.training for module in model.modules())
    assert digest_tensors(model.state_dict()) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def shorter(course):
    """One row less: as many steps, other batches."""
    return replace(course, features=course.features[:-1], labels=course.labels[:-1])


@pytest.mark.parametrize(
    "change",
    [shorter, lambda course: replace(course, recipe=RECIPES["plain"])],
    ids=["one row less", "another recipe"],
)
def test_courses_that_do_not_go_together(change):
    first, second, third = courses()
    changed = change(second)
    assert changed.total_steps == TOTAL
    with pytest.raises(UsageError, match="one recipe and"):
        train_many(net(), states(), [first, changed, third])


def test_states_that_have_begun_are_refused():
    """Their optimizer's state would be lost without a word."""
    begun = train(net(), states()[0], courses()[0], until=3)
    with pytest.raises(UsageError, match="from step 0"):
        train_many(net(), [begun, states()[1]], courses(count=2))


@pytest.mark.parametrize("broken", [1e30, float("nan")])
def test_training_that_diverges_is_said(broken):
    """In one of the models, at the last step or before it."""
    given = courses()
    features = given[1].features.clone()
    features[:] *= broken
    given[1] = replace(given[1], features=features)
    with pytest.raises(TrainingError, match="the learning rate"):
        train_many(net(), states(), given)


def test_weights_that_overflow_in_the_last_step_are_said():
    """The loss of that step was still finite, and no later one shows what it did."""
    huge = replace(RECIPES["plain"], learning_rate=1e38, weight_decay=1e3)
    with pytest.raises(TrainingError, match="the learning rate"):
        train_many(net(), states(), courses(huge), until=1)
