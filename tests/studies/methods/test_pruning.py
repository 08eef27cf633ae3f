"""Pruning by magnitude: which weights stay, how densities fall, and where weights are put back to."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from tiny_inputs import NUM_WEIGHTS, RECIPE, Watched, same_weights, setting_of

import safecompress.studies.methods.pruning as room
from safecompress.errors import UsageError
from safecompress.studies.methods.pruning import Gradual, MiaPruning, OneShot, cut, falling
from safecompress.training import TrainingState, train


def test_one_shot_keeps_the_largest_weights_of_each_layer_and_tunes_them():
    setting = setting_of(density=0.25)
    dense, made = setting.dense(), OneShot().make(setting)
    for name, mask in made.pattern.masks.items():
        magnitude = dense[name].abs()
        assert magnitude[mask].min() > magnitude[~mask].max()
    course = setting.training_task()
    model = setting.network(dense)
    oracle = train(model, TrainingState(0, dense), course, until=course.total_steps, pattern=made.pattern)
    assert same_weights(dict(made.weights), dict(oracle.model))


def test_global_magnitude_keeps_the_largest_of_the_whole_model():
    setting = setting_of(density=0.25)
    dense = setting.dense()
    kept = cut(setting, dense, 0.25, "global-magnitude").masks
    values = torch.cat([dense[name].abs().flatten() for name in kept])
    chosen = torch.cat([mask.flatten() for mask in kept.values()])
    assert chosen.sum() == NUM_WEIGHTS // 4 and values[chosen].min() > values[~chosen].max()
    by_layer = cut(setting, dense, 0.25).masks
    assert {name: int(mask.sum()) for name, mask in by_layer.items()} != {n: int(m.sum()) for n, m in kept.items()}


def test_a_fine_tuning_is_as_long_as_a_training(monkeypatch):
    watched = Watched(monkeypatch)
    OneShot().make(setting_of())
    assert [until for _, _, until, _ in watched.calls] == [18, 18]  # 6 epochs of 60 rows in batches of 20


def test_the_cubic_schedule_by_hand():
    """d + (1 - d) (1 - p)^3 at d = 0.2: 1 at the start, 0.2 + 0.8 / 8 half way, 0.2 at the end."""
    method = Gradual()
    assert [method.density_at(p, 0.2) for p in (0, 0.5, 1)] == pytest.approx([1, 0.3, 0.2])


def test_gradual_cuts_by_the_schedule_within_the_first_three_quarters(monkeypatch):
    """80 steps in all, four cuts in the first 60: at steps 15, 30, 45 and 60; N = 72."""
    asked = []

    def watched(model, state, course, *, until, pattern):
        asked.append((state.step, until, None if pattern is None else pattern))
        return train(model, state, course, until=until, pattern=pattern)

    monkeypatch.setattr(room, "train", watched)
    recipe = replace(RECIPE, epochs=80, batch_size=60)
    made = Gradual(cuts=4).make(setting_of(recipe=recipe, density=0.25))
    assert [(first, until) for first, until, _ in asked] == [(0, 15), (15, 30), (30, 45), (45, 60), (60, 80)]
    counts = [NUM_WEIGHTS if pattern is None else pattern.num_active for _, _, pattern in asked]
    densities = [0.25 + 0.75 * (1 - p) ** 3 for p in (0, 0.25, 0.5, 0.75, 1)]
    assert counts == [round(72 * density) for density in densities] == [72, 41, 25, 19, 18]
    patterns = [pattern for _, _, pattern in asked[1:]]
    for earlier, later in itertools.pairwise(patterns):
        assert all((mask <= earlier.masks[name]).all() for name, mask in later.masks.items())  # nothing comes back
    assert same_weights(made.pattern.masks, patterns[-1].masks)


def test_gradual_starts_from_the_dense_weights(monkeypatch):
    states = []
    monkeypatch.setattr(
        room, "train", lambda model, state, *a, **k: states.append(state) or train(model, state, *a, **k)
    )
    setting = setting_of()
    Gradual(cuts=2).make(setting)
    assert same_weights(dict(states[0].model), setting.dense()) and states[0].optimizer == {}


def test_cuts_keep_the_same_share_each():
    assert falling(0.125, 3) == pytest.approx([0.5, 0.25, 0.125])


@pytest.mark.parametrize("rewind", [0.0, 0.5])
def test_mia_pruning_goes_back_before_each_training(monkeypatch, rewind):
    setting = setting_of(density=0.125)
    watched = Watched(monkeypatch)
    made = MiaPruning(rewind=rewind).make(setting)
    retrained = [call for call in watched.calls if call[3] is not None]
    model = setting.fresh()
    early = train(model, TrainingState.capture(0, model), setting.training_task(), until=round(18 * rewind)).model
    assert [pattern.num_active for *_, pattern in retrained] == [36, 18, 9]
    for state, course, until, _ in retrained:
        assert same_weights(dict(state.model), dict(early)) and until == course.total_steps == 18
    assert same_weights(made.pattern.masks, retrained[-1][3].masks)


def test_mia_pruning_cuts_by_what_the_former_round_learnt(monkeypatch):
    setting = setting_of(density=0.25)
    watched = Watched(monkeypatch)
    MiaPruning(cuts=2).make(setting)
    first, second = [call for call in watched.calls if call[3] is not None]
    model = setting.network(dict(first[0].model))
    learnt = train(model, first[0], first[1], until=18, pattern=first[3]).model
    for name, mask in second[3].masks.items():
        assert learnt[name].abs()[mask].min() >= learnt[name].abs()[~mask].max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneShot("erd"), "mean 'erk'"),
        (lambda: Gradual(cuts=0), "cuts.*least 1, got 0"),
        (lambda: Gradual(stop=0.0), r"lie in \(0, 1\]"),
        (lambda: Gradual(stop=math.nan), r"lie in \(0, 1\]"),
        (lambda: MiaPruning(cuts=1.5), "cuts.*whole number"),
        (lambda: MiaPruning(rewind=1.0), r"rewind.*\[0, 1\)"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
