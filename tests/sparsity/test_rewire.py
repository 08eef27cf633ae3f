"""The idea, page one: counts stay, nothing just dropped comes back, the same stream gives the same moves."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safecompress.seeding import derive
from safecompress.sparsity import (
    DROP_RULES,
    GROW_RULES,
    DropMagnitude,
    DropThreshold,
    GrowGradient,
    GrowRandom,
    LayerView,
    choose_dropped,
    rewire,
)
from safecompress.sparsity.rewire import num_movable

STREAM = partial(derive, 0, "rewire", 0)


def layer(name, num_active, size, seed=0, ties=False):
    random = derive(seed, "layer", name)
    mask = np.zeros(size, dtype=bool)
    mask[random.permutation(size)[:num_active]] = True
    draw = (lambda: random.integers(-1, 2, size).astype(float)) if ties else (lambda: random.normal(size=size))
    fired = mask | (random.random(size) < 0.2)
    return LayerView(name, draw() * mask, mask, draw(), draw(), fired, draw())


def test_one_layer_by_hand():
    #                   0     1     2    3    4    5    6    7
    weight = np.array([0.5, -0.1, 0.3, 0.4, 0.0, 0.0, 0.2, 0.0])
    gradient = np.array([9.0, 9.0, 9.0, 9.0, 0.1, -0.3, 9.0, 0.2])
    view = LayerView("fc", weight, weight != 0, gradient)
    # .4 of 5 active weights: the two smallest go, the two largest gradients outside the mask come
    move = rewire([view], DropMagnitude(), GrowGradient(), 0.4, stream=STREAM).moves["fc"]
    assert (move.dropped.tolist(), move.grown.tolist()) == ([1, 6], [5, 7])


@pytest.mark.parametrize(
    ("num_active", "size", "fraction", "expected"),
    [(40, 100, 0.3, 12), (90, 100, 0.3, 10), (100, 100, 0.5, 0), (5, 100, 0.0, 0), (0, 100, 0.5, 0), (7, 100, 1.0, 7)],
)
def test_a_layer_moves_no_more_than_it_has_active_weights_and_free_places(num_active, size, fraction, expected):
    view = layer("fc", num_active, size)
    assert num_movable(view, fraction) == expected
    move = rewire([view], DropMagnitude(), GrowRandom(), fraction, stream=STREAM).moves["fc"]
    assert len(move.dropped) == len(move.grown) == expected


@settings(max_examples=40)
@given(
    drop=st.sampled_from(DROP_RULES.names()),
    grow=st.sampled_from(GROW_RULES.names()),
    actives=st.lists(st.integers(0, 30), min_size=1, max_size=3),
    fraction=st.floats(0, 1),
    ties=st.booleans(),
)
def test_every_layer_keeps_its_count_and_regrows_nothing(drop, grow, actives, fraction, ties):
    views = [layer(f"l{i}", n, 30, ties=ties) for i, n in enumerate(actives)]
    moves = rewire(views, DROP_RULES.make(drop), GROW_RULES.make(grow), fraction, stream=STREAM).moves
    for view in views:
        before = set(view.active.tolist())
        dropped, grown = set(moves[view.name].dropped.tolist()), set(moves[view.name].grown.tolist())
        assert dropped <= before
        assert not grown & before  # neither active before nor, then, just dropped
        assert len((before - dropped) | grown) == len(before)
        assert len(dropped) <= num_movable(view, fraction)
        if drop != "threshold":
            assert len(dropped) == num_movable(view, fraction)


def same(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[n].dropped, b[n].dropped) and np.array_equal(a[n].grown, b[n].grown) for n in a
    )


def test_the_same_stream_gives_the_same_moves_in_any_order_of_layers():
    views = [layer("a", 20, 60), layer("b", 20, 60), layer("c", 5, 60)]
    once = rewire(views, DropThreshold(), GrowRandom(), 0.3, stream=STREAM).moves
    assert same(once, rewire(views, DropThreshold(), GrowRandom(), 0.3, stream=STREAM).moves)
    backwards = rewire(views[::-1], DropThreshold(), GrowRandom(), 0.3, stream=STREAM).moves
    assert same({n: once[n] for n in backwards}, dict(backwards))
    another = rewire(views, DropThreshold(), GrowRandom(), 0.3, stream=partial(derive, 0, "rewire", 1)).moves
    assert not same(once, another)


def test_layers_draw_apart():
    twins = [layer("a", 20, 60), layer("a", 20, 60)]
    twins[1] = LayerView("b", twins[0].weight, twins[0].mask)
    moves = rewire(twins, DropMagnitude(), GrowRandom(), 0.5, stream=STREAM).moves
    assert np.array_equal(moves["a"].dropped, moves["b"].dropped)
    assert not np.array_equal(moves["a"].grown, moves["b"].grown)


@pytest.mark.parametrize("drop", DROP_RULES.names())
@pytest.mark.parametrize("grow", ["random", "gradient"])
def test_candidates_may_share_what_was_dropped(drop, grow):
    views = [layer("a", 20, 60), layer("b", 9, 60)]
    rule = DROP_RULES.make(drop)
    shared = choose_dropped(views, rule, 0.4, stream=STREAM)
    alone = rewire(views, rule, GROW_RULES.make(grow), 0.4, stream=STREAM).moves
    assert list(shared) == ["a", "b"]
    assert all(np.array_equal(shared[n], alone[n].dropped) for n in shared)


def test_views_are_left_as_they_were():
    view = layer("a", 20, 60)
    copies = {n: getattr(view, n).copy() for n in ("weight", "mask", "gradient", "momentum", "fired")}
    rewire([view], DropThreshold(), GrowRandom(), 0.5, stream=STREAM)
    assert all(np.array_equal(getattr(view, n), c) for n, c in copies.items())
